"""What the delivery worker claims and records. See 0001_initial.sql for lanes: order holds within each."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from chainbell.delivery.port import Claim, Claimed, Recorded, Result, Room
from chainbell.delivery.schedule import DEFAULT_SCHEDULE
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.errors import ConfigurationError
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.delivery_results import record_results
from chainbell.storage.endpoints import secret_row
from chainbell.storage.locks import lock_lanes
from chainbell.storage.requeue import requeue_some
from chainbell.storage.sealing import SecretBox

_log = structlog.get_logger()

_WINDOW = 50
"""How many due deliveries of one endpoint a claim looks at; what waits for an earlier one is set aside then."""

# Who holds up whom: an earlier one of the lane that is pending and blocking.
HELD_UP = """
exists (select from deliveries earlier
    where earlier.endpoint_id = d.endpoint_id and earlier.resource_id = d.resource_id
        and earlier.event_position < d.event_position and earlier.status = 'pending' and earlier.blocking)
"""

# The last: nobody takes one that long, so the server's clock was set back.
_FREE = """
(d.lease_until is null or d.lease_until < clock_timestamp() or d.lease_until > clock_timestamp() + interval '5 minutes')
"""

# The endpoints in turn, each with what it has room for: its n-th delivery comes after the (n-1)-th of every other.
# $1 now, $2 per endpoint, $3 and $4 busy, $5 window, $6 places for failing endpoints, $7 total
_LOOK = f"""
with endpoint as materialized (
    select e.id, e.failing_since is not null as failing, coalesce(b.busy, 0) as busy,
        case when e.failing_since is null then $2::integer else 1 end - coalesce(b.busy, 0) as room
    from endpoints e left join unnest($3::uuid[], $4::integer[]) as b (id, busy) using (id)
    where e.enabled and e.deleted_at is null
), due as materialized (
    select e.failing, e.busy, e.room, d.*
    from endpoint e cross join lateral (
        select d.id, d.endpoint_id, d.resource_id, d.next_attempt_at, d.event_position, {HELD_UP} as held_up
        from deliveries d
        where d.endpoint_id = e.id and d.status = 'pending' and not d.waiting and d.next_attempt_at <= $1 and {_FREE}
        order by d.next_attempt_at, d.event_position limit $5
    ) d
    where e.room > 0
), turn as (
    select *, busy + row_number() over (partition by endpoint_id order by next_attempt_at, event_position) as turn
    from due where not held_up
), place as (
    select *, row_number() over (partition by failing order by turn, random()) as place
    from turn where turn - busy <= room
), picked as (
    select id, endpoint_id, resource_id, turn, next_attempt_at from place
    where not failing or place <= $6::integer - (select coalesce(sum(busy), 0) from endpoint where failing)
    order by turn, next_attempt_at, event_position limit $7
)
select id, endpoint_id, resource_id, false as held_up from picked
union all
select id, endpoint_id, resource_id, true from due where held_up
"""  # noqa: S608 - made of literals

# Everything is asked again here: another worker may have been faster. $1 ids, $2 now, $3 lease
_CLAIM = f"""
with free as (
    select d.id, d.lease_until from unnest($1::bigint[]) as picked (id) join deliveries d using (id)
    where d.status = 'pending' and not d.waiting and d.next_attempt_at <= $2 and {_FREE} and not {HELD_UP}
    order by d.id for update of d skip locked
)
update deliveries d set fence = fence + 1, lease_until = clock_timestamp() + $3::interval
from free, events v, endpoints p
where d.id = free.id and v.position = d.event_position and p.id = d.endpoint_id
returning d.id, d.fence, d.endpoint_id, d.resource_id, v.id as event_id, d.event_position, p.version, p.url,
    free.lease_until is not null as rescued, case p.version when 1 then v.body_v1 else v.body_v2 end as body
"""  # noqa: S608 - the same

_SECRETS = """
select s.id, s.endpoint_id, s.sealed
from unnest($1::uuid[]) as wanted (endpoint_id) join endpoint_secrets s using (endpoint_id)
where s.expires_at is null or s.expires_at > $2
order by s.expires_at is not null, s.created_at desc, s.id
"""

_SET_ASIDE = f"""
update deliveries d set waiting = true
where d.id = any($1::bigint[]) and d.status = 'pending' and not d.waiting and {HELD_UP}
"""  # noqa: S608 - the same

_GIVE_BACK = """
update deliveries d set lease_until = null
from unnest($1::bigint[], $2::bigint[]) as mine (id, fence)
where d.id = mine.id and d.fence = mine.fence and d.status = 'pending'
"""

_NEXT_DUE = """
select min(d.next_attempt_at)
from endpoints e cross join lateral (
    select d.next_attempt_at from deliveries d
    where d.endpoint_id = e.id and d.status = 'pending' and not d.waiting and d.next_attempt_at > $1
    order by d.next_attempt_at limit 1
) d
where e.enabled and e.deleted_at is null
"""


class PostgresDeliveryStore:
    """The `DeliveryStore` of the delivery worker."""

    def __init__(self, database: Database, box: SecretBox, schedule: Sequence[timedelta] = DEFAULT_SCHEDULE) -> None:
        self._database = database
        self._box = box
        self._schedule = schedule

    async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
        """Take what is due: of each endpoint the longest due first, of a lane only what no earlier one holds up."""
        async with self._database.connection() as connection:
            found = await connection.fetch(
                _LOOK,
                now,
                room.per_endpoint,
                list(room.busy),
                list(room.busy.values()),
                _WINDOW,
                room.failing,
                room.total,
            )
            picked = [row["id"] for row in found if not row["held_up"]]
            rows = await connection.fetch(_CLAIM, picked, now, lease) if picked else []
            secrets = await self._secrets(connection, {row["endpoint_id"] for row in rows}, now)
        held_up = [row for row in found if row["held_up"]]
        if held_up:
            await self._set_aside(held_up)
        rows.sort(key=lambda row: (row["event_position"], row["id"]))
        return Claimed([_to_claim(row, secrets.get(row["endpoint_id"], ())) for row in rows], more=bool(found))

    async def record(self, results: Sequence[Result], now: datetime) -> Sequence[Recorded | None]:
        """Write attempts and what follows from them in one transaction, as far as the claims' fences are still in force."""
        async with self._database.transaction() as connection:
            return await record_results(connection, results, self._schedule, now)

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """End leases of deliveries that were not sent."""
        ordered = sorted((claim.delivery_id, claim.fence) for claim in claims)
        async with self._database.connection() as connection:
            await connection.execute(_GIVE_BACK, [id_ for id_, _ in ordered], [fence for _, fence in ordered])

    async def next_due(self, now: datetime) -> datetime | None:
        """Return when the next delivery of an enabled endpoint becomes due after `now`."""
        async with self._database.connection() as connection:
            due: datetime | None = await connection.fetchval(_NEXT_DUE, now)
        return due

    async def requeue_after_outage(self, now: datetime) -> int:
        """Queue once more up to a batch of what was exhausted in outages that are over; return how many."""
        return await requeue_some(self._database, now)

    async def _secrets(
        self, connection: Connection, endpoint_ids: set[UUID], now: datetime
    ) -> Mapping[UUID, tuple[str, ...]]:
        rows = await connection.fetch(_SECRETS, sorted(endpoint_ids), now) if endpoint_ids else []
        opened: dict[UUID, tuple[str, ...]] = {}
        for row in rows:
            secret = self._opened(row)
            if secret is not None:
                opened[row["endpoint_id"]] = (*opened.get(row["endpoint_id"], ()), secret)
        return opened

    def _opened(self, row: Record) -> str | None:
        """Open a secret; one that cannot be opened is its endpoint's trouble, not that of the others."""
        try:
            return self._box.open(row["sealed"], secret_row(row["id"])).decode()
        except ConfigurationError as error:
            _log.error("secret_cannot_be_opened", endpoint_id=str(row["endpoint_id"]), reason=str(error))
            return None

    async def _set_aside(self, rows: Sequence[Record]) -> None:
        """Look no more at what waits: the end of what holds it up sets it free, under the same lock."""
        async with self._database.transaction() as connection:
            await lock_lanes(connection, {(str(row["endpoint_id"]), row["resource_id"]) for row in rows})
            await connection.execute(_SET_ASIDE, sorted(row["id"] for row in rows))


def _to_claim(row: Record, secrets: tuple[str, ...]) -> Claim:
    return Claim(
        delivery_id=row["id"],
        fence=row["fence"],
        endpoint_id=str(row["endpoint_id"]),
        resource_id=row["resource_id"],
        event_id=row["event_id"],
        version=WebhookVersion(row["version"]),
        url=row["url"],
        secrets=secrets,
        body=row["body"],
        rescued=row["rescued"],
    )
