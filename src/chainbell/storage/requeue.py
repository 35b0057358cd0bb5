"""Deliveries that get a second schedule: after an outage by themselves, else when somebody asks for a replay."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chainbell.domain.errors import InputError, NotFoundError
from chainbell.storage.accounts import OPERATOR, Viewer
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.endpoints import no_endpoint
from chainbell.storage.locks import lock_lanes
from chainbell.storage.wakeups import EVENTS_CHANNEL, notify

BATCH = 1000
"""Deliveries that one transaction queues again."""

_OVER = """
select d.id, d.endpoint_id, d.resource_id from endpoints e cross join lateral (
    select * from deliveries d where d.endpoint_id = e.id and d.outage order by d.event_position limit $1
) d
where e.failing_since is null and e.enabled and e.deleted_at is null
order by d.event_position, d.id limit $1
"""

# A lease goes on: what is being sent right now is the first attempt of the new schedule.
# What was read before the lanes were locked is asked again: somebody may have been faster.
_AGAIN = """
update deliveries d set status = 'pending', blocking = true, waiting = false, attempts = 0, alone = 0,
    next_attempt_at = $2, outage = false, exhausted_at = null, requeued = ($3 = 'outage'), updated_at = $2
from unnest($1::bigint[]) as wanted (id)
where d.id = wanted.id
    and ($3 = 'any' or ($3 = 'exhausted' and d.status = 'exhausted') or ($3 = 'outage' and d.outage))
"""

# An event that is being pruned is waited for, and then is not there.
_ADD = """
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, created_at,
                        updated_at)
select $1, v.position, v.resource_id, v.account_id, 'pending', $3, $3, $3
from unnest($2::bigint[]) as wanted (position) join events v using (position) order by v.position for key share of v
on conflict (endpoint_id, event_position) do nothing
"""

_VISIBLE = """
p.deleted_at is null and ($1::text is null or p.mode = $1)
and ($2::uuid is null or (p.account_id = $2 and d.account_id = $2))
"""

_ONE = f"""
select d.id, d.endpoint_id, d.resource_id from deliveries d join endpoints p on p.id = d.endpoint_id
where {_VISIBLE} and d.id = $3
"""  # noqa: S608 - made of literals

_PAIR = """
select p.id as endpoint_id, p.version, p.mode, p.accounts, p.account_id as owner,
    v.id as event_id, v.position, v.resource_id, v.account_id, v.mode as event_mode, v.type, v.body_v1, d.id as delivery_id
from endpoints p
left join events v on v.id = $2
left join deliveries d on d.endpoint_id = p.id and d.event_position = v.position
where p.id = $1 and p.deleted_at is null and ($3::text is null or p.mode = $3) and ($4::uuid is null or p.account_id = $4)
"""

_FOUND = "select id from deliveries where endpoint_id = $1 and event_position = $2"


class Only(StrEnum):
    """Which deliveries are queued again, of those that somebody names."""

    ANY = "any"
    EXHAUSTED = "exhausted"
    OUTAGE = "outage"
    """Those that an outage exhausted; they get no third schedule by themselves."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay queued."""

    delivery_id: int


async def requeue_some(database: Database, now: datetime) -> int:
    """Queue once more up to `BATCH` deliveries that were exhausted in outages that are over; return how many."""
    async with database.connection() as connection:
        rows = await connection.fetch(_OVER, BATCH)
    if not rows:
        return 0
    async with database.transaction() as connection:
        await _lock_lanes_of(connection, rows)
        await send_again(connection, [row["id"] for row in rows], now, Only.OUTAGE)
    return len(rows)


async def send_again(connection: Connection, ids: Collection[int], now: datetime, only: Only) -> int:
    """Queue deliveries on a fresh schedule, and return how many; their lanes must be locked."""
    if not ids:
        return 0
    tag = await connection.execute(_AGAIN, sorted(ids), now, only.value)
    await notify(connection, EVENTS_CHANNEL)
    return _count(tag)


async def send_first(connection: Connection, endpoint_id: UUID, positions: Collection[int], now: datetime) -> int:
    """Queue events that an endpoint has no delivery of, and return how many; their lanes must be locked."""
    if not positions:
        return 0
    tag = await connection.execute(_ADD, endpoint_id, sorted(positions), now)
    await notify(connection, EVENTS_CHANNEL)
    return _count(tag)


class ReplayStore:
    """Sends again what was sent, or given up: the same id and bytes on a fresh schedule. Nothing is refused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delivery(self, delivery_id: int, now: datetime, viewer: Viewer = OPERATOR) -> Replayed:
        """Send one delivery again, whatever its state. Raises `NotFoundError`."""
        async with self._database.transaction() as connection:
            return await self.delivery_in(connection, delivery_id, now, viewer)

    async def delivery_in(self, connection: Connection, delivery_id: int, now: datetime, viewer: Viewer) -> Replayed:
        """Send one delivery again, inside an open transaction. Raises as `delivery`."""
        row = await connection.fetchrow(_ONE, *_limits(viewer), delivery_id)
        if row is None:
            message = f"there is no delivery {delivery_id}: `chainbell deliveries` shows their ids"
            raise NotFoundError(message)
        await _lock_lanes_of(connection, [row])
        await send_again(connection, [delivery_id], now, Only.ANY)
        return Replayed(delivery_id)

    async def event(self, event_id: str, endpoint_id: str, now: datetime, viewer: Viewer = OPERATOR) -> Replayed:
        """Send an event to an endpoint, again or for the first time, whatever the endpoint's filter of types and chains.

        Raises `NotFoundError`, and `InputError` where mode, account or version forbid it.
        """
        async with self._database.transaction() as connection:
            pair = await connection.fetchrow(_PAIR, _parse(endpoint_id), event_id, *_limits(viewer))
            if pair is None:
                raise no_endpoint(endpoint_id)
            _check(pair, event_id)
            await _lock_lanes_of(connection, [pair])
            if pair["delivery_id"] is None:
                await send_first(connection, pair["endpoint_id"], [pair["position"]], now)
            else:
                await send_again(connection, [pair["delivery_id"]], now, Only.ANY)
            delivery_id = await connection.fetchval(_FOUND, pair["endpoint_id"], pair["position"])
        return Replayed(delivery_id)


async def _lock_lanes_of(connection: Connection, rows: list[Record]) -> None:
    await lock_lanes(connection, {(str(row["endpoint_id"]), row["resource_id"]) for row in rows})


def _count(tag: str) -> int:
    """Return how many rows a statement changed, by its command tag."""
    return int(tag.rpartition(" ")[2])


def _check(pair: Record, event_id: str) -> None:
    if pair["event_id"] is None or pair["event_mode"] != pair["mode"] or pair["owner"] not in {None, pair["account_id"]}:
        message = f"there is no event {event_id} of this endpoint's mode and account: `chainbell events` shows their ids"
        raise NotFoundError(message)
    if pair["accounts"] and pair["account_id"] not in pair["accounts"]:
        message = (
            f"event {event_id} belongs to an account that this endpoint does not listen to: add it to the endpoint first"
        )
        raise InputError(message)
    if pair["version"] == 1 and pair["body_v1"] is None:
        message = f"event {event_id} ({pair['type']}) does not exist in version 1: replay it to an endpoint of version 2"
        raise InputError(message)


def _limits(viewer: Viewer) -> tuple[str | None, str | None]:
    return None if viewer.mode is None else viewer.mode.value, viewer.account_id


def _parse(endpoint_id: str) -> UUID:
    try:
        return UUID(endpoint_id)
    except ValueError:
        raise no_endpoint(endpoint_id) from None
