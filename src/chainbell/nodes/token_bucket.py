"""How many requests a node may get now, when it must not get more than so many per second. Pure: time is an argument."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Holds a second's worth of requests, and is filled again at ``rate`` per second.

    Requests are booked in the order in which they are asked for: who finds too few left takes them all the same, and waits
    until they would have been there. So nobody is overtaken for ever.
    """

    rate: float
    """Requests per second."""
    left: float
    """How many may be sent at once; negative: so many are booked that are not there yet."""
    at: float
    """When that was so, in seconds of a steady clock."""

    @classmethod
    def full(cls, rate: float, at: float) -> "TokenBucket":
        """Begin with a second's worth."""
        return cls(rate, burst_of(rate), at)

    @property
    def burst(self) -> int:
        """The most that may be asked for at once: a second's worth, and at least one."""
        return burst_of(self.rate)

    def booked(self, count: int, at: float) -> tuple["TokenBucket", float]:
        """Take ``count`` requests, at most `burst`; also tell how many seconds from ``at`` on they have to wait."""
        left = min(self.left + max(0.0, at - self.at) * self.rate, self.burst) - count
        return replace(self, left=left, at=max(at, self.at)), max(0.0, -left / self.rate)


def burst_of(rate: float) -> int:
    """Give the most requests that go out at once at a rate per second."""
    return max(1, int(rate))
