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
    """False: it was mined and failed, so nothing moved but its fee, and what the chain itself created before."""
    fee: int
    """What the sender paid, in the coin's base units."""
    may_return: bool
    """False for what its block itself created (L1-derived and system transactions): orphaned, it never comes back."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One non-zero movement of value as seen on chain.

    A position is the ordinal, from 0, among the movements of the same asset into the same address (``incoming_position``)
    or out of the same address (``outgoing_position``) in one transaction, in execution order. Nobody's (``sender`` is None)
    ``outgoing_position`` is 0.
    """

    transaction: ChainTransaction
    asset: bytes
    """The token's contract, or ``COIN``."""
    amount: int
    """Base units."""
    sender: bytes | None
    """None: the chain itself created it, as an L2 does with a deposit from its layer 1."""
    recipient: bytes
    incoming_position: int
    outgoing_position: int
    log_index: int | None
    """Index of the log in its block; None for the coin."""

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
