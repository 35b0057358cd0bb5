"""How a node has fared, and when it may be asked again. Pure."""

from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.errors import NodeBehindError, NodeError
from chainbell.domain.node import NodeState
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.errors import LacksCapabilityError, RateLimitedError, WrongChainError


@dataclass(frozen=True, slots=True)
class Failure:
    """What was last wrong with a node."""

    reason: str
    at: float
    """In seconds of a steady clock."""
    noticed: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """State of one node; ``retry_at`` is in seconds of a steady clock."""

    state: NodeState
    since: datetime
    failures: int = 0
    """In a row, as far as they are not forgiven."""
    last: Failure | None = None
    retry_at: float = float("-inf")

    @property
    def reason(self) -> str | None:
        """Why it is not used; None when nothing is wrong."""
        return None if self.last is None or self.state is NodeState.HEALTHY else self.last.reason

    def is_due(self, at: float) -> bool:
        """Whether a node that is not healthy may be asked again."""
        return self.state is not NodeState.HEALTHY and at >= self.retry_at

    def recovered(self, now: datetime) -> "Health":
        """After it showed that it can be used; its past is not forgotten by that."""
        return Health(NodeState.HEALTHY, now, self.failures, self.last)

    def failed(self, error: NodeError, *, at: float, now: datetime, backoff: Backoff, chance: float) -> "Health":
        """After ``error``."""
        failures = backoff.count(self.failures, None if self.last is None else at - self.last.at)
        wish = error.retry_after if isinstance(error, RateLimitedError) else None
        state = _state_after(error)
        return Health(
            state=state,
            since=self.since if state is self.state else now,
            failures=failures,
            last=Failure(str(error), at, now),
            retry_at=at + backoff.delay(failures, chance, wish),
        )


def _state_after(error: NodeError) -> NodeState:
    if isinstance(error, WrongChainError):
        return NodeState.WRONG_CHAIN
    if isinstance(error, LacksCapabilityError):
        return NodeState.LACKING
    return NodeState.LAGGING if isinstance(error, NodeBehindError) else NodeState.FAILING
