"""What the tracker needs of storage. One `ChainCommit` is one database transaction, under the chain's exclusive lock."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import UnderivedError
from chainbell.domain.history import ScannedWatch
from chainbell.domain.transaction import BlockPoint, Chain, Origin, Transaction, TransactionEvent
from chainbell.domain.utxo import Prevout
from chainbell.domain.watch import Watch
from chainbell.tracker.spending import OwnOutput, SpentOutput


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chain stands, as read under its lock."""

    chain: Chain
    cursor: BlockRef
    finalized_height: int | None
    fence: int


@dataclass(frozen=True, slots=True)
class AssetKey:
    """An asset of an account: the contract of a token, or ``COIN``, with the name and decimals it gets at first sight."""

    account_id: str
    contract: bytes
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Fee:
    """What a watched sender pays for one transaction."""

    tx_hash: bytes
    payer: bytes
    account_id: str | None
    """None where the entry is there already and keeps its account."""
    amount: int
    block: BlockPoint | None
    """None while no block has it: who owes it is decided when it is first seen."""
    counted_in: str | None
    """uid of the one record that shows it as its own; None where nothing else moved."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Entries of the ledger from which balances of the Bitcoin family follow."""

    outputs: tuple[OwnOutput, ...]
    inputs: tuple[SpentOutput, ...]
    height: int | None
    """Of the block of our chain that has them; None: no block has."""


@dataclass(frozen=True, slots=True)
class KnownSpends:
    """What we know of some outpoints that are being spent."""

    owned: Mapping[bytes, Prevout]
    """Those that are outputs which we know as ours."""
    claims: Mapping[bytes, Collection[bytes]]
    """By outpoint, the transactions in no block that spend it: tracked ones, and what those come from."""


class ChainCommit(Protocol):
    """Reads and writes of one chain inside one transaction. What is read here is what is there now."""

    async def standing(self) -> Standing:
        """Read where the chain stands; nothing else can change it until the commit."""
        ...

    async def ledger_hash(self, height: int) -> bytes | None:
        """Return the hash of our chain's block at a height; None outside of the kept ledger."""
        ...

    async def watches(self, addresses: Collection[bytes]) -> Mapping[bytes, Watch]:
        """Look up which of these addresses are watched."""
        ...

    async def covered(self) -> Collection[bytes]:
        """Return the assets that are matched from the next block on: tokens' contracts, and ``COIN``."""
        ...

    async def by_hash(self, tx_hashes: Collection[bytes]) -> Sequence[Transaction]:
        """Return every record of these transactions on chain."""
        ...

    async def unpaid_fees(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return, of those of these transactions that have a fee entry and no block, who owes it."""
        ...

    async def fees_counted(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, str | None]:
        """Return the fee entries of these transactions that are there, each with the record that it is counted in."""
        ...

    async def in_no_block(self, origins: Collection[Origin]) -> Sequence[Transaction]:
        """Return the records in no block whose sender and nonce are among these."""
        ...

    async def waiting(self, tx_hashes: Collection[bytes]) -> Sequence[Transaction]:
        """Return the records in no block of these transactions."""
        ...

    async def has_unseeded(self) -> bool:
        """Tell whether some watched address may own outputs that we do not know of, because they are older."""
        ...

    async def known_spends(self, outpoints: Collection[bytes]) -> KnownSpends:
        """Look up what we know of what spends these outpoints: in one go, for these are the most keys of a block."""
        ...

    async def spent_by(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, Prevout]:
        """Return, by outpoint, what these tracked transactions spend, as far as it was known when they were told."""
        ...

    async def children(self, tx_hashes: Collection[bytes]) -> Collection[bytes]:
        """Return the tracked transactions in no block that spend an output of these."""
        ...

    async def claimed_by(self, tx_hashes: Collection[bytes]) -> Mapping[bytes, Collection[bytes]]:
        """Return the outpoints that these transactions spend, of those whose inputs the ledger has."""
        ...

    async def taken_back(self) -> Collection[bytes]:
        """Return the transactions that a reorg took back after their success, and that no block has again."""
        ...

    async def extend_windows(self, hits: Collection[Watch], now: datetime) -> bool:
        """Watch further addresses of the keys whose addresses were hit; False when nothing is new.

        Raises `UnderivedError` where they must be derived first: roll back, `ChainStore.derive`, and try again.
        """
        ...

    async def save_spending(self, spending: Sequence[Spending]) -> None:
        """Write what transactions of the Bitcoin family spend and make, new or included again."""
        ...

    async def generation(self) -> int:
        """Return how often this database was restored from a backup."""
        ...

    async def note_shown(self, node: str, tx_hashes: Collection[bytes]) -> None:
        """Record that a node showed these transactions, and shows them now."""
        ...

    async def shown_by(self, node: str) -> Mapping[bytes, datetime | None]:
        """Return the tracked transactions in no block that a node once showed, each with since when it does not."""
        ...

    async def note_absent(self, node: str, tx_hashes: Collection[bytes], since: datetime | None) -> None:
        """Record since when a node does not show these transactions."""
        ...

    async def touched_above(self, height: int) -> Sequence[Transaction]:
        """Return the records that a block above a height includes, or whose conflict one includes."""
        ...

    async def unsettled(self, through_height: int) -> Sequence[Transaction]:
        """Return the records not final whose block, or whose conflict's block, is at or below a height."""
        ...

    async def asset_ids(self, keys: Collection[AssetKey], now: datetime) -> Mapping[AssetKey, str]:
        """Return the ids of assets, creating those that are missing."""
        ...

    async def save(self, transactions: Sequence[Transaction]) -> None:
        """Write records, new or changed."""
        ...

    async def save_fees(self, fees: Sequence[Fee]) -> None:
        """Write fee entries, new or included again."""
        ...

    async def append(self, blocks: Sequence[ScannedBlock], now: datetime) -> None:
        """Append linked blocks to the ledger, move the cursor to the last, and extend what is covered to it."""
        ...

    async def retract(self, ancestor: BlockRef, now: datetime) -> None:
        """Orphan the blocks above an ancestor, and move the cursor, and scans that stand above it, back to it."""
        ...

    async def scan_down(self, scan_ids: Collection[str], highest: BlockRef, lowest: BlockRef, now: datetime) -> bool:
        """Move scans from a block that they all read next to below another; False when they do not stand there."""
        ...

    async def scanned(self, scan_ids: Collection[str], addresses: Collection[bytes]) -> Mapping[bytes, ScannedWatch]:
        """Look up which of these addresses these scans look for."""
        ...

    async def set_finalized(self, height: int) -> None:
        """Record the highest finalized block of our chain."""
        ...

    async def publish(self, events: Sequence[TransactionEvent]) -> None:
        """Number, render and fan out events. The last step before the commit."""
        ...


class ChainStore(Protocol):
    """Opens commits."""

    def begin(self, chain: str) -> AbstractAsyncContextManager[ChainCommit]:
        """Open a transaction under the chain's exclusive lock; committed at the end, rolled back on any error."""
        ...

    async def derive(self, lacking: UnderivedError) -> None:
        """Derive addresses that a commit lacked, while none is open: the next one finds them, or gets further."""
        ...
