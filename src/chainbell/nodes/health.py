"""How a node has fared, and when it may be asked again. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chainbell.domain.errors import NodeError
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.errors import RateLimitedError, WrongChainError


class NodeState(StrEnum):
    """Whether a node is used."""

    UNTRIED = "untried"
    HEALTHY = "healthy"
    FAILING = "failing"
    """It failed, and is left alone for a while."""
    WRONG_CHAIN = "wrong chain"
    """It is of another chain: it is never read, only asked now and then whether it still is."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node, for people."""

    name: str
    """Without secrets."""
    state: NodeState
    reason: str | None
    """Why it is not used; None when nothing is wrong."""
    since: datetime
    """When it entered its state."""


@dataclass(frozen=True, slots=True)
class Health:
    """State of one node; ``failed_at`` and ``retry_at`` are in seconds of a steady clock."""

    state: NodeState
    since: datetime
    reason: str | None = None
    failures: int = 0
    failed_at: float | None = None
    retry_at: float = float("-inf")

    def is_due(self, at: float) -> bool:
        """Whether a node that is not healthy may be asked again."""
        return self.state is not NodeState.HEALTHY and at >= self.retry_at

    def recovered(self, now: datetime) -> "Health":
        """After it showed that it is there and of the right chain; its past is not forgotten by that."""
        return Health(NodeState.HEALTHY, now, None, self.failures, self.failed_at)

    def failed(self, error: NodeError, *, at: float, now: datetime, backoff: Backoff, chance: float) -> "Health":
        """After ``error``."""
        failures = backoff.count(self.failures, None if self.failed_at is None else at - self.failed_at)
        wish = error.retry_after if isinstance(error, RateLimitedError) else None
        state = NodeState.WRONG_CHAIN if isinstance(error, WrongChainError) else NodeState.FAILING
        return Health(
            state=state,
            since=self.since if state is self.state else now,
            reason=str(error),
            failures=failures,
            failed_at=at,
            retry_at=at + backoff.delay(failures, chance, wish),
        )
