"""What a mempool shows of what we watch: sightings, replacements, and absence that lasted.

Nothing here moves what is in a block of our chain: the view was taken while its node's best block was our cursor.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockRef
from chainbell.domain.transaction import Chain, Transaction
from chainbell.domain.utxo import Lacking, MempoolView
from chainbell.tracker import matching
from chainbell.tracker.ancestors import look_up_ancestors
from chainbell.tracker.book import Book
from chainbell.tracker.inclusion import Known
from chainbell.tracker.look_up import covered_assets, known_of, movements_of, spending_of, transactions_of
from chainbell.tracker.observations import Outbid, Sighted, Vanished
from chainbell.tracker.ownership import look_up_ours
from chainbell.tracker.ports import ChainCommit, Fee, Spending
from chainbell.tracker.spending import Maturities, Ours, interpret
from chainbell.tracker.transitions import can_be_outbid

_NO_BLOCK = BlockRef(0, b"", b"")


async def observe_view(  # noqa: PLR0913 - what is seen, and what it is seen against
    commit: ChainCommit,
    view: MempoolView,
    chain: Chain,
    assets: Mapping[bytes, matching.AssetFacts],
    maturities: Maturities,
    book: Book,
    drop_after: timedelta,
    now: datetime,
) -> Sequence[Fee] | Lacking:
    """Apply a view to the records that it concerns, and return the fees that it shows; `Lacking` where more must be read."""
    ours = await look_up_ours(commit, view.arrived, now)
    if isinstance(ours, Lacking):
        return ours
    found = [one for one in (interpret(arrived, ours, maturities) for arrived in view.arrived) if one]
    tracked = {one.transaction.hash for one in found if one.inputs}
    ancestors = await look_up_ancestors(commit, tracked, view)
    if isinstance(ancestors, Lacking):
        return ancestors
    scanned = ScannedBlock(_NO_BLOCK, now, transactions_of(found), movements_of(found))
    covered = await covered_assets(commit, assets)
    known = await known_of(commit, ours, [scanned], chain, covered, now)
    book.load(known.records)
    generation = await commit.generation()
    sightings: dict[bytes, list[matching.Sighting]] = defaultdict(list)
    for sighting in matching.sightings(scanned, chain.caip2, known.watches):
        sightings[sighting.movement.transaction.hash].append(sighting)
    for transaction in scanned.transactions:
        _sight(transaction.hash, sightings[transaction.hash], ours, known, book, generation, now)
    await commit.save_spending([spending_of(found, None), Spending((), ancestors, None)])
    back = await _bring_back(commit, view, book, generation)
    if view.loaded:
        await _drop_absent(commit, view, book, generation, drop_after, now)
    await commit.note_shown(view.node, tracked | back)
    owed = matching.fees(scanned, chain.caip2, known.watches, known.unpaid, known.records, known.assets)
    return [replace(fee, block=None) for fee in owed.values()]


def _sight(  # noqa: PLR0913 - one transaction, and what is known of it
    tx_hash: bytes,
    sightings: Sequence[matching.Sighting],
    ours: Ours,
    known: Known,
    book: Book,
    generation: int,
    now: datetime,
) -> None:
    """Apply first sights and returns of one transaction, then what it leaves no place for: they name each other."""
    displaced = [record for record in _rivals(known, tx_hash, book) if can_be_outbid(record)]
    replaces = displaced[0].subject.tx_hash if displaced else None
    for record in ours.told.get(tx_hash, ()):
        book.apply(book.record(record.uid), Sighted(generation, replaces))
    for sighting in sightings:
        if book.has(sighting.uid) or sighting.movement.asset not in known.assets:
            continue
        key = matching.asset_key(sighting, known.assets)
        newborn = matching.newborn(sighting, known.chain, key, known.asset_ids[key], now)
        book.apply(newborn, Sighted(generation, replaces))
    for record in displaced:
        book.apply(book.record(record.uid), Outbid(tx_hash))


def _rivals(known: Known, tx_hash: bytes, book: Book) -> Sequence[Transaction]:
    return [book.record(uid) for uid in known.displaces.get(tx_hash, ())]


async def _bring_back(commit: ChainCommit, view: MempoolView, book: Book, generation: int) -> set[bytes]:
    """Show what the chain took back, and is in the mempool: it may have been mined and taken back between two looks."""
    back = {tx_hash for tx_hash in await commit.taken_back() if tx_hash in view.present}
    records = await commit.waiting(back)
    book.load(records)
    for record in records:
        book.apply(book.record(record.uid), Sighted(generation))
    return back


async def _drop_absent(  # noqa: PLR0913 - a view, and since when what is absent
    commit: ChainCommit, view: MempoolView, book: Book, generation: int, drop_after: timedelta, now: datetime
) -> None:
    """Drop what this very node once showed and has not shown for long enough."""
    shown = await commit.shown_by(view.node)
    returned = {tx_hash for tx_hash, since in shown.items() if since is not None and tx_hash in view.present}
    absent = {tx_hash: since for tx_hash, since in shown.items() if tx_hash not in view.present}
    await commit.note_absent(view.node, returned, None)
    await commit.note_absent(view.node, {tx_hash for tx_hash, since in absent.items() if since is None}, now)
    gone = {tx_hash for tx_hash, since in absent.items() if since is not None and since + drop_after <= now}
    if gone:
        records = await commit.waiting(gone)
        book.load(records)
        for record in records:
            book.apply(book.record(record.uid), Vanished(generation))
