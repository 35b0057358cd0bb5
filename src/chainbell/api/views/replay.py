"""Replays of many deliveries."""

from typing import Self
from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime
from chainbell.storage.replays import Replay, ReplayKind


class ReplayJobView(Wire):
    """A replay of many deliveries, and how far it is."""

    id: UUID
    endpoint_id: UUID
    what: ReplayKind
    since: WireTime | None
    until: WireTime | None
    total: int
    """What there was to look at when it was asked for: exhausted deliveries for ``failed``, else events."""
    checked: int
    """How many of them it has looked at."""
    queued: int
    """Deliveries that it queued."""
    stopped_reason: str | None
    """Why it ended before it had looked at everything; null: it did not."""
    created_at: WireTime
    advanced_at: WireTime
    finished_at: WireTime | None
    """Null while it goes on."""

    @classmethod
    def of(cls, replay: Replay) -> Self:
        """Show a replay."""
        return cls(
            id=UUID(replay.id),
            endpoint_id=UUID(replay.endpoint_id),
            what=replay.what,
            since=replay.since,
            until=replay.until,
            total=replay.total,
            checked=replay.checked,
            queued=replay.queued,
            stopped_reason=replay.stopped_reason,
            created_at=replay.created_at,
            advanced_at=replay.advanced_at,
            finished_at=replay.finished_at,
        )
