"""What a scan of the past finds: blocks below the cursor, matched against the addresses of that scan alone.

Every block that it reads is on our chain, and what the follower knows of our chain is told already: so a scan only adds what
nobody has told, and leaves every record that is there as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from chainbell.domain.block import ScannedBlock
from chainbell.domain.history import ScannedWatch
from chainbell.domain.transaction import Chain, Transaction, TransactionType
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView
from chainbell.tracker.look_up import Moved
from chainbell.tracker.ports import AssetKey, ChainCommit, Fee


class Occasion(NamedTuple):
    """Why something of the past is told."""

    historical_until: int | None
    """Up to which block it is history; None: a watch reached down to it, and it is told late."""
    silent: bool
    """Whether nobody who looks for it wants to be notified."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that scans look for, seen in a block of the past."""

    sighting: matching.Sighting
    occasion: Occasion


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
    spends = _spends(blocks)
    spent = {script for scripts in spends.values() for script in scripts}
    scanned = await commit.scanned(scan_ids, matching.addresses(blocks) | spent)
    if not scanned:
        return None
    covered = await commit.covered()
    assets = {asset: facts for asset, facts in assets.items() if asset in covered}
    known = {**moved.watches, **{address: found.watch for address, found in scanned.items()}}
    bearers = {sender for (_, sender), scripts in spends.items() if not scanned.keys().isdisjoint(scripts)}
    watches = {address: watch for address, watch in known.items() if address in scanned or address in bearers}
    found = {block.ref.hash: _found(block, chain.caip2, watches, spends, known, scanned) for block in blocks}
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


def _spends(blocks: Sequence[ScannedBlock]) -> dict[tuple[bytes, bytes], tuple[bytes, ...]]:
    """Return what the account of a transfer spends, by transaction and the script that bears it: many transfers share it."""
    return {
        (movement.transaction.hash, movement.sender): movement.spent
        for block in blocks
        for movement in block.movements
        if movement.sender is not None and movement.spent
    }


def _found(  # noqa: PLR0913 - what is matched, and against what
    block: ScannedBlock,
    caip2: str,
    watches: Mapping[bytes, Watch],
    spends: Mapping[tuple[bytes, bytes], tuple[bytes, ...]],
    known: Mapping[bytes, Watch],
    scanned: Mapping[bytes, ScannedWatch],
) -> list[Found]:
    """Return what is looked for in a block. A transfer bears one of the scripts that are spent: any of them may be meant."""
    found = []
    occasions: dict[tuple[TransactionType, bytes, bytes], Occasion | None] = {}
    for sighting in matching.sightings(block, caip2, watches):
        side, tx_hash = sighting.side, sighting.movement.transaction.hash
        if (side.type, tx_hash, side.address) not in occasions:
            alone = (side.address,)
            meant = spends.get((tx_hash, side.address), alone) if side.type is TransactionType.TRANSFER else alone
            occasions[side.type, tx_hash, side.address] = _occasion(block.ref.height, meant, known, scanned)
        if (occasion := occasions[side.type, tx_hash, side.address]) is not None:
            found.append(Found(sighting, occasion))
    return found


def _occasion(
    height: int, meant: Sequence[bytes], known: Mapping[bytes, Watch], scanned: Mapping[bytes, ScannedWatch]
) -> Occasion | None:
    """Return why something is told that these addresses made; None where none of them is looked for.

    What one of them could have told by its watch alone is told late, and no history, whoever finds it.
    """
    looked_for = [scanned[address] for address in meant if address in scanned]
    if not looked_for:
        return None
    reaching = [one.watch for one in looked_for if one.late]
    reaching += [known[address] for address in meant if address in known and address not in scanned]
    if any(height >= watch.watched_from for watch in reaching):
        return Occasion(None, silent=False)
    first = min(known[address].watched_from for address in meant if address in known)
    return Occasion(first, silent=not any(one.notify for one in looked_for))


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
    key = matching.asset_key(found.sighting, past.assets)
    newborn = matching.newborn(found.sighting, past.chain, key, past.asset_ids[key], now)
    return replace(newborn, historical_until=found.occasion.historical_until, silent=found.occasion.silent)
