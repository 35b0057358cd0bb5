"""The lifecycle of a deposit or transfer, as one pure function. ``docs/state-machine.md`` draws it.

`transition` takes the record as it stands, one observation, the chain's policy and the time, and returns the record as it
becomes with the events that tell it, in order. It is total: what changes nothing returns the same record and no event, so
that seeing a fact twice is harmless.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from chainbell.domain.errors import ChainHaltedError
from chainbell.domain.transaction import (
    Execution,
    ScreeningStatus,
    Status,
    Transaction,
    TransactionEvent,
    TransactionType,
)
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.observations import (
    ConflictMined,
    Deepened,
    Included,
    Observation,
    Orphaned,
    Outbid,
    Sighted,
    Vanished,
)

_IN_NO_BLOCK = {TransactionType.DEPOSIT: Status.PENDING, TransactionType.TRANSFER: Status.PROCESSING}
_REPLACEABLE = {*_IN_NO_BLOCK.values(), Status.DROPPED, Status.REVERTED}


@dataclass(frozen=True, slots=True)
class Transition:
    """The record as it becomes, and what is told of the way there."""

    transaction: Transaction
    events: tuple[TransactionEvent, ...] = ()


def transition(transaction: Transaction, observation: Observation, policy: Policy, now: datetime) -> Transition:
    """Return what an observation makes of a record.

    Raises `ChainHaltedError` when the observation contradicts the ledger: a second block of our chain includes the
    transaction. Nothing may be committed then.
    """
    teller = _Teller(transaction, policy, now)
    match observation:
        case Included():
            _include(teller, observation)
        case Orphaned():
            _orphan(teller, observation.block_hash)
        case ConflictMined():
            _conflict(teller, observation)
        case Deepened():
            _deepen(teller, observation)
        case Sighted():
            _sight(teller, observation)
        case Vanished():
            _vanish(teller, observation)
        case Outbid():
            _outbid(teller, observation)
        case _:
            assert_never(observation)
    return Transition(teller.transaction, tuple(teller.events))


class _Teller:
    """The record under transition, and the events told so far; each event keeps the record as it was when told."""

    def __init__(self, transaction: Transaction, policy: Policy, now: datetime) -> None:
        self.transaction = transaction
        self.policy = policy
        self.now = now
        self.confirmations = transaction.told_depth
        self.events: list[TransactionEvent] = []

    def enter(self, status: Status, occasion: tuple[bytes, ...], *, final: bool = False) -> None:
        """Enter a status and tell it; the very first is told as ``created`` before."""
        previous = None if self.transaction.status is Status.UNSEEN else self.transaction.status
        self.transaction = replace(self.transaction, status=status, final=final)
        if previous is None:
            self.tell("created", None, ())
        self.tell(status.value.lower(), previous, occasion)

    def tell(self, name: str, previous: Status | None, occasion: tuple[bytes, ...]) -> None:
        """Write one event of the record as it stands now."""
        self.transaction = replace(self.transaction, sequence=self.transaction.sequence + 1, updated_at=self.now)
        self.events.append(
            TransactionEvent(
                name=name,
                transaction=self.transaction,
                previous_status=previous,
                occasion=occasion,
                confirmations=self.confirmations,
                required_confirmations=self.policy.required_of(self.transaction.maturity),
                at=self.now,
            )
        )


def _include(teller: _Teller, seen: Included) -> None:
    transaction = teller.transaction
    if transaction.block == seen.block:
        return
    if transaction.block is not None:
        message = (
            f"{transaction.uid} is in block {transaction.block.hash.hex()} and in {seen.block.hash.hex()} of one chain: "
            f"the ledger of {transaction.subject.chain.name} is damaged; restore a backup"
        )
        raise ChainHaltedError(message)
    teller.confirmations = seen.view.depth(seen.block.height)
    required = teller.policy.required_of(transaction.maturity)
    history = transaction.historical_until is not None and (
        transaction.status is Status.UNSEEN or seen.block.height < transaction.historical_until
    )
    teller.transaction = replace(
        transaction,
        block=seen.block,
        execution=seen.execution,
        amount=seen.amount,
        counterparty=_still_known(transaction, seen),
        log_index=seen.log_index,
        fee=seen.fee,
        fee_of=seen.fee_of,
        screening=_screening_of(transaction, seen),
        conflict=None,
        replaced_by=None,
        replaces=seen.replaces,
        historical_until=transaction.historical_until if history else None,
        silent=transaction.silent and history,
        told_depth=min(teller.confirmations, required or teller.confirmations),
        senders=_better_known(transaction.senders, seen.senders),
    )
    teller.enter(Status.AWAITING_CONFIRMATION, (seen.block.hash,))


def _better_known(before: tuple[bytes | None, ...], now: tuple[bytes | None, ...]) -> tuple[bytes | None, ...]:
    """Return the senders with fewer unknown ones: a node may have become unable to tell them."""
    return now if now and (not before or now.count(None) <= before.count(None)) else before


def _screening_of(transaction: Transaction, seen: Included) -> ScreeningStatus:
    """Return the screening status in a new inclusion: a verdict holds for the amount and the sender that were screened."""
    same = transaction.amount == seen.amount and transaction.counterparty == _still_known(transaction, seen)
    return transaction.screening if same else ScreeningStatus.UNSCREENED


def _still_known(transaction: Transaction, seen: Included) -> bytes | None:
    """Return the other side: a node that cannot tell it in a block does not unsay what a mempool told."""
    return transaction.counterparty if seen.counterparty is None else seen.counterparty


def _orphan(teller: _Teller, block_hash: bytes) -> None:
    transaction = teller.transaction
    if transaction.block is not None and transaction.block.hash == block_hash:
        _leave_block(teller, block_hash)
    elif transaction.conflict is not None and transaction.conflict.block.hash == block_hash:
        _lift_conflict(teller, block_hash)


def _leave_block(teller: _Teller, block_hash: bytes) -> None:
    transaction = teller.transaction
    was = transaction.status
    teller.confirmations = 0
    teller.transaction = replace(
        transaction,
        block=None,
        log_index=None,
        execution=Execution.SUCCEEDED,
        told_depth=0,
        fee=None,
        fee_of=None,
        replaces=None,
    )
    gone = not transaction.may_return
    if was is Status.SUCCESS:
        teller.enter(Status.REVERTED, (block_hash,), final=gone)
    elif gone:
        teller.enter(Status.DROPPED, (block_hash,), final=True)
    else:
        teller.enter(_IN_NO_BLOCK[transaction.subject.type], (block_hash,))


def _lift_conflict(teller: _Teller, block_hash: bytes) -> None:
    decided = teller.transaction.status is Status.REPLACED and teller.transaction.final
    teller.transaction = replace(
        teller.transaction,
        conflict=None,
        replaced_by=None if decided else teller.transaction.replaced_by,
        updated_at=teller.now,
    )
    if decided:
        teller.enter(_IN_NO_BLOCK[teller.transaction.subject.type], (block_hash,))


def _conflict(teller: _Teller, seen: ConflictMined) -> None:
    transaction = teller.transaction
    if transaction.block is None and transaction.conflict is None and not transaction.final:
        teller.transaction = replace(transaction, conflict=seen.conflict, updated_at=teller.now)


def _deepen(teller: _Teller, seen: Deepened) -> None:
    transaction = teller.transaction
    if transaction.final:
        return
    if transaction.block is not None:
        _settle_inclusion(teller, seen)
    elif transaction.conflict is not None and seen.view.is_deep(transaction.conflict.block.height, teller.policy):
        teller.transaction = replace(transaction, replaced_by=transaction.conflict.tx_hash)
        teller.enter(Status.REPLACED, (transaction.conflict.block.hash,), final=True)


def _settle_inclusion(teller: _Teller, seen: Deepened) -> None:
    block = teller.transaction.block
    if block is None or teller.transaction.status is not Status.AWAITING_CONFIRMATION:
        return
    teller.confirmations = seen.view.depth(block.height)
    _tell_depth(teller, block.hash)
    if not seen.view.is_deep(block.height, teller.policy, teller.transaction.maturity):
        return
    if teller.transaction.execution is not Execution.SUCCEEDED:
        teller.enter(Status.FAILED, (block.hash,), final=True)
    elif teller.policy.allows_success(teller.transaction.screening):
        teller.enter(Status.SUCCESS, (block.hash,), final=True)


def _tell_depth(teller: _Teller, block_hash: bytes) -> None:
    """Tell a deposit's depth that grew, up to the required one; under the finalized tag no depth is required or told."""
    required = teller.policy.required_of(teller.transaction.maturity)
    if required is None or teller.transaction.subject.type is not TransactionType.DEPOSIT:
        return
    depth = min(teller.confirmations, required)
    if depth > teller.transaction.told_depth:
        teller.transaction = replace(teller.transaction, told_depth=depth)
        teller.tell("confirmation", teller.transaction.status, (block_hash, str(depth).encode()))


def _sight(teller: _Teller, seen: Sighted) -> None:
    pending = _IN_NO_BLOCK[teller.transaction.subject.type]
    transaction = teller.transaction
    taken = transaction.block is not None or transaction.conflict is not None or transaction.final
    if not taken and transaction.status is not pending:
        teller.transaction = replace(transaction, replaced_by=None, replaces=seen.replaces)
        teller.enter(pending, (str(seen.generation).encode(),))


def _vanish(teller: _Teller, seen: Vanished) -> None:
    transaction = teller.transaction
    pending = _IN_NO_BLOCK[transaction.subject.type]
    if transaction.block is None and transaction.conflict is None and transaction.status is pending:
        teller.enter(Status.DROPPED, (str(seen.generation).encode(),))


def can_be_outbid(transaction: Transaction) -> bool:
    """Tell whether a rival in a mempool replaces it: it is in no block, and no other transaction took its place yet."""
    taken = transaction.block is not None or transaction.conflict is not None or transaction.final
    return not taken and transaction.status in _REPLACEABLE


def _outbid(teller: _Teller, seen: Outbid) -> None:
    if can_be_outbid(teller.transaction):
        teller.transaction = replace(teller.transaction, replaced_by=seen.tx_hash)
        teller.enter(Status.REPLACED, (seen.tx_hash,))
