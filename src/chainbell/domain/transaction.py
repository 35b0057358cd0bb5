"""The tracked record behind webhooks, and what is told of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chainbell.domain.address import EVM_ADDRESSES, AddressFormat
from chainbell.domain.chain import Mode
from chainbell.domain.chain_kind import ChainKind


class TransactionType(StrEnum):
    """Which side of a movement a record tells."""

    DEPOSIT = "DEPOSIT"
    TRANSFER = "TRANSFER"
    CONTRACT = "CONTRACT"


class Status(StrEnum):
    """Where a transaction stands. ``docs/state-machine.md`` draws who moves it where."""

    UNSEEN = "UNSEEN"
    """Before its first observation; never stored and never told."""
    PENDING = "PENDING"
    """A deposit in no block: in a mempool, or its block was orphaned and it may return."""
    PROCESSING = "PROCESSING"
    """The same of a transfer."""
    AWAITING_CONFIRMATION = "AWAITING_CONFIRMATION"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    DROPPED = "DROPPED"
    REPLACED = "REPLACED"
    REVERTED = "REVERTED"


class ScreeningStatus(StrEnum):
    """Where the AML check stands: a second field beside the status, never mixed into it."""

    UNSCREENED = "UNSCREENED"
    SCREENING = "SCREENING"
    CLEAR = "CLEAR"
    FLAGGED = "FLAGGED"
    RELEASED = "RELEASED"
    REJECTED = "REJECTED"
    UNAVAILABLE = "UNAVAILABLE"


class Execution(StrEnum):
    """What became of the movement in the block that includes its transaction."""

    SUCCEEDED = "SUCCEEDED"
    REVERTED = "REVERTED"
    """The transaction failed: nothing moved."""
    ABSENT = "ABSENT"
    """The transaction succeeded, but does not make this movement any more (told before, in another block)."""


@dataclass(frozen=True, slots=True)
class BlockPoint:
    """Where something was included: the height and hash of a block of our chain."""

    height: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """A mined transaction that used the same nonce (or inputs): while it stands, ours cannot be mined."""

    tx_hash: bytes
    block: BlockPoint


SPEND = -1
"""Position of what leaves as a whole: a UTXO transfer in which no single output does, or whose inputs several own."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The sender and nonce of an EVM transaction: what a replacement takes from it. On UTXO chains that is its inputs."""

    sender: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Chain:
    """What a record carries of its chain."""

    name: str
    """Name of the chain's definition."""
    caip2: str
    kind: ChainKind
    wire_name: str
    mode: Mode
    coin_decimals: int
    """Decimals of the coin that pays fees."""
    addresses: AddressFormat = EVM_ADDRESSES
    """How its addresses are written."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is about: fixed at first sight."""

    type: TransactionType
    chain: Chain
    tx_hash: bytes
    asset: bytes
    """A token's contract, or ``COIN``."""
    symbol: str
    decimals: int
    address: bytes
    """The watched address: the recipient of a deposit, the sender of a transfer."""
    position: int | None
    account_id: str
    asset_id: str
    customer_id: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A tracked deposit or transfer, with its lifecycle. Immutable: transitions make new ones."""

    uid: str
    subject: Subject
    amount: int
    """Base units, as in the inclusion in force, or in the last one seen."""
    counterparty: bytes | None
    """The sender of a deposit, the recipient of a transfer."""
    origin: Origin | None
    """None on UTXO chains."""
    may_return: bool
    """Whether it can be included again under the same hash once its block was orphaned."""
    created_at: datetime
    updated_at: datetime
    status: Status = Status.UNSEEN
    screening: ScreeningStatus = ScreeningStatus.UNSCREENED
    block: BlockPoint | None = None
    """The block of our chain that includes it."""
    log_index: int | None = None
    execution: Execution = Execution.SUCCEEDED
    conflict: Conflict | None = None
    replaced_by: bytes | None = None
    """Hash of the transaction that took its nonce, once told."""
    replaces: bytes | None = None
    """Hash of the watched transaction whose nonce this one took."""
    fee: int | None = None
    """What the watched sender paid; None where somebody else did."""
    fee_of: str | None = None
    """uid of the one record in which that fee is counted."""
    told_depth: int = 0
    """Confirmations told so far in the block in force; 0 in no block."""
    final: bool = False
    sequence: int = 0
    """Sequence of its last event; the first has 1."""
    historical_until: int | None = None
    """Found by a scan of the past: history until it is included *again* at this height or above. None: found at the tip."""
    senders: tuple[bytes | None, ...] = ()
    """On UTXO chains: who it spends from, each once, in input order; None: an input whose output cannot be had."""
    maturity: int = 0
    """Confirmations that it needs in any case: what a block itself creates must not be spent before."""
    silent: bool = False
    """History of which endpoints are not told; it is on the feed all the same."""


@dataclass(frozen=True, slots=True)
class TransactionEvent:
    """One immutable fact about a transaction: the record as it was when the fact was told."""

    name: str
    """Last part of the event's type, such as ``success``."""
    transaction: Transaction
    previous_status: Status | None
    occasion: tuple[bytes, ...]
    """What makes this telling of ``name`` this one and no other: see ``identity.event_id``."""
    confirmations: int
    required_confirmations: int | None
    at: datetime
    repeat: int = 0
    """How often the same type was told before with the same occasion."""

    @property
    def type(self) -> str:
        """The v2 event type, such as ``transaction.deposit.success``."""
        return f"transaction.{self.transaction.subject.type.lower()}.{self.name}"
