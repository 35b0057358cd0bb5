"""Watched scripts of the Bitcoin family in any number, and outputs of theirs, known since long."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.utxo import Prevout
from chainbell.storage.database import Database
from chainbell.telemetry.clock import now

_PATIENCE_SECONDS = 900

# In the order of their keys, so that filling a million takes seconds.
_WATCH = """
insert into addresses (chain, address, account_id, watched_from, created_at, outgoing_from)
select $1, w.address, a.id, 0, $3, 0
from unnest($2::bytea[]) as w (address), accounts a where a.mode = $4 and a.is_default order by w.address
"""

_OTHER = "'\\x0014'::bytea || substring(sha256(('other ' || n)::bytea) for 20)"
"""A witness program that nobody has the key of."""

_WATCH_OTHERS = f"""
insert into addresses (chain, address, account_id, watched_from, created_at, outgoing_from)
select $1, {_OTHER}, a.id, 0, $3, 0
from generate_series(1, $2::integer) n, accounts a where a.mode = $4 and a.is_default order by 2
"""  # noqa: S608 - made of a literal

_OWN = """
insert into outputs (chain, outpoint, script, amount, block_height)
select $1, o.outpoint, o.script, o.amount, 1
from unnest($2::bytea[], $3::bytea[], $4::bigint[]) as o (outpoint, script, amount)
"""

_OWN_OTHERS = f"""
insert into outputs (chain, outpoint, script, amount, block_height)
select $1, sha256(('payment ' || n)::bytea) || '\\x00000000'::bytea, {_OTHER}, 1000, 1
from generate_series(1, $2::integer) n order by 2
"""  # noqa: S608 - made of a literal


def script_of(number: int) -> bytes:
    """Return a script to watch: pay to a witness key hash that nobody has the key of."""
    return b"\x00\x14" + sha256(b"customer %d" % number).digest()[:20]


async def watch_scripts(database: Database, definition: ChainDefinition, count: int, scripts: Sequence[bytes]) -> None:
    """Watch these scripts, and as many others as it takes to make up the count; all since before the chain began."""
    chain, mode = definition.name, definition.mode.value
    async with database.connection() as connection:
        await connection.execute(_WATCH, chain, list(scripts), now(), mode)
        await connection.execute(_WATCH_OTHERS, chain, count - len(scripts), now(), mode, timeout=_PATIENCE_SECONDS)
        await connection.execute("vacuum analyze addresses", timeout=_PATIENCE_SECONDS)


async def own_outputs(database: Database, definition: ChainDefinition, count: int, outputs: Mapping[bytes, Prevout]) -> None:
    """Enter these outputs, by outpoint, and as many of the other scripts as it takes; the chain was started."""
    chain = definition.name
    scripts, amounts = [own.script for own in outputs.values()], [own.amount for own in outputs.values()]
    async with database.connection() as connection:
        await connection.execute(_OWN, chain, list(outputs), scripts, amounts)
        await connection.execute(_OWN_OTHERS, chain, count - len(outputs), timeout=_PATIENCE_SECONDS)
        for table in ("outputs", "inputs", "transactions"):
            await connection.execute(f"vacuum analyze {table}", timeout=_PATIENCE_SECONDS)
