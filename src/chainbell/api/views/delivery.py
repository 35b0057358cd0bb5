"""Deliveries of events to endpoints, and their attempts."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.delivery import DeliveryStatus
from chainbell.storage.delivery_log import Delivery, LastAttempt, StoredAttempt

_ATTEMPTS = (
    "Failed attempts of the schedule in force: 0 beside a `lastAttempt` that succeeded at once, and again after a replay, "
    "which begins a fresh schedule. `attemptLog` of a single delivery holds every attempt that is kept."
)


class LastAttemptView(Wire):
    """The latest POST, and why it failed if it did."""

    started_at: WireTime
    duration_ms: int
    """Milliseconds."""
    outcome: str
    """``succeeded``; ``failed``: as far as is known the receiver has not seen it; ``refused``: it has, and did not want
    it; ``gone``: it answered 410."""
    status_code: int | None
    """Null: there was no complete answer."""
    error: str | None
    """Why there was no complete answer; null: there was one."""

    @classmethod
    def of(cls, attempt: LastAttempt) -> Self:
        """Show an attempt."""
        return cls(
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
            outcome=attempt.outcome,
            status_code=attempt.status_code,
            error=attempt.error,
        )


class DeliveryView(Wire):
    """One event for one endpoint, as it stands."""

    id: int
    endpoint_id: UUID
    event_id: str
    event_type: str
    """As the endpoint's version names it."""
    resource_id: str
    account_id: UUID
    status: DeliveryStatus
    attempts: Annotated[int, Field(description=_ATTEMPTS)]
    attempted_at: WireTime | None
    next_attempt_at: WireTime | None
    """Null once it succeeded or was exhausted."""
    created_at: WireTime
    last_attempt: LastAttemptView | None
    """Null: there was none, or it is no longer kept."""

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show a delivery."""
        return cls(
            id=delivery.id,
            endpoint_id=UUID(delivery.endpoint_id),
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            resource_id=delivery.resource_id,
            account_id=UUID(delivery.account_id),
            status=delivery.status,
            attempts=delivery.attempts,
            attempted_at=delivery.attempted_at,
            next_attempt_at=delivery.next_attempt_at,
            created_at=delivery.created_at,
            last_attempt=None if delivery.last is None else LastAttemptView.of(delivery.last),
        )


class AttemptView(Wire):
    """One POST, as it is remembered."""

    started_at: WireTime
    duration_ms: int
    """Milliseconds."""
    outcome: str
    status_code: int | None
    error: str | None
    response: str
    """First 16 KB of the answer, as text; bytes that are no UTF-8 are replaced."""

    @classmethod
    def of(cls, attempt: StoredAttempt) -> Self:
        """Show an attempt."""
        return cls(
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
            outcome=attempt.outcome,
            status_code=attempt.status_code,
            error=attempt.error,
            response=(attempt.response or b"").decode(errors="replace"),
        )


class DeliveryDetailView(DeliveryView):
    """A delivery with its attempts."""

    attempt_log: list[AttemptView]
    """Every attempt, also of earlier schedules, oldest first."""

    @classmethod
    def with_attempts(cls, delivery: Delivery, attempts: Sequence[StoredAttempt]) -> Self:
        """Show a delivery and its attempts."""
        shown = dict(DeliveryView.of(delivery))
        return cls(**shown, attempt_log=[AttemptView.of(attempt) for attempt in attempts])


class ReplayView(Wire):
    """What a replay queued."""

    delivery_id: int
