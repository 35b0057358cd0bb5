"""Who excludes whom: commits on a chain and new watches, writers of the feed and new endpoints."""

import asyncio
from contextlib import suppress
from ipaddress import ip_network

from chainbell.domain.chain import Mode
from chainbell.events.publish import publish
from chainbell.storage.database import Connection, Database
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.feed import Feed
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.sealing import SecretBox
from chainbell.storage.watches import NewWatch, WatchStore, add_watch
from chainbell.telemetry.clock import now
from tests import builders
from tests.feed_builders import one_event, with_a_chain

LOCAL = [ip_network("127.0.0.0/8")]


async def _waits_for_a_lock(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))


async def _settled(database: Database, *tasks: "asyncio.Task[object]") -> None:
    """Wait until somebody waits for a lock, or everybody has ended: whichever the code under test does."""
    while not await _waits_for_a_lock(database) and not all(task.done() for task in tasks):
        await asyncio.sleep(0.005)


async def _publish(connection: Connection, number: int) -> None:
    await publish(Feed(connection), [await one_event(connection, number)])


async def test_whoever_numbers_events_waits_for_who_numbered_before(database_url: str) -> None:
    """A second writer gets its positions only when the first has committed: no reader sees a hole."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)

        async def second() -> None:
            async with database.transaction() as connection:
                await _publish(connection, 2)

        async with database.transaction() as first:
            await _publish(first, 1)
            task = asyncio.create_task(second())
            await _settled(database, task)
            assert not task.done()
            async with database.connection() as reader:
                assert await reader.fetch("select position from events") == []
        await task
        async with database.connection() as reader:
            rows = await reader.fetch("select position from events order by position")
        assert [row["position"] for row in rows] == [1, 2]


async def test_an_endpoint_created_beside_an_open_commit_gets_what_is_committed_after_it(database_url: str) -> None:
    """It waits for the commit under way; what is committed once `create` has returned is its."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        store = EndpointStore(database, SecretBox(bytes(32)), LOCAL)
        await store.create(NewEndpoint("http://127.0.0.1/other", Mode.TEST, events=["address.created"]), now())
        async with database.transaction() as connection:
            await _publish(connection, 1)
            creating = asyncio.create_task(store.create(NewEndpoint("http://127.0.0.1/hook", Mode.TEST), now()))
            await _settled(database, creating)
            assert not creating.done()
        with suppress(TimeoutError):
            await asyncio.wait_for(creating, 10)
        async with database.transaction() as connection:
            await _publish(connection, 2)
        async with database.connection() as reader:
            rows = await reader.fetch("select event_position from deliveries")
        assert [row["event_position"] for row in rows] == [2]


async def test_a_watch_waits_for_the_commit_under_way(database_url: str) -> None:
    """Its `watchedFrom` lies above every block that was matched without it."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        block = builders.block(1)
        async with LedgerStore(database, publish).begin("anvil") as commit:
            await commit.standing()
            wanted = NewWatch("anvil", builders.OURS)
            watching = asyncio.create_task(WatchStore(database).add(wanted, now()))
            await _settled(database, watching)
            assert not watching.done()
            await commit.append([block], now())
        assert (await watching).watched_from == block.ref.height + 1


async def test_a_commit_waits_for_a_watch_under_way(database_url: str) -> None:
    """What is registered is matched from the next commit on."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)

        async def commit() -> bool:
            async with LedgerStore(database, publish).begin("anvil") as commit:
                return builders.OURS in await commit.watches([builders.OURS])

        async with database.transaction() as connection:
            await add_watch(connection, NewWatch("anvil", builders.OURS), now())
            committing = asyncio.create_task(commit())
            await _settled(database, committing)
            assert not committing.done()
        assert await committing
