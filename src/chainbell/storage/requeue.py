"""Deliveries that get a second schedule: after an outage by themselves, else when somebody asks for a replay."""

from dataclasses import dataclass
from datetime import datetime
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
_AGAIN = """
update deliveries set status = 'pending', blocking = true, waiting = false, attempts = 0, alone = 0, next_attempt_at = $2,
    outage = false, exhausted_at = null, requeued = $3, updated_at = $2
where id = any($1::bigint[]) and (outage or not $3)
"""

_VISIBLE = """
p.deleted_at is null and ($1::text is null or p.mode = $1)
and ($2::uuid is null or (p.account_id = $2 and d.account_id = $2))
"""

_ONE = f"""
select d.id, d.endpoint_id, d.resource_id from deliveries d join endpoints p on p.id = d.endpoint_id
where {_VISIBLE} and d.id = $3
"""  # noqa: S608 - made of literals

_EXHAUSTED = f"""
select d.id, d.endpoint_id, d.resource_id from deliveries d join endpoints p on p.id = d.endpoint_id
where {_VISIBLE} and d.endpoint_id = $3 and d.status = 'exhausted' and d.exhausted_at < $4
order by d.event_position limit $5
"""  # noqa: S608 - the same

_PAIR = """
select p.id as endpoint_id, p.version, p.mode, p.accounts, p.account_id as owner,
    v.id as event_id, v.position, v.resource_id, v.account_id, v.mode as event_mode, v.type, v.body_v1, d.id as delivery_id
from endpoints p
left join events v on v.id = $2
left join deliveries d on d.endpoint_id = p.id and d.event_position = v.position
where p.id = $1 and p.deleted_at is null and ($3::text is null or p.mode = $3) and ($4::uuid is null or p.account_id = $4)
"""

_ADD = """
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, created_at,
                        updated_at)
values ($1, $2, $3, $4, 'pending', $5, $5, $5)
on conflict (endpoint_id, event_position) do update set updated_at = excluded.updated_at returning id
"""


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
        await _queue_again(connection, rows, now, after_outage=True)
    return len(rows)


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
        await _queue_again(connection, [row], now, after_outage=False)
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
            delivery_id = pair["delivery_id"]
            if delivery_id is None:
                await lock_lanes(connection, [(str(pair["endpoint_id"]), pair["resource_id"])])
                delivery_id = await connection.fetchval(
                    _ADD, pair["endpoint_id"], pair["position"], pair["resource_id"], pair["account_id"], now
                )
                await notify(connection, EVENTS_CHANNEL)
            else:
                row = await connection.fetchrow(_ONE, *_limits(OPERATOR), delivery_id)
                await _queue_again(connection, [] if row is None else [row], now, after_outage=False)
        return Replayed(delivery_id)

    async def exhausted(self, endpoint_id: str, now: datetime, viewer: Viewer = OPERATOR) -> int:
        """Send again everything that this endpoint did not take until `now`, oldest first; return how many."""
        total = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.fetch(_EXHAUSTED, *_limits(viewer), _parse(endpoint_id), now, BATCH)
                await _queue_again(connection, rows, now, after_outage=False)
            total += len(rows)
            if len(rows) < BATCH:
                return total


async def _queue_again(connection: Connection, rows: list[Record], now: datetime, *, after_outage: bool) -> None:
    await lock_lanes(connection, {(str(row["endpoint_id"]), row["resource_id"]) for row in rows})
    await connection.execute(_AGAIN, sorted(row["id"] for row in rows), now, after_outage)
    await notify(connection, EVENTS_CHANNEL)


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
