"""The one service that commits what happens on a chain: advance, retract or settle, each one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from chainbell.domain.block import Block, ScannedBlock
from chainbell.domain.chain import COIN, BlockRef, Capability, ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import UnderivedError
from chainbell.domain.following import Committed, Outcome, Stale
from chainbell.domain.history import ScanWindow
from chainbell.domain.transaction import BlockPoint, Transaction
from chainbell.domain.utxo import Lacking, MempoolView
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView, Policy
from chainbell.tracker.inclusion import Inclusion
from chainbell.tracker.look_back import Past, look_up_past, tell_past
from chainbell.tracker.look_up import EvmMatcher, Matcher, UtxoMatcher
from chainbell.tracker.mempool import observe_view
from chainbell.tracker.observations import Deepened, Orphaned
from chainbell.tracker.ports import ChainCommit, ChainStore, Fee, Standing
from chainbell.tracker.spending import Maturities

_ANOTHER_LEADS = Stale("another process follows this chain now")


class _LacksFactsError(Exception):
    """Rolls a commit back: more must be read before it can be told what happened."""

    def __init__(self, lacking: Lacking) -> None:
        super().__init__()
        self.lacking = lacking


class Tracker:
    """Commits of one chain. Each demands the follower's fence, and the cursor that it was prepared on."""

    def __init__(self, store: ChainStore, definition: ChainDefinition, policy: Policy) -> None:
        self._store = store
        self._maturities = Maturities(definition.coinbase_maturity or 0, definition.pegout_maturity or 0)
        self._matcher: Matcher = UtxoMatcher(self._maturities) if definition.kind is ChainKind.UTXO else EvmMatcher()
        self._reads_mempools = Capability.MEMPOOL in definition.capabilities
        self._drop_after = timedelta(seconds=definition.drop_after_seconds)
        self._name = definition.name
        self._policy = policy
        self._assets = {
            COIN: matching.AssetFacts(definition.native.symbol, definition.native.decimals),
            **{token.contract: matching.AssetFacts(token.symbol, token.decimals) for token in definition.tokens},
        }

    async def advance(
        self, fence: int, blocks: Sequence[Block], finalized: BlockRef | None, now: datetime
    ) -> Outcome | Lacking:
        """Append linked blocks to our chain with everything that they decide.

        The first block's parent must be the cursor. `Lacking`: nothing was written, and the same blocks are to be given
        again with what they lack. Raises `NodeError` when the blocks contradict our ledger.
        """
        return await self._told(partial(self._advance, fence, blocks, finalized, now))

    async def _told(self, commit: Callable[[], Awaitable[Outcome]]) -> Outcome | Lacking:
        """Commit, again where addresses of keys had to be derived first; `Lacking` where a node must tell more."""
        while True:
            try:
                return await commit()
            except _LacksFactsError as error:
                return error.lacking
            except UnderivedError as error:
                lacking = error
            await self._store.derive(lacking)

    async def _advance(self, fence: int, blocks: Sequence[Block], finalized: BlockRef | None, now: datetime) -> Outcome:
        async with self._store.begin(self._name) as commit:
            standing = await commit.standing()
            if stale := _staleness(standing, fence, blocks[0].ref.parent_hash):
                return stale
            found = await self._matcher.look_up(commit, blocks, standing.chain, self._assets, now)
            if isinstance(found, Lacking):
                raise _LacksFactsError(found)
            await commit.append(found.blocks, now)
            reached(Checkpoint.LEDGER_WRITTEN)
            view = await self._view(commit, standing, blocks[-1].ref, finalized)
            book = Book(self._policy, now)
            fees = Inclusion(found.known, view, now).of(found.blocks, book)
            await commit.save_spending(found.spending)
            events = await self._finish(commit, book, view, fees)
        reached(Checkpoint.ADVANCE_COMMITTED)
        return Committed(events)

    async def observe(self, fence: int, view: MempoolView, now: datetime) -> Outcome | Lacking:
        """Tell what a node's mempool shows: what arrived, what that replaces, and what is gone for long enough.

        The view must have been taken while its node's tip was our cursor. `Lacking` as for `advance`.
        """
        return await self._told(partial(self._observe, fence, view, now))

    async def _observe(self, fence: int, view: MempoolView, now: datetime) -> Outcome:
        async with self._store.begin(self._name) as commit:
            standing = await commit.standing()
            if stale := _staleness(standing, fence, view.tip):
                return stale
            book = Book(self._policy, now)
            fees = await observe_view(
                commit, view, standing.chain, self._assets, self._maturities, book, self._drop_after, now
            )
            if isinstance(fees, Lacking):
                raise _LacksFactsError(fees)
            await commit.save(book.changed())
            await commit.save_fees(fees)
            await commit.publish(book.events)
            reached(Checkpoint.MEMPOOL_WRITTEN)
        reached(Checkpoint.MEMPOOL_COMMITTED)
        return Committed(len(book.events))

    async def settle(self, fence: int, cursor: BlockRef, finalized: BlockRef | None, now: datetime) -> Outcome:
        """Promote what is deep enough, without new blocks: the cursor was just found on the node's best chain."""
        async with self._store.begin(self._name) as commit:
            standing = await commit.standing()
            if stale := _staleness(standing, fence, cursor.hash):
                return stale
            view = await self._view(commit, standing, cursor, finalized)
            return Committed(await self._finish(commit, Book(self._policy, now), view, []))

    async def retract(
        self, fence: int, cursor: BlockRef, ancestor: BlockRef, now: datetime, shown_by: str | None = None
    ) -> Outcome:
        """Move the cursor back to a common ancestor and tell every retraction: a reorg's own commit.

        `shown_by` is the node that knows the blocks that are taken back: it showed the transactions in them.
        """
        async with self._store.begin(self._name) as commit:
            standing = await commit.standing()
            if stale := _staleness(standing, fence, cursor.hash):
                return stale
            if await commit.ledger_hash(ancestor.height) != ancestor.hash:
                return Stale(f"block {ancestor.height} of our chain is not the one this was prepared on")
            await commit.retract(ancestor, now)
            reached(Checkpoint.RETRACTION_WRITTEN)
            book = Book(self._policy, now)
            for transaction in _newest_first(await commit.touched_above(ancestor.height)):
                book.apply(transaction, Orphaned(_standing_in(transaction).hash))
            await commit.save(book.changed())
            if shown_by is not None and self._reads_mempools:
                waiting = (record for record in book.records() if record.block is None and not record.final)
                await commit.note_shown(shown_by, {record.subject.tx_hash for record in waiting})
            await commit.publish(book.events)
            reached(Checkpoint.EVENTS_WRITTEN)
        reached(Checkpoint.RETRACTION_COMMITTED)
        return Committed(len(book.events))

    async def look_back(self, fence: int, window: ScanWindow, blocks: Sequence[Block], now: datetime) -> Outcome | Lacking:
        """Tell what scans find in blocks below the cursor, and move them on. The cursor stays where it is.

        The blocks are linked. The highest must be the one that all of these scans read next: that it is on our chain holds
        under the chain's lock, because a retraction moves them down. `Lacking` as for `advance`.
        """
        return await self._told(partial(self._look_back, fence, window, blocks, now))

    async def _look_back(self, fence: int, window: ScanWindow, blocks: Sequence[Block], now: datetime) -> Outcome:
        async with self._store.begin(self._name) as commit:
            standing = await commit.standing()
            if standing.fence != fence:
                return _ANOTHER_LEADS
            if not await commit.scan_down(window.scan_ids, blocks[-1].ref, blocks[0].ref, now):
                return Stale("the scan was moved on, or back by a reorg, since its blocks were read")
            read = await self._matcher.read_past(commit, blocks, now)
            if isinstance(read, Lacking):
                raise _LacksFactsError(read)
            await commit.save_spending(read.spending)
            past = await look_up_past(commit, window.scan_ids, read, standing.chain, self._assets, now)
            events = 0 if past is None else await self._tell_past(commit, past, read.blocks, standing, now)
            reached(Checkpoint.SCAN_WRITTEN)
        reached(Checkpoint.SCAN_COMMITTED)
        return Committed(events)

    async def _tell_past(
        self,
        commit: ChainCommit,
        past: Past,
        blocks: Sequence[ScannedBlock],
        standing: Standing,
        now: datetime,
    ) -> int:
        view, book = ChainView(standing.cursor.height, standing.finalized_height), Book(self._policy, now)
        fees = tell_past(past, blocks, view, book, now)
        for transaction in book.changed():
            book.apply(transaction, Deepened(view))
        await commit.save(book.changed())
        await commit.save_fees(fees)
        await commit.publish(book.events)
        return len(book.events)

    async def _view(
        self, commit: ChainCommit, standing: Standing, cursor: BlockRef, finalized: BlockRef | None
    ) -> ChainView:
        """Take a node's finalized block only where it is on our chain by hash, and never lower than before."""
        known = standing.finalized_height
        if finalized is None or (known is not None and finalized.height <= known) or finalized.height > cursor.height:
            return ChainView(cursor.height, known)
        if await commit.ledger_hash(finalized.height) != finalized.hash:
            return ChainView(cursor.height, known)
        await commit.set_finalized(finalized.height)
        return ChainView(cursor.height, finalized.height)

    async def _finish(self, commit: ChainCommit, book: Book, view: ChainView, fees: Sequence[Fee]) -> int:
        """Promote what is deep enough now, then write everything and end the commit."""
        through = view.cursor_height if self._policy.required_depth is not None else view.finalized_height
        if through is not None:
            book.load(await commit.unsettled(through))
        for transaction in book.records():
            book.apply(transaction, Deepened(view))
        await commit.save(book.changed())
        await commit.save_fees(fees)
        reached(Checkpoint.RECORDS_WRITTEN)
        await commit.publish(book.events)
        reached(Checkpoint.EVENTS_WRITTEN)
        return len(book.events)


def _standing_in(transaction: Transaction) -> BlockPoint:
    """Return the one block that decides a record: the one that includes it, or the one that includes its conflict."""
    block = transaction.block
    if block is None and transaction.conflict is not None:
        block = transaction.conflict.block
    if block is None:
        message = f"{transaction.uid} stands in no block"
        raise AssertionError(message)
    return block


def _newest_first(transactions: Sequence[Transaction]) -> list[Transaction]:
    return sorted(transactions, key=lambda transaction: (-_standing_in(transaction).height, transaction.uid))


def _staleness(standing: Standing, fence: int, prepared_on: bytes) -> Stale | None:
    if standing.fence != fence:
        return _ANOTHER_LEADS
    if standing.cursor.hash != prepared_on:
        return Stale(f"the cursor is at {standing.cursor.height} now, not where this was prepared")
    return None
