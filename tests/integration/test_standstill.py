"""A process that stands still in a transaction holds up nobody for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import APPLICATION, Connection, Database
from chainbell.storage.locks import lock_chain, lock_feed
from chainbell.storage.standstill import StoodStill, end_standing_still
from tests.house import until

NONE = timedelta()
LONG = timedelta(minutes=1)


@asynccontextmanager
async def standing_still(database: Database) -> AsyncIterator[Connection]:
    """Hold the feed lock in a transaction, and send nothing more."""
    async with database.dedicated() as connection:
        await connection.execute("begin")
        await lock_feed(connection)
        yield connection


async def _take_feed_lock(database: Database) -> None:
    async with database.transaction() as connection:
        await lock_feed(connection)


async def _ended(database: Database, patience: timedelta = NONE) -> list[StoodStill]:
    """Wait until somebody waits for a lock, then end what stands still."""

    async def somebody_waits() -> bool:
        async with database.connection() as connection:
            return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))

    await until(somebody_waits, "somebody waits")
    return await end_standing_still(database, patience)


async def test_who_stands_still_loses_the_lock_that_another_waits_for(database_url: str) -> None:
    """The other one goes on, and we learn whose session it was."""
    async with Database.open(database_url) as database, standing_still(database) as frozen:
        pid = frozen.get_server_pid()
        waiting = asyncio.create_task(_take_feed_lock(database))
        (ended,) = await _ended(database)
        await waiting
    assert ended.backend == pid
    assert ended.session.startswith(f"{APPLICATION} ")


async def test_who_stands_still_in_the_middle_of_a_statement_loses_it_too(database_url: str) -> None:
    """The server calls such a session active for ever, and no timeout of its own ends it."""
    async with Database.open(database_url) as database, standing_still(database) as frozen:
        await frozen.prepare("select 1")  # asks for no end of the statement: the server waits for the rest of it
        async with database.connection() as other:
            sql = "select state from pg_stat_activity where pid = $1"
            assert await other.fetchval(sql, frozen.get_server_pid()) == "active"
        waiting = asyncio.create_task(_take_feed_lock(database))
        assert len(await _ended(database)) == 1
        await waiting


async def test_who_holds_a_row_that_another_wants_loses_it_too(database_url: str) -> None:
    """A leader that froze with its cursor's row written must not keep another from the lease."""
    update = "update installation set feed_position = feed_position"
    async with Database.open(database_url) as database, database.dedicated() as frozen:
        await frozen.execute("begin")
        await frozen.execute(update)

        async def write() -> None:
            async with database.connection() as connection:
                await connection.execute(update)

        waiting = asyncio.create_task(write())
        assert len(await _ended(database)) == 1
        await waiting


async def test_patience_is_kept(database_url: str) -> None:
    """Who thinks for a moment is left alone."""
    async with Database.open(database_url) as database, standing_still(database) as thinking:
        waiting = asyncio.create_task(_take_feed_lock(database))
        assert await _ended(database, LONG) == []
        await thinking.execute("commit")
        await waiting


async def test_who_holds_up_nobody_is_left_alone(database_url: str) -> None:
    """Also where others wait for something else, and where it is busy."""
    async with Database.open(database_url) as database, standing_still(database) as quiet:
        async with database.dedicated() as holder, database.dedicated() as other:
            await holder.execute("begin")
            await lock_chain(holder, "anvil")
            busy = asyncio.create_task(holder.execute("select pg_sleep(30)"))
            waiting = asyncio.create_task(lock_chain(other, "anvil"))
            assert await _ended(database) == []
            busy.cancel()
            await asyncio.wait([busy])
            waiting.cancel()
            await asyncio.wait([waiting])
        await quiet.execute("commit")


async def test_sessions_of_others_are_left_alone(database_url: str) -> None:
    """An operator's psql is the operator's."""
    operator = await asyncpg.connect(database_url, server_settings={"application_name": "psql"})
    try:
        async with Database.open(database_url) as database:
            async with operator.transaction():
                await lock_feed(operator)
                waiting = asyncio.create_task(_take_feed_lock(database))
                assert await _ended(database) == []
            await waiting
    finally:
        await operator.close()


async def test_who_lost_its_transaction_is_told_in_words(database_url: str) -> None:
    """It is a database that does not answer: the same call is made again."""
    async with Database.open(database_url) as database:

        async def stand_still() -> None:
            async with database.transaction() as connection:
                await lock_feed(connection)
                waiting = asyncio.create_task(_take_feed_lock(database))
                assert len(await _ended(database)) == 1
                await waiting
                await connection.execute("select 1")

        with pytest.raises(DatabaseError):
            await stand_still()
