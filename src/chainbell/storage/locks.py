"""Transaction-scoped advisory locks: who excludes whom.

The order is: an ``Idempotency-Key`` row, one chain's lock, the feed lock. Each is taken by a statement of its own before
what it protects is read, at READ COMMITTED, and is never upgraded. No transaction holds the locks of two chains. After the
feed lock only events, endpoints, deliveries and the feed counter are written.
"""

import zlib

from chainbell.storage.database import Connection

_CHAIN = 0x0C8A
_FEED = 0x0FEE
_MIGRATION = 0x0316


async def lock_chain(connection: Connection, chain: str) -> None:
    """Exclude every other change of this chain's transactions, cursor and watches until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _CHAIN, _signed_crc(chain))


async def lock_chain_shared(connection: Connection, chain: str) -> None:
    """Let nothing commit on this chain until the end of the transaction; others may register watches beside us."""
    await connection.execute("select pg_advisory_xact_lock_shared($1, $2)", _CHAIN, _signed_crc(chain))


async def lock_feed(connection: Connection) -> None:
    """Be the only one who numbers events, or changes who receives them, until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _FEED, 0)


async def lock_migration(connection: Connection) -> None:
    """Be the only one who changes the schema until the end of the transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, $2)", _MIGRATION, 0)


def _signed_crc(name: str) -> int:
    """Return a name as the 32-bit signed integer that PostgreSQL takes; a collision only makes two chains wait in turn."""
    value = zlib.crc32(name.encode())
    return value - 2**32 if value >= 2**31 else value
