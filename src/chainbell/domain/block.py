"""What a node's adapter makes of one block: the transactions in it and the movements of value in them."""

from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.chain import BlockRef


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """One transaction as a block holds it, whether it matters to us or not."""

    hash: bytes
    sender: bytes
    nonce: int
    """With the sender, what only one transaction on a chain can use."""
    succeeded: bool
    """False: it was mined and failed, so nothing moved but its fee."""
    fee: int
    """What the sender paid, in the coin's base units."""
    may_return: bool
    """False for what its block itself created (L1-derived and system transactions): orphaned, it never comes back."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One non-zero movement of value as seen on chain.

    A position is the ordinal, from 0, among the movements of the same asset into the same address (``incoming_position``)
    or out of the same address (``outgoing_position``) in one transaction, in execution order.
    """

    transaction: ChainTransaction
    asset: bytes
    """The token's contract, or ``COIN``."""
    amount: int
    """Base units."""
    sender: bytes
    recipient: bytes
    incoming_position: int
    outgoing_position: int
    log_index: int | None
    """Index of the log in its block; None for the coin."""

    @property
    def happened(self) -> bool:
        """Whether value moved; False in a transaction that failed."""
        return self.transaction.succeeded


@dataclass(frozen=True, slots=True)
class ScannedBlock:
    """A block that was read whole and checked: nothing in it that we follow is missing from here."""

    ref: BlockRef
    timestamp: datetime
    transactions: tuple[ChainTransaction, ...]
    movements: tuple[Movement, ...]
