"""Chains as they stand: first start, the follower's lease, the kept ledger, what is covered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chainbell.domain.chain import BlockRef, ChainDefinition, Mode
from chainbell.domain.errors import ConfigurationError
from chainbell.domain.following import CoverageChange, HeldElsewhere, KeptLedger, Leased
from chainbell.domain.seeding import SeedingState
from chainbell.storage.coverage import switch
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.locks import lock_chain
from chainbell.storage.seeding import seeding_state

_FIRST_START = """
insert into chains (name, caip2, kind, wire_name, coin_decimals, mode, genesis_hash, cursor_height, cursor_hash,
                    cursor_parent_hash, reorg_limit, advanced_at,
                    address_hrp, address_p2pkh, address_p2sh, address_mweb_hrp)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
on conflict (name) do nothing returning name
"""

_FIRST_BLOCKS = "insert into blocks (chain, height, hash, parent_hash) values ($1, $2, $3, $4)"

_REDEFINE = """
update chains set wire_name = $2, coin_decimals = $3, reorg_limit = $4,
    address_hrp = $5, address_p2pkh = $6, address_p2sh = $7, address_mweb_hrp = $8
where name = $1
"""

_ACQUIRE = """
update chains set follower = $2, fence = fence + 1, lease_until = clock_timestamp() + $3
where name = $1 and (lease_until is null or lease_until < clock_timestamp() or follower = $2
    -- The server's clock was set back: nobody takes one that long.
    or lease_until > clock_timestamp() + greatest(2 * $3::interval, interval '1 minute'))
returning fence
"""

_RENEW = """
update chains set lease_until = clock_timestamp() + $3 where name = $1 and fence = $2 returning fence
"""

_RELEASE = "update chains set lease_until = null, follower = null where name = $1 and fence = $2"

_NOTE_TROUBLE = """
update chains set trouble = $2, halted = $4
where name = $1 and (trouble is distinct from $2 or halted <> $4)
    and (follower is null or follower = $3 or lease_until is null or lease_until < clock_timestamp())
"""

_FOLLOWED = "select name, coalesce(lease_until > clock_timestamp(), false) as followed from chains order by name"

_KEPT = """
select height, hash, parent_hash from blocks
where chain = $1 and orphaned_at is null and height >= $2 order by height
"""

_TRACKED = """
select distinct t.asset from transactions t join chains c on c.name = t.chain
where t.chain = $1 and t.asset <> ''
    and (not t.final or t.block_height is null or t.block_height > c.cursor_height - 2 * c.reorg_limit)
"""


MOST_STRANDED = 100


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """What the database knows of a chain, for `status`."""

    name: str
    mode: Mode
    cursor: BlockRef
    finalized_height: int | None
    advanced_at: datetime
    trouble: str | None
    """What keeps it from going on; None while nothing does."""
    follower: str | None
    """Who follows it now; None while nobody holds a lease that lives."""
    unsettled: int
    """Transactions that are told, but not final."""
    stranded: tuple[str, ...]
    """uids of what waits for a block for longer than the chain's ``drop_after``, oldest first: `MOST_STRANDED`."""
    seeding: SeedingState | None
    """Addresses whose outgoing movements are not covered yet; None where there are none."""


class ChainStates:
    """Reads and writes of chains outside of a block's commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def genesis(self, chain: str) -> bytes | None:
        """Return the genesis hash that was found at the first start; None before it."""
        async with self._database.connection() as connection:
            found: bytes | None = await connection.fetchval("select genesis_hash from chains where name = $1", chain)
            return found

    async def start(self, definition: ChainDefinition, genesis: bytes, first: KeptLedger, now: datetime) -> bool:
        """Give a chain its first cursor; everything above it will be scanned. False when it had one already.

        The blocks below the cursor are kept so that a reorg of the cursor's own block can be followed.
        """
        cursor = first.cursor
        async with self._database.transaction() as connection:
            await lock_chain(connection, definition.name)
            started = await connection.fetchval(
                _FIRST_START,
                definition.name,
                definition.caip2,
                definition.kind.value,
                definition.wire_name,
                definition.native.decimals,
                definition.mode.value,
                genesis,
                cursor.height,
                cursor.hash,
                cursor.parent_hash,
                definition.reorg_limit,
                now,
                *_address_columns(definition),
            )
            if started is None:
                return False
            rows = [(definition.name, ref.height, ref.hash, ref.parent_hash) for ref in first.refs]
            await connection.executemany(_FIRST_BLOCKS, rows)
            return True

    async def redefine(self, definition: ChainDefinition, fence: int) -> bool:
        """Take over what may change in a definition; False when somebody else follows the chain by now.

        Raises `ConfigurationError` for what may not change.
        """
        async with self._database.transaction() as connection:
            row = await _locked(connection, definition.name, fence)
            if row is None:
                return False
            _refuse_another_chain(row, definition)
            await connection.execute(
                _REDEFINE,
                definition.name,
                definition.wire_name,
                definition.native.decimals,
                definition.reorg_limit,
                *_address_columns(definition),
            )
            return True

    async def acquire(self, chain: str, follower: str, duration: timedelta) -> Leased | HeldElsewhere:
        """Become the one who follows a chain, with a new fence, unless somebody else's lease lives."""
        async with self._database.connection() as connection:
            fence = await connection.fetchval(_ACQUIRE, chain, follower, duration)
            if fence is not None:
                return Leased(fence)
            holder = await connection.fetchval("select follower from chains where name = $1", chain)
            return HeldElsewhere(holder or "nobody")

    async def renew(self, chain: str, fence: int, duration: timedelta) -> bool:
        """Keep a lease for longer. False when somebody else has taken it."""
        async with self._database.connection() as connection:
            return await connection.fetchval(_RENEW, chain, fence, duration) is not None

    async def release(self, chain: str, fence: int) -> None:
        """Give a lease back, so that nobody has to wait for its end."""
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, chain, fence)

    async def kept(self, definition: ChainDefinition) -> KeptLedger:
        """Return the kept part of our chain, up to the cursor."""
        async with self._database.connection() as connection:
            cursor = await connection.fetchval("select cursor_height from chains where name = $1", definition.name)
            rows = await connection.fetch(_KEPT, definition.name, cursor - 2 * definition.reorg_limit)
        return _linked([BlockRef(row["height"], row["hash"], row["parent_hash"]) for row in rows])

    async def tracked_tokens(self, chain: str) -> list[bytes]:
        """Return the contracts of which something is told that a block may still change: they are read to the end."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TRACKED, chain)
        return [row["asset"] for row in rows]

    async def cover(self, definition: ChainDefinition, fence: int, change: CoverageChange, now: datetime) -> bool:
        """Switch coverage on and off so that it says what is matched from the next block on.

        False, and nothing is written, when somebody else follows the chain by now.
        """
        async with self._database.transaction() as connection:
            row = await _locked(connection, definition.name, fence)
            if row is None:
                return False
            await switch(connection, definition, change, row["cursor_height"], now)
            return True

    async def note_trouble(self, chain: str, follower: str, trouble: str | None, *, halted: bool = False) -> None:
        """Record what keeps a chain from going on, and whether it needs an operator; None: nothing does.

        Nothing is written while somebody else follows it: what troubles one who waits for the lease, or who slept while
        another took it, is no trouble of the chain.
        """
        async with self._database.connection() as connection:
            await connection.execute(_NOTE_TROUBLE, chain, trouble, follower, halted)

    async def statuses(self, definitions: Sequence[ChainDefinition], now: datetime) -> list[ChainStatus]:
        """Return how the chains stand that were ever started."""
        async with self._database.connection() as connection:
            return await chain_statuses(connection, definitions, now)


_STATUS = """
select c.*,
    case when c.lease_until > clock_timestamp() then c.follower end as living_follower,
    (select count(*) from transactions t where t.chain = c.name and not t.final) as unsettled,
    array(select t.uid from transactions t
        where t.chain = c.name and not t.final and t.block_height is null and t.updated_at < $2
            and t.status in ('PENDING', 'PROCESSING', 'REVERTED')
        order by t.updated_at, t.uid limit $3) as stranded
from chains c where c.name = $1
"""


async def chain_statuses(connection: Connection, definitions: Sequence[ChainDefinition], now: datetime) -> list[ChainStatus]:
    """Return how those of these chains stand that were ever started."""
    found = [await _status(connection, definition, now) for definition in definitions]
    return [status for status in found if status is not None]


async def _status(connection: Connection, definition: ChainDefinition, now: datetime) -> ChainStatus | None:
    row = await connection.fetchrow(
        _STATUS, definition.name, now - timedelta(seconds=definition.drop_after_seconds), MOST_STRANDED
    )
    if row is None:
        return None
    return ChainStatus(
        name=row["name"],
        mode=Mode(row["mode"]),
        cursor=BlockRef(row["cursor_height"], row["cursor_hash"], row["cursor_parent_hash"]),
        finalized_height=row["finalized_height"],
        advanced_at=row["advanced_at"],
        trouble=row["trouble"],
        follower=row["living_follower"],
        unsettled=row["unsettled"],
        stranded=tuple(row["stranded"]),
        seeding=await seeding_state(connection, definition.name),
    )


async def followed_chains(connection: Connection) -> dict[str, bool]:
    """Return every chain that was ever started, and whether somebody follows it now."""
    return {row["name"]: row["followed"] for row in await connection.fetch(_FOLLOWED)}


async def _locked(connection: Connection, chain: str, fence: int) -> Record | None:
    """Lock a chain and return its row, unless somebody else follows it by now."""
    await lock_chain(connection, chain)
    return await connection.fetchrow("select * from chains where name = $1 and fence = $2", chain, fence)


def _address_columns(definition: ChainDefinition) -> tuple[str | None, int | None, list[int] | None, str | None]:
    table = definition.address_table
    return (None, None, None, None) if table is None else (table.hrp, table.p2pkh, list(table.p2sh), table.mweb_hrp)


def _refuse_another_chain(row: Record, definition: ChainDefinition) -> None:
    said = {"caip2": definition.caip2, "kind": definition.kind.value, "mode": definition.mode.value}
    for key, value in said.items():
        if row[key] != value:
            message = (
                f"{definition.name} was started with {key} = {row[key]!r}, and its definition says {value!r} now: "
                "put it back, or give the other chain another name"
            )
            raise ConfigurationError(message)


def _linked(refs: list[BlockRef]) -> KeptLedger:
    """Keep the newest refs that are linked without a hole: older ones may be single milestones."""
    oldest = len(refs) - 1
    while oldest > 0 and refs[oldest - 1].hash == refs[oldest].parent_hash:
        oldest -= 1
    return KeptLedger(tuple(refs[oldest:]))
