"""One open commit on a chain: the tracker's port, in SQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeAlias

from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockRef
from chainbell.domain.delivery import FeedEvent
from chainbell.domain.errors import NotFoundError, UnderivedError
from chainbell.domain.history import ScannedWatch
from chainbell.domain.transaction import Origin, Transaction, TransactionEvent
from chainbell.domain.utxo import Prevout
from chainbell.domain.watch import Watch
from chainbell.storage import spending
from chainbell.storage.chunks import chunks
from chainbell.storage.coverage import GROWING, fall_back
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.deriving import derive_lacking
from chainbell.storage.feed import Feed
from chainbell.storage.key_windows import extend_windows
from chainbell.storage.locks import lock_chain
from chainbell.storage.scans import read_down_to, retract_scans, scanned_among, stand_at
from chainbell.storage.seeding import forget_seeds
from chainbell.storage.tally import Tally
from chainbell.storage.transactions import SELECT, save_transactions, to_chain, to_transaction
from chainbell.storage.watches import watches_among
from chainbell.tracker.ports import AssetKey, Fee, KnownSpends, Spending, Standing

Publish: TypeAlias = Callable[[Feed, Sequence[TransactionEvent]], Awaitable[Sequence[FeedEvent]]]

_BY_HASH = f"{SELECT} join unnest($2::bytea[]) as wanted (tx_hash) using (tx_hash) where t.chain = $1"

_IN_NO_BLOCK = f"""
{SELECT} join unnest($2::bytea[], $3::numeric[]) as used (sender, nonce)
    on t.origin_sender = used.sender and t.origin_nonce = used.nonce
where t.chain = $1 and t.block_height is null
"""

_WAITING = f"{_BY_HASH} and t.block_height is null"

_TAKEN_BACK = """
select distinct tx_hash from transactions where chain = $1 and block_height is null and status = 'REVERTED' and not final
"""

_TOUCHED_ABOVE = f"{SELECT} where t.chain = $1 and (t.block_height > $2 or t.conflict_height > $2)"

_COVERED = f"select token from ({GROWING}) growing where capability in ('coin', 'token')"  # noqa: S608 - constants

_UNSETTLED = f"""
{SELECT} where t.chain = $1 and not t.final and (t.block_height <= $2 or t.conflict_height <= $2)
"""

_UNPAID = """
select f.tx_hash, f.payer from unnest($2::bytea[]) as wanted (tx_hash) join fees f using (tx_hash)
where f.chain = $1 and f.block_hash is null
"""

_COUNTED = """
select f.tx_hash, f.counted_in from unnest($2::bytea[]) as wanted (tx_hash) join fees f using (tx_hash) where f.chain = $1
"""

_PAY = """
insert into fees (chain, tx_hash, payer, account_id, amount, block_height, block_hash, counted_in)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (chain, tx_hash) do update set amount = excluded.amount, block_height = excluded.block_height,
    block_hash = excluded.block_hash, counted_in = excluded.counted_in
"""

# What a block has already is not taken out of it by a node that shows it in its mempool still.
_OWE = """
insert into fees (chain, tx_hash, payer, account_id, amount, counted_in) values ($1, $2, $3, $4, $5, $6)
on conflict (chain, tx_hash) do nothing
"""

_PAY_AGAIN = """
update fees set amount = $3, block_height = $4, block_hash = $5, counted_in = $6 where chain = $1 and tx_hash = $2
"""

_NEW_ASSET = """
insert into assets (account_id, chain, contract, symbol, decimals, created_at) values ($1, $2, $3, $4, $5, $6)
on conflict (account_id, chain, contract) do nothing
"""

_ASSET_IDS = """
select a.id, a.account_id, a.contract from assets a
join unnest($2::uuid[], $3::bytea[]) as wanted (account_id, contract) using (account_id, contract) where a.chain = $1
"""

_APPEND = """
insert into blocks (chain, height, hash, parent_hash, mined_at) values ($1, $2, $3, $4, $5)
on conflict (chain, hash) do update set orphaned_at = null
"""

# Not least(), which passes over null: while nothing is final, the cursor would be.
_MOVE_CURSOR = """
update chains set cursor_height = $2, cursor_hash = $3, cursor_parent_hash = $4, advanced_at = $5,
    finalized_height = case when finalized_height > $2 then $2 else finalized_height end
where name = $1
"""

_PRUNE = """
delete from blocks where chain = $1 and orphaned_at is null and height >= $2 and height < $3 and height % $4 <> 0
"""

_ORPHAN = "update blocks set orphaned_at = $3 where chain = $1 and height > $2 and orphaned_at is null"


class LedgerCommit:
    """Reads and writes of one chain inside one transaction, under its exclusive lock."""

    def __init__(self, connection: Connection, chain: str, publish: Publish) -> None:
        self._connection = connection
        self._chain = chain
        self._publish = publish
        self.tally = Tally(chain)

    @property
    def connection(self) -> Connection:
        """The open transaction, for what storage itself writes in it."""
        return self._connection

    async def standing(self) -> Standing:
        """Read where the chain stands. Raises `NotFoundError` before its first start."""
        row = await self._connection.fetchrow("select c.*, c.name as chain from chains c where name = $1", self._chain)
        if row is None:
            message = f"{self._chain} was never started: no node of it was reached yet"
            raise NotFoundError(message)
        cursor = BlockRef(row["cursor_height"], row["cursor_hash"], row["cursor_parent_hash"])
        self._reorg_limit: int = row["reorg_limit"]
        self._cursor_height = cursor.height
        return Standing(to_chain(row), cursor, row["finalized_height"], row["fence"])

    async def ledger_hash(self, height: int) -> bytes | None:
        """Return the hash of our chain's block at a height; None outside of the kept ledger."""
        found: bytes | None = await self._connection.fetchval(
            "select hash from blocks where chain = $1 and height = $2 and orphaned_at is null", self._chain, height
        )
        return found

    async def watches(self, addresses: Collection[bytes]) -> Mapping[bytes, Watch]:
        """Look up which of these addresses are watched."""
        return await watches_among(self._connection, self._chain, addresses)

    async def covered(self) -> Collection[bytes]:
        """Return the assets that are matched from the next block on: tokens' contracts, and ``COIN``."""
        return {row["token"] for row in await self._connection.fetch(_COVERED, self._chain)}

    async def by_hash(self, tx_hashes: Collection[bytes]) -> Sequence[Transaction]:
        """Return every record of these transactions on chain."""
        return [to_transaction(row) for part in chunks(tx_hashes) for row in await self._fetch(_BY_HASH, part)]

    async def unpaid_fees(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return, of those of these transactions that have a fee entry and no block, who owes it."""
        rows = [row for part in chunks(tx_hashes) for row in await self._fetch(_UNPAID, part)]
        return {row["tx_hash"]: row["payer"] for row in rows}

    async def fees_counted(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, str | None]:
        """Return the fee entries of these transactions that are there, each with the record that it is counted in."""
        rows = [row for part in chunks(tx_hashes) for row in await self._fetch(_COUNTED, part)]
        return {row["tx_hash"]: row["counted_in"] for row in rows}

    async def in_no_block(self, origins: Collection[Origin]) -> Sequence[Transaction]:
        """Return the records in no block whose sender and nonce are among these."""
        found = []
        for part in chunks(origins):
            senders, nonces = [origin.sender for origin in part], [origin.nonce for origin in part]
            found += [to_transaction(row) for row in await self._fetch(_IN_NO_BLOCK, senders, nonces)]
        return found

    async def waiting(self, tx_hashes: Collection[bytes]) -> Sequence[Transaction]:
        """Return the records in no block of these transactions."""
        return [to_transaction(row) for part in chunks(tx_hashes) for row in await self._fetch(_WAITING, part)]

    async def has_unseeded(self) -> bool:
        """Tell whether some watched address may own outputs that we do not know of, because they are older."""
        return await spending.has_unseeded(self._connection, self._chain)

    async def known_spends(self, outpoints: Collection[bytes]) -> KnownSpends:
        """Look up what we know of what spends these outpoints."""
        return await spending.known_spends(self._connection, self._chain, outpoints)

    async def spent_by(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, Prevout]:
        """Return, by outpoint, what these tracked transactions spend, as far as it was known when they were told."""
        return await spending.spent_by(self._connection, self._chain, tx_hashes)

    async def children(self, tx_hashes: Collection[bytes]) -> Collection[bytes]:
        """Return the tracked transactions in no block that spend an output of these."""
        return await spending.children_of(self._connection, self._chain, tx_hashes)

    async def claimed_by(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, Collection[bytes]]:
        """Return the outpoints that these transactions spend, of those whose inputs the ledger has."""
        return await spending.claimed_by(self._connection, self._chain, tx_hashes)

    async def taken_back(self) -> Collection[bytes]:
        """Return the transactions that a reorg took back after their success, and that no block has again."""
        return [row["tx_hash"] for row in await self._fetch(_TAKEN_BACK)]

    async def extend_windows(self, hits: Collection[Watch], now: datetime) -> bool:
        """Watch further addresses of the keys whose addresses were hit; False when nothing is new. Raises as `widen`."""
        return await extend_windows(self._connection, hits, now)

    async def save_spending(self, entries: Sequence[Spending]) -> None:
        """Write what transactions of the Bitcoin family spend and make, new or included again."""
        await spending.save_spending(self._connection, self._chain, entries)

    async def generation(self) -> int:
        """Return how often this database was restored from a backup."""
        return int(await self._connection.fetchval("select generation from installation"))

    async def note_shown(self, node: str, tx_hashes: Collection[bytes]) -> None:
        """Record that a node showed these transactions, and shows them now."""
        await spending.note_shown(self._connection, self._chain, node, tx_hashes)

    async def shown_by(self, node: str) -> Mapping[bytes, datetime | None]:
        """Return the tracked transactions in no block that a node once showed, each with since when it does not."""
        return await spending.shown_by(self._connection, self._chain, node)

    async def note_absent(self, node: str, tx_hashes: Collection[bytes], since: datetime | None) -> None:
        """Record since when a node does not show these transactions."""
        await spending.note_absent(self._connection, self._chain, node, tx_hashes, since)

    async def touched_above(self, height: int) -> Sequence[Transaction]:
        """Return the records that a block above a height includes, or whose conflict one includes."""
        rows = await self._connection.fetch(_TOUCHED_ABOVE, self._chain, height)
        return [to_transaction(row) for row in rows]

    async def unsettled(self, through_height: int) -> Sequence[Transaction]:
        """Return the records not final whose block, or whose conflict's block, is at or below a height."""
        rows = await self._connection.fetch(_UNSETTLED, self._chain, through_height)
        return [to_transaction(row) for row in rows]

    async def asset_ids(self, keys: Collection[AssetKey], now: datetime) -> Mapping[AssetKey, str]:
        """Return the ids of assets, creating those that are missing."""
        ordered = sorted(keys, key=lambda key: (key.account_id, key.contract))
        rows = [(key.account_id, self._chain, key.contract, key.symbol, key.decimals, now) for key in ordered]
        await self._connection.executemany(_NEW_ASSET, rows)
        found = await self._connection.fetch(
            _ASSET_IDS, self._chain, [key.account_id for key in ordered], [key.contract for key in ordered]
        )
        ids = {(str(row["account_id"]), row["contract"]): str(row["id"]) for row in found}
        return {key: ids[key.account_id, key.contract] for key in ordered}

    async def save(self, records: Sequence[Transaction]) -> None:
        """Write records, new or changed."""
        await save_transactions(self._connection, records)

    async def save_fees(self, fees: Sequence[Fee]) -> None:
        """Write fee entries: new ones of watched senders, and known ones that a block includes."""
        ordered = sorted(fees, key=lambda fee: fee.tx_hash)
        owed = [
            (self._chain, f.tx_hash, f.payer, f.account_id, f.amount, f.counted_in)
            for f in ordered
            if f.block is None and f.account_id is not None
        ]
        new = [
            (self._chain, f.tx_hash, f.payer, f.account_id, f.amount, f.block.height, f.block.hash, f.counted_in)
            for f in ordered
            if f.block is not None and f.account_id is not None
        ]
        again = [
            (self._chain, f.tx_hash, f.amount, f.block.height, f.block.hash, f.counted_in)
            for f in ordered
            if f.block is not None and f.account_id is None
        ]
        await self._connection.executemany(_OWE, owed)
        await self._connection.executemany(_PAY, new)
        await self._connection.executemany(_PAY_AGAIN, again)

    async def append(self, blocks: Sequence[ScannedBlock], now: datetime) -> None:
        """Append linked blocks, move the cursor to the last, and with it what is covered, and forget what is too old."""
        self.tally.kind, self.tally.blocks = "advance", len(blocks)
        self.tally.movements = sum(len(block.movements) for block in blocks)
        refs = [(self._chain, b.ref.height, b.ref.hash, b.ref.parent_hash, b.timestamp) for b in blocks]
        await self._connection.executemany(_APPEND, refs)
        await self._move_cursor(blocks[-1].ref, now)
        oldest_before = blocks[0].ref.height - 1 - 2 * self._reorg_limit
        oldest_kept = blocks[-1].ref.height - 2 * self._reorg_limit
        await self._connection.execute(_PRUNE, self._chain, oldest_before - 1, oldest_kept, self._reorg_limit)

    async def retract(self, ancestor: BlockRef, now: datetime) -> None:
        """Orphan the blocks above an ancestor, and move the cursor back to it."""
        self.tally.kind, self.tally.reorg_depth = "retract", self._cursor_height - ancestor.height
        await self._connection.execute(_ORPHAN, self._chain, ancestor.height, now)
        await self._move_cursor(ancestor, now)
        await fall_back(self._connection, self._chain, ancestor.height)
        await spending.orphan_spending(self._connection, self._chain, ancestor.height)
        await forget_seeds(self._connection, self._chain, ancestor.height)
        await retract_scans(self._connection, self._chain, ancestor.height, ancestor.hash, now)
        await self._connection.execute(
            "update fees set block_height = null, block_hash = null where chain = $1 and block_height > $2",
            self._chain,
            ancestor.height,
        )

    async def scan_down(self, scan_ids: Collection[str], highest: BlockRef, lowest: BlockRef, now: datetime) -> bool:
        """Move scans from a block that they all read next to below another; False when they do not stand there."""
        if not await stand_at(self._connection, scan_ids, highest.height, highest.hash):
            return False
        self.tally.kind, self.tally.blocks = "scan", highest.height - lowest.height + 1
        await read_down_to(self._connection, scan_ids, lowest.height - 1, lowest.parent_hash, now)
        return True

    async def scanned(self, scan_ids: Collection[str], addresses: Collection[bytes]) -> Mapping[bytes, ScannedWatch]:
        """Look up which of these addresses these scans look for."""
        return await scanned_among(self._connection, self._chain, scan_ids, addresses)

    async def set_finalized(self, height: int) -> None:
        """Record the highest finalized block of our chain."""
        await self._connection.execute("update chains set finalized_height = $2 where name = $1", self._chain, height)

    async def publish(self, events: Sequence[TransactionEvent]) -> None:
        """Number, render and fan out events. The last step before the commit."""
        self.tally.add(events, await self._publish(Feed(self._connection), events))

    async def _fetch(self, sql: str, *args: object) -> list[Record]:
        return await self._connection.fetch(sql, self._chain, *args)

    async def _move_cursor(self, to: BlockRef, now: datetime) -> None:
        await self._connection.execute(_MOVE_CURSOR, self._chain, to.height, to.hash, to.parent_hash, now)


class LedgerStore:
    """Opens commits on chains."""

    def __init__(self, database: Database, publish: Publish) -> None:
        self._database = database
        self._publish = publish

    @asynccontextmanager
    async def begin(self, chain: str) -> AsyncIterator[LedgerCommit]:
        """Open a transaction under the chain's exclusive lock; committed at the end, rolled back on any error."""
        async with self._database.transaction() as connection:
            await lock_chain(connection, chain)
            commit = LedgerCommit(connection, chain, self._publish)
            yield commit
        commit.tally.committed()

    async def derive(self, lacking: UnderivedError) -> None:
        """Derive addresses that a commit lacked, while none is open."""
        await derive_lacking(self._database, lacking)
