"""Blocks and transactions of the Bitcoin family, as their bytes say: nothing here knows what is watched.

Hashes are in the order in which everybody writes them (the reverse of the bytes on the wire). An outpoint is the 36 bytes
that name an output inside of a transaction on the wire: the txid as it stands there, then the output's index as four bytes,
little-endian.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from chainbell.domain.chain import BlockRef


class Making(Enum):
    """How a transaction came about."""

    ORDINARY = auto()
    COINBASE = auto()
    """The first of a block: it pays the miner, and exists in that block alone."""
    PEG_OUT = auto()
    """Litecoin's HogEx, the last of a block: it pays what left the extension block (LIP-2), and exists there alone."""


class Prevout(NamedTuple):
    """The output that an input spends: its scriptPubKey, and its amount in base units."""

    script: bytes
    amount: int


class UtxoTransaction(NamedTuple):
    """One transaction. A tuple, since a block has thousands."""

    hash: bytes
    """The txid."""
    outpoints: tuple[bytes, ...]
    """What it spends, in input order; nothing for a coinbase."""
    scripts: tuple[bytes, ...]
    """The scriptPubKey of each output, in order."""
    amounts: tuple[int, ...]
    """The amount of each output, in base units."""
    making: Making = Making.ORDINARY
    prevouts: tuple[Prevout | None, ...] | None = None
    """One for each outpoint, None where it cannot be had; None as a whole: not looked for yet."""
    revealed: tuple[tuple[bytes, ...], ...] | None = None
    """For each input the scriptPubKeys that its unlocking data would fit; None as a whole: not looked for yet."""


@dataclass(frozen=True, slots=True)
class UtxoBlock:
    """A block that was read whole: its txids give the merkle root of its header."""

    ref: BlockRef
    timestamp: datetime
    transactions: tuple[UtxoTransaction, ...]


@dataclass(frozen=True, slots=True)
class MempoolView:
    """A node's mempool at one moment in which its best block was `tip`, before and after."""

    node: str
    """Which node it is, by its place."""
    tip: bytes
    """Hash of the node's best block."""
    arrived: tuple[UtxoTransaction, ...]
    """Transactions that were not in the view before this one, parents before children."""
    present: Collection[bytes]
    """The txid of every transaction in it."""
    loaded: bool
    """Whether the node has loaded its mempool: before, absence means nothing."""
    beside: tuple[UtxoTransaction, ...] = ()
    """Others that are in it, read because `Lacking.ancestors` asked for them."""


@dataclass(frozen=True, slots=True)
class Unspent:
    """An output that was unspent at a block: what seeds a new watch."""

    outpoint: bytes
    script: bytes
    amount: int
    height: int
    """Height of the block that made it."""


@dataclass(frozen=True, slots=True)
class UnspentSet:
    """Every unspent output of some scripts, at a block of the node's chain."""

    at: BlockRef
    unspents: tuple[Unspent, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Nothing was written: to tell what happened, more must be read of these transactions first."""

    prevouts: frozenset[bytes]
    """Transactions whose prevouts are not there."""
    revealed: bool = False
    """Whether the scripts that inputs reveal are needed, of every transaction."""
    ancestors: frozenset[bytes] = frozenset()
    """Transactions of the mempool that are not known at all: what arrived comes from them."""


Prevouts: TypeAlias = Mapping[bytes, tuple[Prevout | None, ...]]
"""By txid, in input order."""


def outpoint(tx_hash: bytes, index: int) -> bytes:
    """Return the 36 bytes that name an output."""
    return tx_hash[::-1] + index.to_bytes(4, "little")


def created_by(spent: bytes) -> bytes:
    """Return the txid in the 36 bytes that name an output."""
    return spent[31::-1]


def with_prevouts(transactions: Sequence[UtxoTransaction], prevouts: Prevouts) -> tuple[UtxoTransaction, ...]:
    """Return the transactions, those among `prevouts` with what they spend."""
    return tuple(
        transaction if (found := prevouts.get(transaction.hash)) is None else transaction._replace(prevouts=found)
        for transaction in transactions
    )
