"""How many requests to put into one batch: learned from what a node refuses, and kept. Pure."""

from dataclasses import dataclass, replace

PATIENCE = 8
"""Full batches that must work before a larger one is tried."""
FORGET = 256
"""Full batches at the edge after which a size that was once refused is tried again: nodes get upgraded."""


@dataclass(frozen=True, slots=True)
class AdaptiveBatch:
    """Halves on a refusal, grows slowly on success, and closes in on the largest size that works."""

    size: int
    ceiling: int
    proven: int = 0
    """Largest size known to work; 0: none yet."""
    refused: int | None = None
    """Smallest size known not to work."""
    worked: int = 0
    """Full batches in a row that worked at this size."""

    def shrunk(self, used: int) -> "AdaptiveBatch":
        """After ``used`` requests at once were too many."""
        proven = self.proven if self.proven < used else 0
        refused = used if self.refused is None else min(used, self.refused)
        size = max(1, min(self.size, proven or used // 2))
        return replace(self, size=size, proven=proven, refused=refused, worked=0)

    def grown(self, used: int) -> "AdaptiveBatch":
        """After ``used`` requests at once were answered; a batch that was not full proves nothing."""
        if used < self.size or self.size >= self.ceiling:
            return self
        here = replace(self, proven=max(self.proven, self.size), worked=self.worked + 1)
        if here.worked >= FORGET:
            here = replace(here, refused=None)
        larger = _next_size(here.size, here.refused, here.ceiling)
        if here.worked < PATIENCE or larger == here.size:
            return here
        return replace(here, size=larger, worked=0)


def _next_size(size: int, refused: int | None, ceiling: int) -> int:
    """Give the size to try after ``size``: a quarter more, or half-way to what was refused."""
    step = size + max(1, size // 4)
    if refused is not None:
        step = min(step, max(size, (size + refused) // 2))
    return min(step, ceiling)
