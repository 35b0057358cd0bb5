"""What tests ask of a chain's database, and check in it: events, records, cursor. Of any kind of chain."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import pytest

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import DatabaseError
from chainbell.storage.coverage import coverage_of
from chainbell.storage.database import Database
from chainbell.supervisor import Part

RETRACTIONS = {"pending", "processing", "dropped", "reverted"}


@dataclass(frozen=True, slots=True)
class Books:
    """One chain as its database has it."""

    database: Database
    definition: ChainDefinition
    url: str

    async def scanned(self) -> bool:
        """Tell whether every scan of the past is finished."""
        (row,) = await self.fetch("select count(*) as unfinished from scans where finished_at is null")
        return bool(row["unfinished"] == 0)

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        async with self.database.connection() as connection:
            return await connection.fetch(sql, *args)

    async def told(self) -> list[str]:
        """Types of all events in the order of the feed, without the common prefix."""
        rows = await self.fetch("select type from events order by position")
        return [row["type"].removeprefix("transaction.") for row in rows]

    async def events(self) -> list[tuple[str, str]]:
        rows = await self.fetch("select resource_id, type from events order by position")
        return [(row["resource_id"], row["type"]) for row in rows]

    async def records(self) -> list[Any]:
        return await self.fetch("select * from transactions order by uid")

    async def cursor(self) -> int:
        (row,) = await self.fetch("select coalesce(max(cursor_height), -1) as height from chains")
        return int(row["height"])

    async def fence(self) -> int:
        (row,) = await self.fetch("select fence from chains")
        return int(row["fence"])

    async def fees(self) -> int:
        (row,) = await self.fetch("select count(*) as fees from fees where block_hash is not null")
        return int(row["fees"])

    async def coverage(self) -> set[tuple[str, str, bool]]:
        """Capability, token, and whether it still grows; a growing range must reach the cursor."""
        known = (await coverage_of(self.database, [self.definition.name])).get(self.definition.name, ())
        found = [(one, part) for one in known for part in one.coverage.ranges]
        assert all(part.through_height == one.cursor for one, part in found if part.grows)
        return {(one.capability, f"0x{one.token.hex()}" if one.token else "", part.grows) for one, part in found}

    async def cut_connections(self) -> None:
        """End every other connection to this database, as an operator or a crash would."""
        own = await asyncpg.connect(self.url)
        await own.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await own.close()

    async def in_trouble(self) -> bool:
        (row,) = await self.fetch("select trouble from chains")
        return row["trouble"] is not None

    async def check_stories(self) -> None:
        """Check each record's events: no gap, `created` first, each success once until it is taken back."""
        rows = await self.fetch("select * from events order by position")
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        assert len({row["id"] for row in rows}) == len(rows)
        stories: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            stories[row["resource_id"]].append(row)
        statuses = {row["uid"]: row["status"] for row in await self.records()}
        assert set(stories) == set(statuses)
        for uid, story in stories.items():
            names = [row["type"].rpartition(".")[2] for row in story]
            assert [row["sequence"] for row in story] == list(range(1, len(story) + 1)), names
            assert names.index("created") == 0, names
            assert names.count("created") == 1, names
            assert orjson.loads(story[-1]["body_v2"])["data"]["status"] == statuses[uid], names
            _check_each_success_is_taken_back(names)


def _check_each_success_is_taken_back(names: Sequence[str]) -> None:
    standing = False
    for name in names:
        assert not (name == "success" and standing), names
        if name == "success":
            standing = True
        elif name in RETRACTIONS:
            standing = False


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    """Wait for a condition, and say what was waited for in vain."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(DatabaseError):  # a test may have cut the very connection that is asked
            if await condition():
                return
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain until {what}")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(*parts: Part) -> AsyncIterator[None]:
    """Run these parts meanwhile; whatever ended one of them fails the test."""
    tasks = [asyncio.ensure_future(part()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


async def started(home: Books) -> None:
    """Wait until the chain has a cursor."""

    async def has_cursor() -> bool:
        return await home.cursor() >= 0

    await until(has_cursor, "the chain has a cursor")
