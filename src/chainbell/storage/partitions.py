"""Partitions of the attempts by month, made before they are needed."""

from datetime import UTC, datetime

from chainbell.storage.database import Database
from chainbell.storage.locks import lock_partitions

_MONTHS = """
select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'attempts'::regclass and c.relname ~ '^attempts_[0-9]{4}_[0-9]{2}$' order by c.relname
"""


async def ensure_attempt_partitions(database: Database, now: datetime) -> list[str]:
    """Make the partitions of this month and the next where they are missing, and return the names of those made.

    Attempts of these months that the default partition took meanwhile move into them. Called at start and each day.
    """
    this = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [name for begin in (this, _next_month(this)) for name in await _ensure(database, begin)]


async def _ensure(database: Database, begin: datetime) -> list[str]:
    name = f"attempts_{begin:%Y_%m}"
    async with database.transaction() as connection:
        await lock_partitions(connection)
        if await connection.fetchval("select to_regclass($1) is not null", name):
            return []
        # First without attaching it, because a partition that overlaps rows of the default one is refused.
        await connection.execute(f"create table {name} (like attempts including constraints)")
        await connection.execute("lock table attempts in access exclusive mode")
        moving = (begin, _next_month(begin))
        await connection.execute(
            f"with moved as (delete from attempts_default where started_at >= $1 and started_at < $2 returning *) "  # noqa: S608 - the name is ours
            f"insert into {name} select * from moved",
            *moving,
        )
        bounds = " to ".join(f"('{moment.isoformat()}')" for moment in moving)
        await connection.execute(f"alter table attempts attach partition {name} for values from {bounds}")
    return [name]


async def partitions_before(database: Database, moment: datetime) -> list[tuple[str, datetime]]:
    """Return the partitions that hold nothing but attempts before a time, oldest first, each with its upper bound."""
    async with database.connection() as connection:
        names = [row["name"] for row in await connection.fetch(_MONTHS)]
    ends = [(name, _next_month(datetime.strptime(name, "attempts_%Y_%m").replace(tzinfo=UTC))) for name in names]
    return [(name, end) for name, end in ends if end <= moment]


async def drop_partition(database: Database, name: str) -> None:
    """Delete all attempts of a month at once. Raises `DatabaseError` when whoever reads attempts goes on for too long."""
    async with database.transaction() as connection:
        await lock_partitions(connection)
        await connection.execute("set local lock_timeout = '3s'")
        await connection.execute(f"drop table if exists {name}")


def _next_month(begin: datetime) -> datetime:
    return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
