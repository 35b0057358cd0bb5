"""Blocks as they cross from nodes to who follows and decides: the transactions in them, and the movements of value."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from chainbell.domain.chain import BlockRef
from chainbell.domain.utxo import UtxoBlock


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """One transaction as a block holds it, whether it matters to us or not."""

    hash: bytes
    sender: bytes | None
    """Who pays its fee; None where nobody whom we know pays all of it."""
    nonce: int | None
    """With the sender, what only one transaction of an EVM chain can use; None on UTXO chains."""
    succeeded: bool
    """False: it was mined and failed, so nothing moved but its fee, and what the chain itself created before."""
    fee: int
    """What the sender paid, in the coin's base units."""
    may_return: bool
    """False for what its block itself created (coinbase, L1-derived transactions): orphaned, it never comes back."""
    maturity: int = 0
    """Confirmations that it needs in any case before what it pays counts as settled."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of value as seen on chain.

    On EVM chains it is never zero, and a position is the ordinal, from 0, among the movements of the same asset into the
    same address (``incoming_position``) or out of the same address (``outgoing_position``) in one transaction, in execution
    order. Nobody's (``sender`` is None) ``outgoing_position`` is 0. On UTXO chains a movement has one side, and its position
    is the index of the output, or ``SPEND``.
    """

    transaction: ChainTransaction
    asset: bytes
    """The token's contract, or ``COIN``."""
    amount: int
    """Base units."""
    sender: bytes | None
    """None: the chain itself created it, as an L2 does with a deposit from its layer 1; on UTXO chains also: not known."""
    recipient: bytes | None
    """None: no single one."""
    incoming_position: int | None
    """None: no deposit, whoever watches the recipient."""
    outgoing_position: int | None
    """None: no transfer, whoever watches the sender."""
    log_index: int | None
    """Index of the log in its block; None for the coin."""
    senders: tuple[bytes | None, ...] = ()
    """As `Transaction.senders`."""
    spent: tuple[bytes, ...] = ()
    """On UTXO chains, of what leaves: every script of the sender's account that the transaction spends, the sender's too."""

    @property
    def happened(self) -> bool:
        """Whether value moved: not in a transaction that failed, except what the chain itself created before it."""
        return self.transaction.succeeded or self.sender is None


@dataclass(frozen=True, slots=True)
class ScannedBlock:
    """A block that was read whole and checked: nothing in it that we follow is missing from here."""

    ref: BlockRef
    timestamp: datetime
    transactions: tuple[ChainTransaction, ...]
    movements: tuple[Movement, ...]


Block: TypeAlias = ScannedBlock | UtxoBlock
"""A block of either kind of chain, as a node gives it: read whole, and checked."""
