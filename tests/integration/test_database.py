"""What we ask of PostgreSQL whatever its own defaults are, and what we say when it refuses."""

import asyncio
import re

import asyncpg
import pytest

from chainbell.config.chains import load_chains
from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import ConfigurationError, DatabaseError
from chainbell.domain.following import KeptLedger
from chainbell.events.publish import publish
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Connection, Database
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.locks import lock_migration
from chainbell.storage.migrate import migrate, migrations
from chainbell.storage.watches import NewWatch, add_watch
from chainbell.telemetry.clock import now
from tests.builders import OURS, block_hash
from tests.house import until

WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted"


async def set_default(url: str, setting: str, value: str) -> None:
    """Give the database a default of its own, for the connections to come."""
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set {setting} = '{value}'")
    await connection.close()


async def somebody_waits(connection: Connection) -> None:
    """Wait until somebody waits for an advisory lock."""

    async def waits() -> bool:
        return bool(await connection.fetchval(WAITING))

    await until(waits, "somebody waits for a lock")


async def test_a_watch_registered_before_a_commit_reads_is_never_missed(database_url: str) -> None:
    """With repeatable read as the database's default, a commit that waited for a lock sees what happened meanwhile."""
    await set_default(database_url, "default_transaction_isolation", "repeatable read")
    definition = load_chains()["anvil"]
    async with Database.open(database_url) as database:
        kept = KeptLedger((BlockRef(5, block_hash(5), block_hash(4)),))
        await ChainStates(database).start(definition, bytes(32), kept, now())

        async def watched() -> bool:
            async with LedgerStore(database, publish).begin(definition.name) as commit:
                return OURS in await commit.watches([OURS])

        async with database.transaction() as registering:
            await add_watch(registering, NewWatch(definition.name, OURS), now())
            committing = asyncio.create_task(watched())
            await somebody_waits(registering)
        assert await committing


async def test_every_transaction_is_read_committed(database_url: str) -> None:
    """Single statements and transactions, whatever the database's default is, and the session's."""
    await set_default(database_url, "default_transaction_isolation", "serializable")
    async with Database.open(database_url, size=1) as database:
        async with database.connection() as connection:
            assert await connection.fetchval("show transaction_isolation") == "read committed"
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        async with Database(pool, database_url).transaction() as connection:
            assert await connection.fetchval("show transaction_isolation") == "read committed"


async def test_two_migrations_at_once_under_repeatable_read(empty_database_url: str) -> None:
    """Who waited for the other's migration sees that nothing is left to do."""
    await set_default(empty_database_url, "default_transaction_isolation", "repeatable read")
    first, second = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    try:
        async with first.transaction(isolation="read_committed"):
            await lock_migration(first)
            waiting = asyncio.create_task(migrate(second))
            await somebody_waits(first)
            applied = await migrate(first)
        assert applied == [migration.name for migration in migrations()]
        assert await waiting == []
    finally:
        await first.close()
        await second.close()


async def test_a_frozen_process_holds_its_locks_for_half_a_minute_at_most(database_url: str) -> None:
    """The server gives up a transaction that stands still, and a peer that does not answer."""
    async with Database.open(database_url) as database, database.connection() as connection:
        assert await connection.fetchval("show idle_in_transaction_session_timeout") == "30s"
        # Over a socket file there are no keepalives; what was asked for is kept all the same.
        rows = await connection.fetch("select name, source from pg_settings where name like 'tcp_keepalives%'")
        assert {row["source"] for row in rows} == {"client"}


@pytest.mark.parametrize("rows", [0, 1])
async def test_a_transaction_that_stood_still_is_told_in_words(database_url: str, rows: int) -> None:
    """What comes after the server gave it up is a database that does not answer, not a fault of the program.

    It gives it up also after a statement for many rows that had none.
    """
    async with Database.open(database_url) as database, database.connection() as other:

        async def stand_still() -> None:
            async with database.transaction() as connection:
                await connection.execute("set local idle_in_transaction_session_timeout = '20ms'")
                pid = await connection.fetchval("select pg_backend_pid()")
                await connection.executemany("update chains set fence = $1", [(1,)] * rows)

                async def gone() -> bool:
                    return not await other.fetchval("select count(*) from pg_stat_activity where pid = $1", pid)

                await until(gone, "the server gave it up")
                await connection.execute("select 1")

        with pytest.raises(DatabaseError):
            await stand_still()
        async with database.transaction() as connection:
            assert await connection.fetchval("select 1") == 1


REFUSALS = {
    "25006": "read-only .* standby after a fail-over",
    "55P03": "waited too long for a lock",
    "40001": "rolled the transaction back",
    "40P01": "rolled the transaction back",
    "40000": "rolled the transaction back",
    "57014": "stopped a statement",
    "53100": "no space left",
    "25P03": "this process stood still",
    "57P01": "does not answer",
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_what_may_go_well_later_is_told_in_words(database_url: str, code: str) -> None:
    """Whatever the server refuses for now is an error that is tried again, and says what to look at."""
    raising = f"do $$ begin raise exception 'in its words' using errcode = '{code}'; end $$"
    async with Database.open(database_url) as database:
        with pytest.raises(DatabaseError, match=f"{REFUSALS[code]}.*") as caught:
            async with database.transaction() as connection:
                await connection.execute(raising)
        assert "in its words" in str(caught.value)


async def test_a_standby_is_told_in_words(database_url: str) -> None:
    """A database that takes no writes is named as what it may be."""
    await set_default(database_url, "default_transaction_read_only", "on")
    async with Database.open(database_url) as database:
        with pytest.raises(DatabaseError, match="standby"):
            async with database.transaction() as connection:
                await connection.execute("delete from chains")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:se/cret@host:5432/database",
        "postgresql://user:se#cret@host:5432/database",
        "postgresql://user:se?cret@host:5432/database",
        "postgresql://user:cret@host:cret/database",
        "postgresql://user:se[cret@host:5432/database",
        "mysql://user:secret@host/database",
        "secret",
    ],
)
async def test_a_malformed_url_is_told_without_a_piece_of_it(dsn: str) -> None:
    """The message says what to percent-encode, and neither it nor what is behind it shows a secret."""
    with pytest.raises(ConfigurationError, match=re.escape("percent-encode / ? # @ : in user and password")) as caught:
        async with Database.open(dsn):
            pass
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
