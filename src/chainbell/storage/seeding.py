"""Outputs older than a watch: which addresses wait for theirs, and the commits that enter them, under the chain's lock."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from chainbell.domain.chain import BlockRef
from chainbell.domain.seeding import Seeding, SeedingState, Unseeded
from chainbell.domain.utxo import Unspent
from chainbell.storage.chunks import chunks
from chainbell.storage.database import Connection, Database
from chainbell.storage.deriving import with_derived
from chainbell.storage.key_windows import extend_windows
from chainbell.storage.locks import lock_chain
from chainbell.storage.watches import watches_among

_WAITING = """
select id, address, watched_from from addresses
where chain = $1 and outgoing_from is null and removed_at is null and seeded_height is null
    and id <> all($3::uuid[])
order by created_at, id limit $2
"""

_STANDING = """
select c.fence, c.cursor_height,
    (select b.hash from blocks b where b.chain = c.name and b.height = $2 and b.orphaned_at is null) as hash
from chains c where c.name = $1
"""

_ENTER = """
insert into outputs (chain, outpoint, script, amount, block_height)
select $1, o.outpoint, o.script, o.amount, o.height
from unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[]) as o (outpoint, script, amount, height)
on conflict (chain, outpoint) do update set block_height = excluded.block_height, gone_at = null
"""

# What the set has not was spent by then: by what we saw, or else by what we did not.
_GONE = """
update outputs o set gone_at = $3 from unnest($2::bytea[]) as seeded (script)
where o.chain = $1 and o.script = seeded.script and o.block_height <= $3 and o.gone_at is null
    and not exists (select from unnest($4::bytea[]) as unspent (outpoint) where unspent.outpoint = o.outpoint)
    and not exists (
        select from inputs i where i.chain = o.chain and i.outpoint = o.outpoint and i.block_height is not null
    )
"""

_SEEDED = """
update addresses set seeded_height = $2::bigint, outgoing_from = case when $3 then $2::bigint + 1 end
where id = any($1::uuid[]) and removed_at is null and outgoing_from is null and seeded_height is null
returning id
"""

_READ_AGAIN = """
insert into scans (chain, from_height, through_height, next_height, next_hash, notify, seeding, created_at, advanced_at)
select name, $2, cursor_height, cursor_height, cursor_hash, true, true, $3, $3 from chains where name = $1
returning id
"""

_MEMBERS = "insert into scan_addresses (scan_id, address_id) select $1, unnest($2::uuid[])"

_UNSEED = """
update addresses set seeded_height = null, outgoing_from = null where chain = $1 and seeded_height > $2
"""

_NOT_GONE = "update outputs set gone_at = null where chain = $1 and gone_at > $2"

_TROUBLE = "update chains set seeding_trouble = $2 where name = $1 and seeding_trouble is distinct from $2"

_STATE = """
select (
    select count(*) from addresses a where a.chain = c.name and a.outgoing_from is null and a.removed_at is null
) as addresses, coalesce(c.seeding_trouble, (
    select s.trouble from scans s
    where s.chain = c.name and s.seeding and s.finished_at is null and s.trouble is not null limit 1
)) as trouble
from chains c where c.name = $1
"""


class SeedStore:
    """Enters outputs that are older than a watch, outside of the commits of blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, chain: str, most: int, passed: Collection[str] = ()) -> Sequence[Unseeded]:
        """Return addresses whose older outputs are not known, without those `passed` over; the first registered first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_WAITING, chain, most, list(passed))
        return [Unseeded(str(row["id"]), row["address"], row["watched_from"]) for row in rows]

    async def enter(  # noqa: PLR0913 - whose outputs, as of which block, and who says so
        self,
        chain: str,
        fence: int,
        addresses: Collection[Unseeded],
        at: BlockRef,
        unspents: Collection[Unspent],
        now: datetime,
    ) -> Seeding:
        """Enter every output of these addresses that was unspent at a block, where that block is on our chain.

        What was committed above it is read again for them by a scan. An address that is not watched any more is left out.
        """
        work = partial(self._entered, chain, fence, addresses, at, unspents, now)
        return await with_derived(self._database, work)

    async def _entered(  # noqa: PLR0913 - as `enter`
        self,
        chain: str,
        fence: int,
        addresses: Collection[Unseeded],
        at: BlockRef,
        unspents: Collection[Unspent],
        now: datetime,
    ) -> Seeding:
        async with self._database.transaction() as connection:
            await lock_chain(connection, chain)
            row = await connection.fetchrow(_STANDING, chain, at.height)
            if row is None or row["fence"] != fence:
                return Seeding.ANOTHER_LEADS
            if row["cursor_height"] < at.height:
                return Seeding.EARLY
            if row["hash"] != at.hash:
                return Seeding.FOREIGN
            await _enter(connection, chain, [address.script for address in addresses], at.height, unspents)
            # What is unspent was used: an extended key's window reaches on from there, and what is new waits in its turn.
            holders = await watches_among(connection, chain, {unspent.script for unspent in unspents})
            await extend_windows(connection, holders.values(), now)
            ids = sorted(address.id for address in addresses)
            is_cursor = row["cursor_height"] == at.height
            seeded = [row["id"] for row in await connection.fetch(_SEEDED, ids, at.height, is_cursor)]
            if seeded and not is_cursor:
                scan_id = await connection.fetchval(_READ_AGAIN, chain, at.height + 1, now)
                await connection.execute(_MEMBERS, scan_id, seeded)
        return Seeding.ENTERED

    async def note_trouble(self, chain: str, trouble: str | None) -> None:
        """Record what keeps older outputs from being read; None: nothing does."""
        async with self._database.connection() as connection:
            await connection.execute(_TROUBLE, chain, trouble)


async def seeding_state(connection: Connection, chain: str) -> SeedingState | None:
    """Return what of a chain is not seeded; None where everything is."""
    row = await connection.fetchrow(_STATE, chain)
    return None if row is None or not row["addresses"] else SeedingState(row["addresses"], row["trouble"])


async def forget_seeds(connection: Connection, chain: str, ancestor_height: int) -> None:
    """Take back what was entered as of blocks above an ancestor: what was spent there may be unspent again."""
    await connection.execute(_UNSEED, chain, ancestor_height)
    await connection.execute(_NOT_GONE, chain, ancestor_height)


async def _enter(
    connection: Connection, chain: str, scripts: Sequence[bytes], height: int, unspents: Collection[Unspent]
) -> None:
    ordered = sorted(unspents, key=lambda unspent: unspent.outpoint)
    for part in chunks(ordered):
        await connection.execute(
            _ENTER,
            chain,
            [unspent.outpoint for unspent in part],
            [unspent.script for unspent in part],
            [unspent.amount for unspent in part],
            [unspent.height for unspent in part],
        )
    await connection.execute(_GONE, chain, scripts, height, [unspent.outpoint for unspent in ordered])
