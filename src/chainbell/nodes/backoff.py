"""How long to leave something alone after it failed. Pure: time and chance are arguments."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter, in seconds."""

    first: float = 1.0
    cap: float = 60.0
    longest_wish: float = 900.0
    """How long a ``Retry-After`` is honoured at most: a slip on the other side must not stop a chain for days."""
    forgiven_after: float = 120.0
    """After this long without a failure the next one counts as a first one."""

    def delay(self, failures: int, chance: float, wish: float | None = None) -> float:
        """Seconds to wait after the ``failures``-th failure in a row (from 1).

        ``chance`` in [0, 1) spreads the delay over its upper half, so that what failed together does not return
        together. The other side's ``wish`` is a lower bound.
        """
        full = min(self.cap, self.first * 2.0 ** min(failures - 1, 63))
        return max(full * (0.5 + chance / 2), min(wish or 0.0, self.longest_wish))

    def count(self, failures: int, since_last: float | None) -> int:
        """Failures in a row, with the new one: ``failures`` were counted, the last ``since_last`` seconds ago."""
        return 1 if since_last is None or since_last > self.forgiven_after else failures + 1
