"""What can be seen of a tracked transaction: the inputs of its lifecycle. No logic."""

from dataclasses import dataclass
from typing import TypeAlias

from chainbell.domain.transaction import BlockPoint, Conflict, Execution
from chainbell.tracker.confirmation import ChainView


@dataclass(frozen=True, slots=True)
class Included:
    """A block of our chain includes the transaction. The attributes are those of this inclusion."""

    block: BlockPoint
    execution: Execution
    amount: int
    counterparty: bytes | None
    log_index: int | None
    fee: int | None
    fee_of: str | None
    replaces: bytes | None
    """Hash of the tracked transaction, in no block, whose nonce or inputs this one took."""
    view: ChainView
    senders: tuple[bytes | None, ...] = ()
    """On UTXO chains: who it spends from."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A block was taken back from our chain."""

    block_hash: bytes


@dataclass(frozen=True, slots=True)
class ConflictMined:
    """A block of our chain includes another transaction with the same sender and nonce, or inputs."""

    conflict: Conflict


@dataclass(frozen=True, slots=True)
class Deepened:
    """Our cursor stands on the node's best chain, this far on."""

    view: ChainView


@dataclass(frozen=True, slots=True)
class Sighted:
    """It is in a mempool."""

    generation: int
    replaces: bytes | None = None
    """Hash of the tracked transaction whose inputs it takes."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """It left the mempool in which it was seen, for long enough."""

    generation: int


@dataclass(frozen=True, slots=True)
class Outbid:
    """A mempool holds another transaction that takes its nonce or inputs."""

    tx_hash: bytes


Observation: TypeAlias = Included | Orphaned | ConflictMined | Deepened | Sighted | Vanished | Outbid
