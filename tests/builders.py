"""Small builders with defaults: a test names only what it is about."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.chain import COIN, BlockRef, Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.delivery import Endpoint, FeedEvent, WebhookVersion
from chainbell.domain.transaction import (
    BlockPoint,
    Chain,
    Conflict,
    Execution,
    Origin,
    ScreeningStatus,
    Subject,
    Transaction,
    TransactionEvent,
    TransactionType,
)
from chainbell.domain.watch import Watch
from chainbell.tracker.confirmation import ChainView, Policy
from chainbell.tracker.observations import ConflictMined, Deepened, Included, Observation, Orphaned
from chainbell.tracker.transitions import transition

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
OFF = Policy(required_depth=3, screening=False)
"""Three confirmations, screening switched off."""
SCREENED = Policy(required_depth=3, screening=True)
TAGGED = Policy(required_depth=None, screening=False)
"""Settled at the node's finalized block."""
CHAIN = Chain("ethereum", "eip155:1", ChainKind.EVM, "ETHEREUM", Mode.LIVE, 18)


def tx_hash(number: int) -> bytes:
    return bytes([0xAA]) * 28 + number.to_bytes(4, "big")


def block_hash(height: int, branch: int = 0) -> bytes:
    return bytes([0xBB]) * 24 + branch.to_bytes(4, "big") + height.to_bytes(4, "big")


def address(number: int) -> bytes:
    return bytes([0xCC]) * 16 + number.to_bytes(4, "big")


TOKEN = bytes.fromhex("dac17f958d2ee523a2206206994597c13d831ec7")
OURS = address(1)
THEIRS = address(2)


def subject(type_: TransactionType = TransactionType.DEPOSIT, **changes: Any) -> Subject:
    plain = Subject(
        type=type_,
        chain=CHAIN,
        tx_hash=tx_hash(1),
        asset=TOKEN,
        symbol="USDT",
        decimals=6,
        address=OURS,
        position=0,
        account_id="00000000-0000-4000-8000-00000000000a",
        asset_id="00000000-0000-4000-8000-00000000000b",
        customer_id=None,
        label="till 7",
    )
    return replace(plain, **changes)


def deposit(**changes: Any) -> Transaction:
    """Return a deposit that nobody has told yet: 12.5 USDT from `THEIRS` into `OURS`."""
    plain = Transaction(
        uid="trx_deposit",
        subject=subject(),
        amount=12_500_000,
        counterparty=THEIRS,
        origin=Origin(THEIRS, 7),
        may_return=True,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(plain, **changes)


def transfer(**changes: Any) -> Transaction:
    """Return a transfer that nobody has told yet: 12.5 USDT from `OURS` to `THEIRS`."""
    plain = replace(deposit(), uid="trx_transfer", subject=subject(TransactionType.TRANSFER), origin=Origin(OURS, 7))
    return replace(plain, **changes)


def point(height: int = 100, branch: int = 0) -> BlockPoint:
    return BlockPoint(height, block_hash(height, branch))


def view(cursor: int = 100, finalized: int | None = None) -> ChainView:
    return ChainView(cursor, finalized)


def included(height: int = 100, branch: int = 0, *, cursor: int | None = None, **changes: Any) -> Included:
    """Return an inclusion of `deposit()` or `transfer()`; the cursor is its own block unless told otherwise."""
    plain = Included(
        block=point(height, branch),
        execution=Execution.SUCCEEDED,
        amount=12_500_000,
        counterparty=THEIRS,
        log_index=3,
        fee=None,
        fee_of=None,
        replaces=None,
        view=view(height if cursor is None else cursor),
    )
    return replace(plain, **changes)


def failing(height: int = 100, branch: int = 0, **changes: Any) -> Included:
    return included(height, branch, **({"execution": Execution.REVERTED, "log_index": None} | changes))


def orphaned(height: int = 100, branch: int = 0) -> Orphaned:
    return Orphaned(block_hash(height, branch))


def conflicted(height: int = 100, branch: int = 0, by: int = 9) -> ConflictMined:
    return ConflictMined(Conflict(tx_hash(by), point(height, branch)))


def deepened(cursor: int, finalized: int | None = None) -> Deepened:
    return Deepened(view(cursor, finalized))


def walk(
    record: Transaction, observations: Iterable[Observation], policy: Policy = OFF, now: datetime = NOW
) -> tuple[Transaction, list[TransactionEvent]]:
    """Apply observations one after another; return the record and every event told on the way."""
    told: list[TransactionEvent] = []
    for observation in observations:
        result = transition(record, observation, policy, now)
        record = result.transaction
        told.extend(result.events)
    return record, told


def names(events: Iterable[TransactionEvent]) -> list[str]:
    return [event.name for event in events]


def screened(record: Transaction, status: ScreeningStatus) -> Transaction:
    return replace(record, screening=status)


def on_chain(number: int = 1, **changes: Any) -> ChainTransaction:
    plain = ChainTransaction(hash=tx_hash(number), sender=THEIRS, nonce=number, succeeded=True, fee=21_000, may_return=True)
    return replace(plain, **changes)


def movement(transaction: ChainTransaction | None = None, **changes: Any) -> Movement:
    """Return a movement of 5 units of the coin from `THEIRS` to `OURS`."""
    mined = on_chain() if transaction is None else transaction
    plain = Movement(
        transaction=mined,
        asset=COIN,
        amount=5,
        sender=mined.sender,
        recipient=OURS,
        incoming_position=0,
        outgoing_position=0,
        log_index=None,
    )
    return replace(plain, **changes)


def block(
    height: int, movements: Sequence[Movement] = (), others: Sequence[ChainTransaction] = (), *, branch: int = 0
) -> ScannedBlock:
    """Return a block with the transactions of these movements, and others that moved nothing."""
    transactions = dict.fromkeys([entry.transaction for entry in movements] + list(others))
    ref = BlockRef(height, block_hash(height, branch), block_hash(height - 1, branch))
    return ScannedBlock(ref, NOW, tuple(transactions), tuple(movements))


def watch(watched: bytes = OURS, **changes: Any) -> Watch:
    plain = Watch(
        id="watch",
        chain=CHAIN.name,
        address=watched,
        account_id="00000000-0000-4000-8000-00000000000a",
        customer_id=None,
        label=None,
        watched_from=1,
        created_at=NOW,
    )
    return replace(plain, **changes)


def endpoint(*events: str, **changes: Any) -> Endpoint:
    """Return a live v2 endpoint that filters for these events."""
    plain = Endpoint(
        id="endpoint",
        url="https://example.com/hook",
        version=WebhookVersion.V2,
        mode=Mode.LIVE,
        events=events,
        chains=(),
        accounts=(),
        enabled=True,
        disabled_reason=None,
        created_at=NOW,
    )
    return replace(plain, **changes)


def feed_event(type_: str = "transaction.deposit.success", **changes: Any) -> FeedEvent:
    plain = FeedEvent(
        position=1,
        id="evt_one",
        type=type_,
        v1_type="transaction.success",
        resource_id="trx_deposit",
        sequence=1,
        occasion=(),
        mode=Mode.LIVE,
        chain=CHAIN.name,
        account_id="account-a",
        generation=0,
        at=NOW,
        body_v2=b"{}",
        body_v1=b"{}",
    )
    return replace(plain, **changes)
