"""What a scan of the past finds: blocks below the cursor, matched against the addresses of that scan alone.

Every block that it reads is on our chain, and what the follower knows of our chain is told already: so a scan only adds what
nobody has told, and leaves every record that is there as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chainbell.domain.block import ScannedBlock
from chainbell.domain.history import ScannedWatch
from chainbell.domain.transaction import Chain, Transaction, TransactionType
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView
from chainbell.tracker.look_up import Moved
from chainbell.tracker.ports import AssetKey, ChainCommit, Fee


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a scan looks for, seen in a block of the past."""

    height: int
    sighting: matching.Sighting
    scanned: ScannedWatch
    """The watch that is looked for. A transfer bears one script of those that its account spends: another may be meant."""


@dataclass(frozen=True, slots=True)
class Past:
    """What the database knows of some blocks of the past, read under the chain's lock."""

    chain: Chain
    assets: Mapping[bytes, matching.AssetFacts]
    watches: Mapping[bytes, Watch]
    """By address: those that are looked for, and those that bear a transfer of theirs."""
    found: Mapping[bytes, Sequence[Found]]
    """What is looked for, by the hash of its block."""
    paid: Collection[bytes]
    """The transactions whose fee is looked for."""
    told: Sequence[Transaction]
    """Records of the transactions that these watches sent, received or paid for: they stay as they are."""
    counted: Mapping[bytes, str | None]
    """Fee entries that are there already, and the record that each is counted in."""
    asset_ids: Mapping[AssetKey, str]


async def look_up_past(  # noqa: PLR0913 - what blocks of the past are matched against
    commit: ChainCommit,
    scan_ids: Sequence[str],
    moved: Moved,
    chain: Chain,
    assets: Mapping[bytes, matching.AssetFacts],
    now: datetime,
) -> Past | None:
    """Look everything up that matters to these blocks; None where they hold nothing that these scans look for."""
    blocks = moved.blocks
    scanned = await commit.scanned(scan_ids, matching.addresses(blocks) | _spent(blocks))
    if not scanned:
        return None
    covered = await commit.covered()
    assets = {asset: facts for asset, facts in assets.items() if asset in covered}
    watches = {**_bearers(moved, scanned), **{address: found.watch for address, found in scanned.items()}}
    found = {block.ref.hash: _found(block, chain.caip2, watches, scanned) for block in blocks}
    sightings = [one.sighting for some in found.values() for one in some]
    paid = {transaction.hash for block in blocks for transaction in block.transactions if transaction.sender in scanned}
    paid |= {sighting.movement.transaction.hash for sighting in sightings if sighting.movement.spent}
    hashes = paid | {sighting.movement.transaction.hash for sighting in sightings}
    told = await commit.by_hash(hashes)
    uids = {record.uid for record in told}
    needed = {
        matching.asset_key(sighting, assets)
        for sighting in sightings
        if sighting.uid not in uids and sighting.movement.asset in assets
    }
    asset_ids = await commit.asset_ids(needed, now) if needed else {}
    return Past(chain, assets, watches, found, paid, told, await commit.fees_counted(hashes), asset_ids)


def _spent(blocks: Sequence[ScannedBlock]) -> set[bytes]:
    return {script for block in blocks for movement in block.movements for script in movement.spent}


def _bearers(moved: Moved, scanned: Mapping[bytes, ScannedWatch]) -> dict[bytes, Watch]:
    """Return the watches of who bears a transfer that spends from an address that is looked for."""
    return {
        movement.sender: watch
        for block in moved.blocks
        for movement in block.movements
        if movement.sender is not None and not scanned.keys().isdisjoint(movement.spent)
        if (watch := moved.watches.get(movement.sender)) is not None
    }


def _found(
    block: ScannedBlock, caip2: str, watches: Mapping[bytes, Watch], scanned: Mapping[bytes, ScannedWatch]
) -> list[Found]:
    return [
        Found(block.ref.height, sighting, looked_for)
        for sighting in matching.sightings(block, caip2, watches)
        if (looked_for := _looked_for(sighting, scanned))
    ]


def _looked_for(sighting: matching.Sighting, scanned: Mapping[bytes, ScannedWatch]) -> ScannedWatch | None:
    """Return the watch by which something is looked for: its own, else one that the same account spends from."""
    spent = sighting.movement.spent if sighting.side.type is TransactionType.TRANSFER else ()
    return next((scanned[address] for address in (sighting.side.address, *spent) if address in scanned), None)


def tell_past(past: Past, blocks: Sequence[ScannedBlock], view: ChainView, book: Book, now: datetime) -> list[Fee]:
    """Apply first sights, block by block from the oldest on, and return the fees that nobody has entered yet. Pure."""
    book.load(past.told)
    fees: list[Fee] = []
    for block in blocks:
        paid = _paid(past, block)
        for found in past.found[block.ref.hash]:
            sighting = found.sighting
            if book.has(sighting.uid) or sighting.movement.asset not in past.assets:
                continue
            newborn = _newborn(past, found, now)
            fee = paid.get(sighting.movement.transaction.hash)
            book.apply(newborn, matching.inclusion(newborn, block, sighting.movement, fee, None, view))
        fees += [fee for fee in paid.values() if past.counted.get(fee.tx_hash) is None]
    return fees


def _paid(past: Past, block: ScannedBlock) -> dict[bytes, Fee]:
    """Return what is looked for of fees in a block; what is counted in a record already stays so."""
    hashes = {transaction.hash for transaction in block.transactions}
    records = [record for record in past.told if record.subject.tx_hash in hashes]
    fees = matching.fees(block, past.chain.caip2, past.watches, (), records, past.assets)
    return {
        tx_hash: replace(fee, counted_in=past.counted.get(tx_hash) or fee.counted_in)
        for tx_hash, fee in fees.items()
        if tx_hash in past.paid
    }


def _newborn(past: Past, found: Found, now: datetime) -> Transaction:
    """Return the record of something below the cursor: history, or told late where its watch reaches down to it."""
    key = matching.asset_key(found.sighting, past.assets)
    newborn = matching.newborn(found.sighting, past.chain, key, past.asset_ids[key], now)
    scanned = found.scanned
    if scanned.late and found.height >= scanned.watch.watched_from:
        return newborn
    return replace(newborn, historical_until=scanned.watch.watched_from, silent=not scanned.notify)
