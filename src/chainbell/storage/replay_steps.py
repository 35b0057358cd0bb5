"""Working off replays: each step looks at a portion of the feed, queues what is to be sent, and commits how far it came.

A step is one transaction that holds the job's row, so that several processes may work at one job, and whoever dies in the
middle leaves it as it was before. Locks are taken in this order: the job's row, then the lanes of its deliveries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chainbell.domain.chain import Mode
from chainbell.domain.delivery import Endpoint, FeedEvent
from chainbell.events.subscription import subscribes
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.endpoints import to_endpoint
from chainbell.storage.locks import lock_lanes
from chainbell.storage.replays import Replay, ReplayKind, exhausted, to_replay
from chainbell.storage.requeue import BATCH, Only, send_again, send_first

_TAKE = "select * from replays where id = $1 for update"

# The one that has waited longest, so that a long one holds up no other.
_TAKE_ANY = """
select * from replays where finished_at is null order by advanced_at, id limit 1 for update skip locked
"""

_ENDPOINT = "select * from endpoints where id = $1"

_ADVANCE = """
update replays set reached_position = $2, checked = checked + $3, queued = queued + $4, advanced_at = $5,
    finished_at = case when $6 then $5::timestamptz end, stopped_reason = $7
where id = $1 returning *
"""

_DELETED = "its endpoint was deleted"


@dataclass(frozen=True, slots=True)
class _Portion:
    """What a step found."""

    reached: int
    """Everything up to this position was looked at."""
    checked: int
    last: bool
    lanes: frozenset[str]
    """Resources of what is queued."""
    again: Sequence[int] = ()
    """Ids of deliveries to send again."""
    first: Sequence[int] = ()
    """Positions of events to send for the first time."""


async def step(database: Database, replay_id: str, now: datetime, *, size: int = BATCH) -> Replay:
    """Work at one replay, after whoever else does, and return how far it is; a finished one stays as it is.

    `size` is how much to look at.
    """
    async with database.transaction() as connection:
        row = await connection.fetchrow(_TAKE, UUID(replay_id))
        if row is None:
            message = f"the replay {replay_id} is gone"
            raise AssertionError(message)
        return to_replay(row) if row["finished_at"] is not None else await _advance(connection, row, now, size)


async def step_any(database: Database, now: datetime, *, size: int = BATCH) -> Replay | None:
    """Work at an unfinished replay that nobody else works at right now, and return how far it is; None: there is none."""
    async with database.transaction() as connection:
        row = await connection.fetchrow(_TAKE_ANY)
        return None if row is None else await _advance(connection, row, now, size)


async def _advance(connection: Connection, job: Record, now: datetime, size: int) -> Replay:
    endpoint = await connection.fetchrow(_ENDPOINT, job["endpoint_id"])
    if endpoint is None or endpoint["deleted_at"] is not None:
        return await _write(connection, job, _nothing(job), 0, now, _DELETED)
    failed = job["what"] == ReplayKind.FAILED.value
    look = _exhausted if failed else _events
    portion = await look(connection, job, to_endpoint(endpoint), size)
    queued = 0
    if portion.lanes:
        await lock_lanes(connection, [(str(job["endpoint_id"]), resource) for resource in portion.lanes])
        queued += await send_again(connection, portion.again, now, Only.EXHAUSTED if failed else Only.ANY)
        queued += await send_first(connection, job["endpoint_id"], portion.first, now)
    return await _write(connection, job, portion, queued, now)


async def _write(  # noqa: PLR0913 - what a step came to
    connection: Connection, job: Record, portion: _Portion, queued: int, now: datetime, stopped: str | None = None
) -> Replay:
    row = await connection.fetchrow(
        _ADVANCE, job["id"], portion.reached, portion.checked, queued, now, portion.last, stopped
    )
    if row is None:
        message = "the row of a replay went away under its lock"
        raise AssertionError(message)
    return to_replay(row)


def _nothing(job: Record) -> _Portion:
    return _Portion(job["reached_position"], 0, last=True, lanes=frozenset())


async def _exhausted(connection: Connection, job: Record, endpoint: Endpoint, size: int) -> _Portion:
    stretch = (job["reached_position"], job["through_position"])
    sql, arguments = looking_at_exhausted(endpoint, job["created_at"], stretch, size)
    rows = await connection.fetch(sql, *arguments)
    asked = [row for row in rows if _is_asked_for(job, row)]
    return _Portion(
        reached=_reached(job, rows, size),
        checked=len(asked),
        last=len(rows) < size,
        lanes=frozenset(row["resource_id"] for row in asked),
        again=[row["id"] for row in asked],
    )


async def _events(connection: Connection, job: Record, endpoint: Endpoint, size: int) -> _Portion:
    sql, arguments = looking_at_events(endpoint, (job["reached_position"], job["through_position"]), size)
    rows = await connection.fetch(sql, *arguments)
    asked = [row for row in rows if _is_asked_for(job, row)]
    again = [row for row in asked if row["delivery_id"] is not None and job["what"] == ReplayKind.RANGE.value]
    first = [row for row in asked if row["delivery_id"] is None and subscribes(endpoint, _fact(row))]
    return _Portion(
        reached=_reached(job, rows, size),
        checked=len(asked),
        last=len(rows) < size,
        lanes=frozenset(row["resource_id"] for row in (*again, *first)),
        again=[row["delivery_id"] for row in again],
        first=[row["position"] for row in first],
    )


# Times are not asked for here, and what stands beside is not joined: PostgreSQL might then read by time, or all, each step.


def looking_at_exhausted(
    endpoint: Endpoint, before: datetime, stretch: tuple[int, int], size: int
) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments that read a portion of what an endpoint did not take until a moment."""
    conditions = Conditions()
    exhausted(conditions, UUID(endpoint.id), before)
    conditions.behind("d.event_position", stretch[0])
    conditions.up_to("d.event_position", stretch[1])
    sql = f"""
        select d.id, d.resource_id, d.event_position as position,
            (select v.created_at from events v where v.position = d.event_position) as created_at
        from deliveries d where {conditions} order by d.event_position limit {conditions.place(size)}
    """  # noqa: S608 - literals and placeholders
    return sql, conditions.arguments


def looking_at_events(endpoint: Endpoint, stretch: tuple[int, int], size: int) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments that read a portion of the feed, with the endpoint's delivery of each event.

    The stretch is (behind this position, up to and with this one).
    """
    conditions = Conditions()
    conditions.equal("v.mode", endpoint.mode.value)
    conditions.behind("v.position", stretch[0])
    conditions.up_to("v.position", stretch[1])
    endpoint_id = conditions.place(UUID(endpoint.id))
    sql = f"""
        select v.position, v.id, v.type, v.resource_id, v.sequence, v.mode, v.chain, v.account_id, v.generation,
            v.created_at, v.silent, case when v.body_v1 is not null then v.v1_type end as v1_type,
            (select id from deliveries where endpoint_id = {endpoint_id} and event_position = v.position) as delivery_id
        from events v where {conditions} order by v.position limit {conditions.place(size)}
    """  # noqa: S608 - the same
    return sql, conditions.arguments


def _is_asked_for(job: Record, row: Record) -> bool:
    at = row["created_at"]
    return (job["since"] is None or at >= job["since"]) and (job["until"] is None or at < job["until"])


def _reached(job: Record, rows: Sequence[Record], size: int) -> int:
    reached: int = job["through_position"] if len(rows) < size else rows[-1]["position"]
    return reached


def _fact(row: Record) -> FeedEvent:
    """Return an event as its fan-out saw it; bodies and occasion, which decide nothing there, are left in the database."""
    return FeedEvent(
        position=row["position"],
        id=row["id"],
        type=row["type"],
        v1_type=row["v1_type"],
        resource_id=row["resource_id"],
        sequence=row["sequence"],
        occasion=(),
        mode=Mode(row["mode"]),
        chain=row["chain"],
        account_id=str(row["account_id"]),
        generation=row["generation"],
        at=row["created_at"],
        body_v2=b"",
        body_v1=None,
        silent=row["silent"],
    )
