import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from chainbell.storage.database import Database
from chainbell.storage.partitions import ensure_attempt_partitions

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

_INSERT = """
insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome) values ($1, $2, $3, 1, 'succeeded')
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


async def attempt(database: Database, at: datetime) -> None:
    async with database.connection() as connection:
        await connection.execute(_INSERT, 7, uuid4(), at)


async def where(database: Database) -> list[str]:
    """Return the partition of each attempt, in the order of their times."""
    async with database.connection() as connection:
        rows = await connection.fetch("select tableoid::regclass::text as place from attempts order by started_at")
    return [row["place"] for row in rows]


async def test_makes_this_month_and_the_next_once(database: Database) -> None:
    """The second call makes nothing; attempts go where they belong, and the rest to the default partition."""
    assert await ensure_attempt_partitions(database, NOW) == ["attempts_2026_11", "attempts_2026_12"]
    assert await ensure_attempt_partitions(database, NOW) == []
    for at in (NOW - timedelta(days=30), NOW, NOW + timedelta(days=30), NOW + timedelta(days=90)):
        await attempt(database, at)
    assert await where(database) == ["attempts_default", "attempts_2026_11", "attempts_2026_12", "attempts_default"]


async def test_the_year_ends(database: Database) -> None:
    """After December comes January, at midnight UTC."""
    made = await ensure_attempt_partitions(database, datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert made == ["attempts_2026_12", "attempts_2027_01"]
    await attempt(database, datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    await attempt(database, datetime(2027, 1, 1, tzinfo=UTC))
    assert await where(database) == ["attempts_2026_12", "attempts_2027_01"]


async def test_moves_what_the_default_partition_took_meanwhile(database: Database) -> None:
    """Rows that are already in the default partition do not stop a month's own partition, and move into it."""
    for days in (-40, -1, 0, 1, 20):
        await attempt(database, NOW + timedelta(days=days))
    async with database.connection() as connection:
        before = await connection.fetch("select id, started_at from attempts order by id")
        await ensure_attempt_partitions(database, NOW)
        after = await connection.fetch("select id, started_at from attempts order by id")
    assert after == before
    assert await where(database) == ["attempts_default", *["attempts_2026_11"] * 3, "attempts_2026_12"]
    await attempt(database, NOW)
    async with database.connection() as connection:
        assert await connection.fetchval("select count(distinct id) from attempts") == 6


async def test_processes_that_start_at_once_do_not_quarrel(database: Database) -> None:
    """Each partition is made by one of them, while attempts are being written."""
    writing = asyncio.gather(*(attempt(database, NOW) for _ in range(20)))
    made = await asyncio.gather(*(ensure_attempt_partitions(database, NOW) for _ in range(4)))
    await writing
    assert sorted(name for names in made for name in names) == ["attempts_2026_11", "attempts_2026_12"]
    assert await where(database) == ["attempts_2026_11"] * 20
