"""What newly appended blocks include: applied to the records in hand, block by block, in memory. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.block import ChainTransaction, ScannedBlock
from chainbell.domain.errors import NodeError
from chainbell.domain.transaction import BlockPoint, Chain, Conflict, Transaction
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView
from chainbell.tracker.observations import ConflictMined
from chainbell.tracker.ports import AssetKey, Fee


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows of some blocks, read under the chain's lock."""

    chain: Chain
    assets: Mapping[bytes, matching.AssetFacts]
    """What the chain's definition says of what is covered, by the asset's contract."""
    watches: Mapping[bytes, Watch]
    records: Sequence[Transaction]
    """Those told before of transactions in these blocks, and those whose nonce or inputs these blocks give to another."""
    unpaid: Collection[bytes]
    asset_ids: Mapping[AssetKey, str]
    """Of every asset that a first sight in these blocks needs."""
    displaces: Mapping[bytes, Sequence[str]]
    """By transaction in these blocks: the records, of other transactions, that it leaves no place for."""


class Inclusion:
    """Applies what blocks include to the records in hand. Pure."""

    def __init__(self, known: Known, view: ChainView, now: datetime) -> None:
        self._known = known
        self._caip2 = known.chain.caip2
        self._view = view
        self._now = now
        self._uids_by_hash: dict[bytes, list[str]] = defaultdict(list)
        for record in sorted(known.records, key=lambda record: record.uid):
            self._uids_by_hash[record.subject.tx_hash].append(record.uid)

    def of(self, blocks: Sequence[ScannedBlock], book: Book) -> list[Fee]:
        """Apply returns, first sights and conflicts of each block, and return the fees that watched senders paid."""
        book.load(self._known.records)
        fees: list[Fee] = []
        for block in blocks:
            known = self._known
            paid = matching.fees(block, self._caip2, known.watches, known.unpaid, known.records, known.assets)
            self._return(block, book, paid)
            self._first_sight(block, book, paid)
            self._mark_conflicts(block, book)
            fees.extend(paid.values())
        return fees

    def _return(self, block: ScannedBlock, book: Book, paid: Mapping[bytes, Fee]) -> None:
        """Include again what was told before: with its movement, or without where the transaction makes it no more."""
        movements = {
            side.uid(self._caip2, movement): movement
            for movement in block.movements
            if movement.transaction.hash in self._uids_by_hash
            for side in matching.sides(movement)
        }
        for on_chain in block.transactions:
            fee = paid.get(on_chain.hash)
            for uid in self._uids_by_hash.get(on_chain.hash, ()):
                record = book.record(uid)
                _refuse_a_second_inclusion(record, block)
                movement, replaces = movements.get(uid), self._replaced_by(on_chain, book)
                if movement is None:
                    seen = matching.absence(record, block, on_chain, fee, replaces, self._view)
                else:
                    seen = matching.inclusion(record, block, movement, fee, replaces, self._view)
                book.apply(record, seen)

    def _first_sight(self, block: ScannedBlock, book: Book, paid: Mapping[bytes, Fee]) -> None:
        for sighting in matching.sightings(block, self._caip2, self._known.watches):
            if book.has(sighting.uid) or sighting.movement.asset not in self._known.assets:
                continue
            key = matching.asset_key(sighting, self._known.assets)
            newborn = matching.newborn(sighting, self._known.chain, key, self._known.asset_ids[key], self._now)
            on_chain = sighting.movement.transaction
            fee, replaces = paid.get(on_chain.hash), self._replaced_by(on_chain, book)
            book.apply(newborn, matching.inclusion(newborn, block, sighting.movement, fee, replaces, self._view))

    def _mark_conflicts(self, block: ScannedBlock, book: Book) -> None:
        point = BlockPoint(block.ref.height, block.ref.hash)
        for on_chain in block.transactions:
            for record in self._displaced(on_chain, book):
                book.apply(record, ConflictMined(Conflict(on_chain.hash, point)))

    def _displaced(self, on_chain: ChainTransaction, book: Book) -> list[Transaction]:
        """Return the records that this transaction leaves no place for: in no block, and not settled for good."""
        others = [book.record(uid) for uid in self._known.displaces.get(on_chain.hash, ())]
        return [record for record in others if record.block is None and not record.final]

    def _replaced_by(self, on_chain: ChainTransaction, book: Book) -> bytes | None:
        displaced = self._displaced(on_chain, book)
        return displaced[0].subject.tx_hash if displaced else None


def _refuse_a_second_inclusion(record: Transaction, block: ScannedBlock) -> None:
    if record.block is not None:
        message = (
            f"block {block.ref.hash.hex()} includes transaction {record.subject.tx_hash.hex()}, which block "
            f"{record.block.hash.hex()} of the same chain includes already: the node contradicts itself"
        )
        raise NodeError(message)
