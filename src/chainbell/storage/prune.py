"""Pruning: forget the oldest part of the feed, in small steps, and never what an endpoint still waits for.

What stays of an event is how often it was told on its occasion, so that one that is told again has an id of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chainbell.storage.audit import Deed, write_audit
from chainbell.storage.database import Connection, Database

EVENTS_AT_ONCE = 500
ORPHANS_AT_ONCE = 5000
_LOOKED_AT_ONCE = 20_000

_EXTENT = "select coalesce((select min(position) from events), feed_position + 1) as first, feed_position from installation"

_FIRST_KEPT = """
select position from events where position >= $1 and position < $2 and created_at >= $3 order by position limit 1
"""

_HELD_BY = """
select d.endpoint_id, p.url, p.enabled, count(*) as pending, min(d.event_position) as oldest
from deliveries d join endpoints p on p.id = d.endpoint_id
where d.status = 'pending' and p.deleted_at is null and d.event_position <= $1
group by d.endpoint_id, p.url, p.enabled order by oldest
"""

_EXHAUSTED = """
select count(*) from deliveries d join endpoints p on p.id = d.endpoint_id
where d.status = 'exhausted' and p.deleted_at is null and d.event_position <= $1
"""

_EVENTS = "select position from events where position <= $1 order by position limit $2 for update"

# One statement sees and locks them all, so that who waits is decided on what cannot change any more.
_DELIVERIES = """
select d.id, d.event_position, d.status = 'pending' and p.deleted_at is null as awaited
from deliveries d join endpoints p on p.id = d.endpoint_id
where d.event_position between $1 and $2 order by d.id for update of d
"""

_COUNT_TELLINGS = """
insert into pruned_tellings (resource_id, type, occasion, times)
select resource_id, type, occasion, count(*) from events where position between $1 and $2
group by resource_id, type, occasion
on conflict (resource_id, type, occasion) do update set times = pruned_tellings.times + excluded.times
"""

_FORGET_ORPHANS = """
delete from blocks where (chain, hash) in (select chain, hash from blocks where orphaned_at < $1 limit $2)
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """An endpoint whose pending deliveries hold pruning back."""

    endpoint_id: str
    url: str
    enabled: bool
    pending: int
    """How many of its deliveries would have gone."""
    oldest_position: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What can go."""

    first: int
    """Position of the oldest event."""
    through: int
    """Position of the last event that can go; below `first`: none."""
    wanted: int
    """Position of the last event that is older than asked for."""
    exhausted: int
    """Deliveries that were given up and could still have been replayed."""
    holders: Sequence[Holder]
    cut: datetime
    """Every attempt before it belongs to what goes."""

    @property
    def events(self) -> int:
        """How many events go."""
        return max(0, self.through - self.first + 1)

    @property
    def held_back(self) -> int:
        """How many events are older than asked for, and stay."""
        return max(0, self.wanted - max(self.through, self.first - 1))


@dataclass(frozen=True, slots=True)
class Step:
    """What one step deleted; no events: nothing is left to delete, or a delivery has become pending."""

    events: int
    deliveries: int


class Pruner:
    """Deletes the oldest part of the feed, with its deliveries and their attempts. What is committed is gone for good."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, before: datetime) -> Plan:
        """Find out what can go: everything up to the first event that is not older, or that an endpoint waits for."""
        async with self._database.connection() as connection:
            extent = await connection.fetchrow(_EXTENT)
            if extent is None:
                message = "the table installation is empty"
                raise AssertionError(message)
            wanted = await _last_before(connection, extent["first"], extent["feed_position"], before)
            held = await connection.fetch(_HELD_BY, wanted)
            through = min([row["oldest"] - 1 for row in held], default=wanted)
            exhausted = await connection.fetchval(_EXHAUSTED, through)
            kept_at = await connection.fetchval("select created_at from events where position = $1", through + 1)
        holders = [
            Holder(str(row["endpoint_id"]), row["url"], row["enabled"], row["pending"], row["oldest"]) for row in held
        ]
        return Plan(extent["first"], through, wanted, exhausted, holders, min(before, kept_at or before))

    async def begin(self, plan: Plan, deed: Deed) -> None:
        """Write down who prunes what."""
        async with self._database.transaction() as connection:
            await write_audit(connection, "prune", deed, {"first": plan.first, "through": plan.through})

    async def step(self, through: int, attempts_from: datetime) -> Step:
        """Delete some of the oldest events up to a position, with what belongs to them, in one short transaction.

        Attempts before `attempts_from` are left: they go with their partitions.
        """
        async with self._database.transaction() as connection:
            # The events first: whoever would add a delivery of one waits for us, and then finds it gone.
            rows = await connection.fetch(_EVENTS, through, EVENTS_AT_ONCE)
            if not rows:
                return Step(0, 0)
            first, last = rows[0]["position"], rows[-1]["position"]
            deliveries = await connection.fetch(_DELIVERIES, first, last)
            last = min([row["event_position"] - 1 for row in deliveries if row["awaited"]], default=last)
            if last < first:
                return Step(0, 0)
            ids = [row["id"] for row in deliveries if row["event_position"] <= last]
            await connection.execute(
                "delete from attempts where delivery_id = any($1::bigint[]) and started_at >= $2", ids, attempts_from
            )
            await connection.execute("delete from deliveries where id = any($1::bigint[])", ids)
            await connection.execute(_COUNT_TELLINGS, first, last)
            await connection.execute("delete from events where position between $1 and $2", first, last)
        return Step(last - first + 1, len(ids))

    async def forget_orphans(self, before: datetime) -> int:
        """Delete some blocks that left our chain before a time; return how many."""
        async with self._database.connection() as connection:
            return _count(await connection.execute(_FORGET_ORPHANS, before, ORPHANS_AT_ONCE))


async def _last_before(connection: Connection, first: int, end: int, before: datetime) -> int:
    """Return the position before the first event that is not older; times are not quite in the order of positions."""
    for start in range(first, end + 1, _LOOKED_AT_ONCE):
        kept: int | None = await connection.fetchval(_FIRST_KEPT, start, start + _LOOKED_AT_ONCE, before)
        if kept is not None:
            return kept - 1
    return end


def _count(status: Any) -> int:  # noqa: ANN401 - asyncpg's command status, such as "DELETE 5"
    return int(str(status).rpartition(" ")[2])
