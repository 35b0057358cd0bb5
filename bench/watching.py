"""Watched addresses in any number, and a chain that is new again."""

from collections.abc import Sequence

from chainbell.storage.database import Database
from chainbell.telemetry.clock import now

CHAIN = "anvil"

_WATCH = """
insert into addresses (chain, address, account_id, watched_from, created_at)
select $1, w.address, a.id, 0, $3
from unnest($2::bytea[]) as w (address), accounts a where a.mode = 'test' and a.is_default
"""

_WATCH_OTHERS = """
insert into addresses (chain, address, account_id, watched_from, created_at)
select $1, substring(sha256(('other ' || n)::bytea) for 20), a.id, 0, $3
from generate_series(1, $2::integer) n, accounts a where a.mode = 'test' and a.is_default
"""

_FORGET = """
truncate blocks, coverage, transactions, outputs, inputs, mempool_sightings, fees, events, deliveries, attempts cascade
"""
# No truncation: it would reach the addresses, by way of the keys that they may be of.
_FORGET_CHAIN = "delete from chains"


async def watch_many(database: Database, count: int, recipients: Sequence[bytes]) -> None:
    """Watch the recipients, and as many others as it takes to make up the count."""
    async with database.connection() as connection:
        await connection.execute(_WATCH, CHAIN, list(recipients), now())
        await connection.execute(_WATCH_OTHERS, CHAIN, count - len(recipients), now(), timeout=900)
        await connection.execute("vacuum analyze addresses", timeout=900)


async def forget_the_chain(database: Database) -> None:
    """Take back all that following has written; the watched addresses stay."""
    async with database.connection() as connection:
        await connection.execute(_FORGET)
        await connection.execute(_FORGET_CHAIN)
        await connection.execute("update installation set feed_position = 0")
        await connection.execute("checkpoint")
