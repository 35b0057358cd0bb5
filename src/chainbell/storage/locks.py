"""Transaction-scoped advisory locks: who excludes whom.

The order is: an ``Idempotency-Key`` row, one chain's lock, the feed lock, the row of a replay, the locks of lanes (these two
no commit of a chain takes). Each is taken by a statement of its own before what it protects is read, at READ COMMITTED, and
is never upgraded.
No transaction holds the locks of two chains. After the feed lock only events, endpoints, deliveries and the feed counter
are written.
"""

import zlib
from collections.abc import Iterable

from chainbell.storage.database import Connection

_CHAIN = 0x0C8A
_FEED = 0x0FEE
_MIGRATION = 0x0316
_LANE = 0x01A9
_PARTITION = 0x0A77

LANE_LOCKS = 128
"""Lanes share this many locks, so that a transaction that touches many of them needs no more."""


async def lock_chain(connection: Connection, chain: str) -> None:
    """Exclude every other change of this chain's transactions, cursor and watches until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _CHAIN, _signed_crc(chain))


async def lock_chain_shared(connection: Connection, chain: str) -> None:
    """Let nothing commit on this chain until the end of the transaction; others may register watches beside us."""
    await connection.execute("select pg_advisory_xact_lock_shared($1, $2)", _CHAIN, _signed_crc(chain))


async def lock_feed(connection: Connection) -> None:
    """Be the only one who numbers events, or changes who receives them, until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _FEED, 0)


async def lock_lanes(connection: Connection, lanes: Iterable[tuple[str, str]]) -> None:
    """Be the only one who changes what holds up what in these lanes (endpoint, resource) until the end of the transaction.

    After the feed lock, where both are taken; call it once per transaction. Who only adds deliveries at the end of a lane
    needs it not: a claim looks for an earlier one by itself.
    """
    shared = {zlib.crc32(f"{endpoint_id}/{resource_id}".encode()) % LANE_LOCKS for endpoint_id, resource_id in lanes}
    await connection.execute(
        "select pg_advisory_xact_lock($1, lane) from unnest($2::integer[]) as lane", _LANE, sorted(shared)
    )


async def lock_partitions(connection: Connection) -> None:
    """Be the only one who makes partitions until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _PARTITION, 0)


async def lock_migration(connection: Connection) -> None:
    """Be the only one who changes the schema until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _MIGRATION, 0)


def _signed_crc(name: str) -> int:
    """Return a name as the 32-bit signed integer that PostgreSQL takes; a collision only makes two chains wait in turn."""
    value = zlib.crc32(name.encode())
    return value - 2**32 if value >= 2**31 else value
