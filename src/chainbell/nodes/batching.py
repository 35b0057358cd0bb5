"""How many requests to put into one batch: learned from what a node refuses, and kept. Pure."""

from dataclasses import dataclass, replace

PATIENCE = 8
"""Full batches that must work before a larger one is tried."""
FORGET = 256
"""Full batches at the edge after which a size that was once refused is tried again: nodes get upgraded."""


@dataclass(frozen=True, slots=True)
class AdaptiveBatch:
    """Halves on a refusal, grows slowly on success, and remembers the smallest size that was refused."""

    size: int
    ceiling: int
    refused: int | None = None
    worked: int = 0
    """Full batches in a row that worked at this size."""

    def shrunk(self, used: int) -> "AdaptiveBatch":
        """After ``used`` requests at once were too many."""
        refused = used if self.refused is None else min(used, self.refused)
        return replace(self, size=max(1, min(self.size, used // 2)), refused=refused, worked=0)

    def grown(self, used: int) -> "AdaptiveBatch":
        """After ``used`` requests at once were answered; a batch that was not full proves nothing."""
        if used < self.size or self.size >= self.ceiling:
            return self
        worked = self.worked + 1
        forgotten = worked >= FORGET
        edge = self.ceiling if self.refused is None or forgotten else min(self.ceiling, self.refused - 1)
        larger = min(edge, self.size + max(1, self.size // 4))
        if worked < PATIENCE or larger <= self.size:
            return replace(self, worked=worked)
        return replace(self, size=larger, refused=None if forgotten else self.refused, worked=0)
