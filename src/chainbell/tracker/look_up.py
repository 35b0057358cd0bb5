"""What the database knows of newly appended blocks: read once for all of them, under the chain's lock."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chainbell.domain.block import Block, ChainTransaction, Movement, ScannedBlock
from chainbell.domain.errors import NodeError
from chainbell.domain.transaction import Chain
from chainbell.domain.utxo import Lacking, UtxoBlock, UtxoTransaction
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.inclusion import Known
from chainbell.tracker.ownership import look_up_ours
from chainbell.tracker.ports import AssetKey, ChainCommit, Spending
from chainbell.tracker.spending import Interpreted, Maturities, Ours, interpret


@dataclass(frozen=True, slots=True)
class Found:
    """Blocks with what moved in them, as far as it can concern us, and what the database knows of that."""

    blocks: Sequence[ScannedBlock]
    known: Known
    spending: Sequence[Spending] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """Blocks below the cursor with what moved in them, as far as it can concern us."""

    blocks: Sequence[ScannedBlock]
    spending: Sequence[Spending] = ()
    watches: Mapping[bytes, Watch] = field(default_factory=dict)
    """Those on either side of it, where that had to be known already."""


class Matcher(Protocol):
    """Matches blocks of one kind of chain against what is watched."""

    async def look_up(
        self,
        commit: ChainCommit,
        blocks: Sequence[Block],
        chain: Chain,
        assets: Mapping[bytes, matching.AssetFacts],
        now: datetime,
    ) -> Found | Lacking:
        """Look everything up that matters to these blocks: the match that counts."""
        ...

    async def read_past(self, commit: ChainCommit, blocks: Sequence[Block], now: datetime) -> Moved | Lacking:
        """Return what moved in blocks below the cursor, as far as it can concern us."""
        ...


class EvmMatcher:
    """Movements name their sides themselves; a replacement takes the sender's nonce."""

    async def look_up(
        self,
        commit: ChainCommit,
        blocks: Sequence[Block],
        chain: Chain,
        assets: Mapping[bytes, matching.AssetFacts],
        now: datetime,
    ) -> Found:
        """Look everything up that matters to these blocks.

        Only what is covered can be seen for the first time; what was told before of another asset is told to the end.
        """
        scanned = [block for block in blocks if isinstance(block, ScannedBlock)]
        assets = await covered_assets(commit, assets)
        hashes = matching.hashes(scanned)
        told = {record.uid: record for record in await commit.by_hash(hashes)}
        told |= {record.uid: record for record in await commit.in_no_block(matching.origins(scanned).keys())}
        watches = await _watched(commit, scanned, now)
        asset_ids = await ids_of_first_sights(commit, scanned, chain.caip2, watches, told, assets, now)
        unpaid = await commit.unpaid_fees(hashes)
        displaces = matching.displaces(scanned, told.values())
        return Found(scanned, Known(chain, assets, watches, list(told.values()), unpaid, asset_ids, displaces))

    async def read_past(self, commit: ChainCommit, blocks: Sequence[Block], now: datetime) -> Moved:  # noqa: ARG002 - the port
        """Return the blocks as they are: their movements name their sides themselves."""
        return Moved([block for block in blocks if isinstance(block, ScannedBlock)])


async def _watched(commit: ChainCommit, scanned: Sequence[ScannedBlock], now: datetime) -> Mapping[bytes, Watch]:
    """Return the watches of these blocks. A hit may extend the window of a key: then they are matched again."""
    addresses = matching.addresses(scanned)
    watches = await commit.watches(addresses)
    while watches and await commit.extend_windows(watches.values(), now):
        watches = await commit.watches(addresses)
    return watches


class UtxoMatcher:
    """Who moved what follows from who owns inputs and outputs; a replacement takes inputs."""

    def __init__(self, maturities: Maturities) -> None:
        self._maturities = maturities

    async def look_up(
        self,
        commit: ChainCommit,
        blocks: Sequence[Block],
        chain: Chain,
        assets: Mapping[bytes, matching.AssetFacts],
        now: datetime,
    ) -> Found | Lacking:
        """Look everything up that matters to these blocks; `Lacking` where more of them must be read first."""
        raw = [block for block in blocks if isinstance(block, UtxoBlock)]
        ours = await look_up_ours(commit, _transactions(raw), now)
        if isinstance(ours, Lacking):
            return ours
        assets = await covered_assets(commit, assets)
        read = self._interpreted(raw, ours)
        known = await known_of(commit, ours, read.blocks, chain, assets, now)
        return Found(read.blocks, known, read.spending)

    async def read_past(self, commit: ChainCommit, blocks: Sequence[Block], now: datetime) -> Moved | Lacking:
        """Return what moved in blocks below the cursor, as far as it can concern us."""
        raw = [block for block in blocks if isinstance(block, UtxoBlock)]
        ours = await look_up_ours(commit, _transactions(raw), now, past=True)
        return ours if isinstance(ours, Lacking) else self._interpreted(raw, ours)

    def _interpreted(self, raw: Sequence[UtxoBlock], ours: Ours) -> Moved:
        scanned, spending = [], []
        for block in raw:
            found = [one for one in (interpret(t, ours, self._maturities) for t in block.transactions) if one]
            scanned.append(ScannedBlock(block.ref, block.timestamp, transactions_of(found), movements_of(found)))
            spending.append(spending_of(found, block.ref.height))
        return Moved(scanned, spending, ours.watches)


def _transactions(blocks: Sequence[UtxoBlock]) -> list[UtxoTransaction]:
    """Return the transactions of linked blocks. Raises `NodeError` where two of the blocks have the same one.

    The two pairs of equal coinbases that Bitcoin's chain does hold (BIP30) lie further apart than any blocks given at once.
    """
    found = {transaction.hash: transaction for block in blocks for transaction in block.transactions}
    if len(found) < sum(len(block.transactions) for block in blocks):
        message = f"two of the blocks {blocks[0].ref.height} to {blocks[-1].ref.height} hold one transaction: no chain can"
        raise NodeError(message)
    return list(found.values())


async def known_of(  # noqa: PLR0913 - what is known, and what it is known of
    commit: ChainCommit,
    ours: Ours,
    scanned: Sequence[ScannedBlock],
    chain: Chain,
    assets: Mapping[bytes, matching.AssetFacts],
    now: datetime,
) -> Known:
    """Return what the database knows of interpreted transactions of the Bitcoin family."""
    records = {record.uid: record for found in (ours.told, ours.displaced) for some in found.values() for record in some}
    displaces = {tx_hash: [record.uid for record in found] for tx_hash, found in ours.displaced.items()}
    asset_ids = await ids_of_first_sights(commit, scanned, chain.caip2, ours.watches, records, assets, now)
    unpaid = await commit.unpaid_fees(matching.hashes(scanned))
    return Known(chain, assets, ours.watches, list(records.values()), unpaid, asset_ids, displaces)


def transactions_of(found: Sequence[Interpreted]) -> tuple[ChainTransaction, ...]:
    """Return the transactions that concern us."""
    return tuple(one.transaction for one in found)


def movements_of(found: Sequence[Interpreted]) -> tuple[Movement, ...]:
    """Return what they move."""
    return tuple(movement for one in found for movement in one.movements)


def spending_of(found: Sequence[Interpreted], height: int | None) -> Spending:
    """Return what they enter into the ledger of inputs and outputs, at a height or in no block."""
    return Spending(
        tuple(output for one in found for output in one.outputs),
        tuple(spent for one in found for spent in one.inputs),
        height,
    )


async def covered_assets(
    commit: ChainCommit, assets: Mapping[bytes, matching.AssetFacts]
) -> Mapping[bytes, matching.AssetFacts]:
    """Return those of a chain's assets that are matched."""
    covered = await commit.covered()
    return {asset: facts for asset, facts in assets.items() if asset in covered}


async def ids_of_first_sights(  # noqa: PLR0913 - what is seen, and what is known of it
    commit: ChainCommit,
    blocks: Sequence[ScannedBlock],
    caip2: str,
    watches: Mapping[bytes, Watch],
    told: Collection[str],
    assets: Mapping[bytes, matching.AssetFacts],
    now: datetime,
) -> Mapping[AssetKey, str]:
    """Return the asset of every record that these blocks make anew, created where an account has it not yet."""
    needed = {
        matching.asset_key(sighting, assets)
        for block in blocks
        for sighting in matching.sightings(block, caip2, watches)
        if sighting.uid not in told and sighting.movement.asset in assets
    }
    return await commit.asset_ids(needed, now) if needed else {}
