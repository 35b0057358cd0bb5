"""What a scan of the past finds: blocks below the cursor, matched against the addresses of that scan alone.

Every block that it reads is on our chain, and what the follower knows of our chain is told already: so a scan only adds what
nobody has told, and leaves every record that is there as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chainbell.domain.block import ScannedBlock
from chainbell.domain.history import ScannedWatch
from chainbell.domain.transaction import Chain, Transaction
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView
from chainbell.tracker.ports import AssetKey, ChainCommit, Fee


@dataclass(frozen=True, slots=True)
class Past:
    """What the database knows of some blocks of the past, read under the chain's lock."""

    chain: Chain
    assets: Mapping[bytes, matching.AssetFacts]
    scanned: Mapping[bytes, ScannedWatch]
    told: Sequence[Transaction]
    """Records of the transactions that these watches sent, received or paid for: they stay as they are."""
    counted: Mapping[bytes, str | None]
    """Fee entries that are there already, and the record that each is counted in."""
    asset_ids: Mapping[AssetKey, str]

    @property
    def watches(self) -> dict[bytes, Watch]:
        """The watches by address."""
        return {address: scanned.watch for address, scanned in self.scanned.items()}


async def look_up_past(  # noqa: PLR0913 - what blocks of the past are matched against
    commit: ChainCommit,
    scan_ids: Sequence[str],
    blocks: Sequence[ScannedBlock],
    chain: Chain,
    assets: Mapping[bytes, matching.AssetFacts],
    now: datetime,
) -> Past | None:
    """Look everything up that matters to these blocks; None where they hold nothing that these scans look for."""
    scanned = await commit.scanned(scan_ids, matching.addresses(blocks))
    if not scanned:
        return None
    covered = await commit.covered()
    assets = {asset: facts for asset, facts in assets.items() if asset in covered}
    watches = {address: found.watch for address, found in scanned.items()}
    sightings = [sighting for block in blocks for sighting in matching.sightings(block, chain.caip2, watches)]
    paid = {transaction.hash for block in blocks for transaction in block.transactions if transaction.sender in watches}
    hashes = paid | {sighting.movement.transaction.hash for sighting in sightings}
    told = await commit.by_hash(hashes)
    uids = {record.uid for record in told}
    needed = {
        matching.asset_key(sighting, assets)
        for sighting in sightings
        if sighting.uid not in uids and sighting.movement.asset in assets
    }
    asset_ids = await commit.asset_ids(needed, now) if needed else {}
    return Past(chain, assets, scanned, told, await commit.fees_counted(hashes), asset_ids)


def tell_past(past: Past, blocks: Sequence[ScannedBlock], view: ChainView, book: Book, now: datetime) -> list[Fee]:
    """Apply first sights, block by block from the oldest on, and return the fees that nobody has entered yet. Pure."""
    book.load(past.told)
    fees: list[Fee] = []
    for block in blocks:
        paid = _paid(past, block)
        for sighting in matching.sightings(block, past.chain.caip2, past.watches):
            if book.has(sighting.uid) or sighting.movement.asset not in past.assets:
                continue
            newborn = _newborn(past, sighting, block.ref.height, now)
            fee = paid.get(sighting.movement.transaction.hash)
            book.apply(newborn, matching.inclusion(newborn, block, sighting.movement, fee, None, view))
        fees += [fee for fee in paid.values() if past.counted.get(fee.tx_hash) is None]
    return fees


def _paid(past: Past, block: ScannedBlock) -> dict[bytes, Fee]:
    """Return what the watched senders of a block paid; what is counted in a record already stays so."""
    hashes = {transaction.hash for transaction in block.transactions}
    records = [record for record in past.told if record.subject.tx_hash in hashes]
    fees = matching.fees(block, past.chain.caip2, past.watches, (), records, past.assets)
    return {tx_hash: replace(fee, counted_in=past.counted.get(tx_hash) or fee.counted_in) for tx_hash, fee in fees.items()}


def _newborn(past: Past, sighting: matching.Sighting, height: int, now: datetime) -> Transaction:
    """Return the record of something below the cursor: history, or told late where its watch reaches down to it."""
    key = matching.asset_key(sighting, past.assets)
    newborn = matching.newborn(sighting, past.chain, key, past.asset_ids[key], now)
    scanned = past.scanned[sighting.side.address]
    if scanned.late and height >= scanned.watch.watched_from:
        return newborn
    return replace(newborn, historical_until=scanned.watch.watched_from, silent=not scanned.notify)
