"""What appended blocks make of the records in hand: returns, first sights, conflicts and fees, over several blocks."""

import pytest

from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.chain import COIN
from chainbell.domain.errors import NodeError
from chainbell.domain.transaction import Execution, Status, Transaction, TransactionEvent, TransactionType
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.inclusion import Inclusion, Known
from chainbell.tracker.observations import Deepened, Orphaned
from chainbell.tracker.ports import AssetKey, Fee
from tests.builders import (
    CHAIN,
    NOW,
    OFF,
    OURS,
    THEIRS,
    TOKEN,
    address,
    block,
    movement,
    on_chain,
    tx_hash,
    view,
    watch,
)

ASSETS = {COIN: matching.AssetFacts("ETH", 18), TOKEN: matching.AssetFacts("USDT", 6)}
WATCHES = {OURS: watch(), address(5): watch(address(5))}
AT_ONCE = Policy(required_depth=1, screening=False)


class Run:
    """A chain of commits: advance and retract as the tracker does, over records kept in a dict."""

    def __init__(self, policy: Policy = OFF, watches: dict[bytes, Watch] | None = None) -> None:
        self.policy = policy
        self.watches = WATCHES if watches is None else watches
        self.records: dict[str, Transaction] = {}
        self.fees: list[Fee] = []

    def advance(self, *blocks: ScannedBlock) -> list[TransactionEvent]:
        seen, book = view(blocks[-1].ref.height), Book(self.policy, NOW)
        ids = {
            AssetKey(watched.account_id, contract, facts.symbol, facts.decimals): facts.symbol
            for watched in self.watches.values()
            for contract, facts in ASSETS.items()
        }
        unpaid = {fee.tx_hash for fee in self.fees}
        displaced = matching.displaces(blocks, self.records.values())
        known = Known(CHAIN, ASSETS, self.watches, list(self.records.values()), unpaid, ids, displaced)
        self.fees = Inclusion(known, seen, NOW).of(blocks, book)
        for record in book.records():
            book.apply(record, Deepened(seen))
        self.records |= {record.uid: record for record in book.changed()}
        return book.events

    def retract(self, *blocks: ScannedBlock) -> list[TransactionEvent]:
        book = Book(self.policy, NOW)
        book.load(self.records.values())
        for orphan in blocks:
            for record in book.records():
                book.apply(record, Orphaned(orphan.ref.hash))
        self.records |= {record.uid: record for record in book.changed()}
        return book.events

    def of(self, number: int, type_: TransactionType = TransactionType.DEPOSIT) -> list[Transaction]:
        """Return the records of a transaction, by position."""
        found = [r for r in self.records.values() if r.subject.tx_hash == tx_hash(number) and r.subject.type is type_]
        return sorted(found, key=lambda record: record.subject.position or 0)


def tokens(mined: ChainTransaction, *amounts: int) -> list[Movement]:
    """Return token movements into our address, in this order."""
    return [
        movement(mined, asset=TOKEN, amount=amount, incoming_position=k, outgoing_position=k, log_index=k)
        for k, amount in enumerate(amounts)
    ]


def told(events: list[TransactionEvent]) -> list[tuple[str, bytes]]:
    return [(event.type.removeprefix("transaction."), event.transaction.subject.tx_hash) for event in events]


def test_a_transaction_comes_back_with_fewer_movements() -> None:
    """Positions are ordinals: the last one is missing and fails at depth; the others take the new block's attributes."""
    run, mined = Run(), on_chain(1)
    run.advance(first := block(100, tokens(mined, 10, 20, 30)))
    run.retract(first)
    run.advance(block(100, tokens(mined, 30, 20), branch=1))
    assert [record.amount for record in run.of(1)] == [30, 20, 30]
    assert [record.execution for record in run.of(1)] == [Execution.SUCCEEDED, Execution.SUCCEEDED, Execution.ABSENT]
    run.advance(block(102, branch=1))
    assert [record.status for record in run.of(1)] == [Status.SUCCESS, Status.SUCCESS, Status.FAILED]


def test_a_transaction_comes_back_with_more_movements() -> None:
    """A new position is seen for the first time; the old ones return."""
    run, mined = Run(), on_chain(1)
    run.advance(first := block(100, tokens(mined, 10)))
    run.retract(first)
    names = [name for name, _ in told(run.advance(block(100, tokens(mined, 10, 20), branch=1)))]
    assert names == ["deposit.awaiting_confirmation", "deposit.created", "deposit.awaiting_confirmation"]


def test_a_transaction_comes_back_failing() -> None:
    """A told deposit waits with its execution, and fails at depth; a deposit never told before stays untold."""
    run = Run()
    run.advance(first := block(100, [movement()]))
    run.retract(first)
    failed = on_chain(1, succeeded=False)
    run.advance(block(100, [movement(failed), movement(failed, recipient=address(5))], branch=1))
    assert [record.execution for record in run.of(1)] == [Execution.REVERTED]
    assert told(run.advance(block(102, branch=1))) == [
        ("deposit.confirmation", tx_hash(1)),
        ("deposit.failed", tx_hash(1)),
    ]


def test_what_is_tracked_is_told_to_the_end_without_its_watch() -> None:
    """Once told, a record returns and settles although its address is watched no more; nothing new is matched."""
    run = Run()
    run.advance(first := block(100, tokens(on_chain(1), 10)))
    run.retract(first)
    run.watches = {}
    run.advance(block(100, tokens(on_chain(1), 10, 20), branch=1))
    run.advance(block(102, branch=1))
    assert [record.status for record in run.of(1)] == [Status.SUCCESS]


def test_a_conflict_marks_every_record_of_the_nonce() -> None:
    """All records of an orphaned transaction are replaced by what took its nonce, and both sides name each other."""
    run = Run()
    sender = {"sender": address(5), "nonce": 7}
    run.advance(first := block(100, tokens(on_chain(1, **sender), 10, 20)))
    run.retract(first)
    events = run.advance(block(100, [movement(on_chain(2, **sender))], branch=1))
    assert {event.transaction.replaces for event in events} == {tx_hash(1)}
    assert {record.status for record in run.of(1)} == {Status.PENDING}
    assert {record.conflict.tx_hash for record in run.of(1) if record.conflict} == {tx_hash(2)}
    run.advance(block(102, branch=1))
    everything = run.of(1) + run.of(1, TransactionType.TRANSFER)
    assert len(everything) == 4
    assert {(record.status, record.replaced_by, record.final) for record in everything} == {
        (Status.REPLACED, tx_hash(2), True)
    }


def test_a_conflict_of_a_stranger_counts_too() -> None:
    """What takes the nonce need not touch any watched address."""
    run = Run()
    run.advance(first := block(100, [movement(on_chain(1, nonce=7))]))
    run.retract(first)
    assert run.advance(block(100, others=[on_chain(2, nonce=7)], branch=1)) == []
    assert told(run.advance(block(102, branch=1))) == [("deposit.replaced", tx_hash(1))]


def test_a_conflict_and_its_settlement_in_one_commit() -> None:
    """With one confirmation required, and several blocks in one commit, everything comes at once and in order."""
    run = Run(AT_ONCE)
    run.advance(first := block(100, [movement(on_chain(1, nonce=7))]))
    run.retract(first)
    rival = movement(on_chain(2, nonce=7))
    events = told(run.advance(block(100, [rival], branch=1), block(101, [movement(on_chain(3))], branch=1)))
    assert events[:4] == [
        ("deposit.created", tx_hash(2)),
        ("deposit.awaiting_confirmation", tx_hash(2)),
        ("deposit.created", tx_hash(3)),
        ("deposit.awaiting_confirmation", tx_hash(3)),
    ]
    assert set(events[4:]) == {
        ("deposit.replaced", tx_hash(1)),
        ("deposit.success", tx_hash(2)),
        ("deposit.success", tx_hash(3)),
    }


def test_an_orphaned_conflict_lets_the_transaction_return() -> None:
    """A-B-A: the rival's block is taken back, `replaced` with it; then each side names the other anew."""
    run = Run(AT_ONCE)
    one, two = movement(on_chain(1, nonce=7)), movement(on_chain(2, nonce=7))
    run.advance(first := block(100, [one]))
    run.retract(first)
    run.advance(second := block(100, [two], branch=1))
    taken_back = told(run.retract(second))
    assert sorted(taken_back) == [("deposit.pending", tx_hash(1)), ("deposit.reverted", tx_hash(2))]
    run.advance(first)
    [ours], [rival] = run.of(1), run.of(2)
    assert (ours.status, ours.replaces, ours.replaced_by) == (Status.SUCCESS, tx_hash(2), None)
    assert (rival.status, rival.replaces, rival.replaced_by) == (Status.REPLACED, None, tx_hash(1))


def test_what_a_block_creates_takes_no_nonce() -> None:
    """The nonce of a system transaction says nothing, and a system transaction that is gone is not replaced."""
    run = Run()
    run.advance(first := block(100, [movement(on_chain(1, nonce=7)), movement(on_chain(2, nonce=8, may_return=False))]))
    run.retract(first)
    rivals = [movement(on_chain(3, nonce=7, may_return=False)), movement(on_chain(4, nonce=8))]
    run.advance(block(100, rivals, branch=1))
    run.advance(block(102, branch=1))
    assert [(record.status, record.conflict) for record in run.of(1)] == [(Status.PENDING, None)]
    assert [(record.status, record.final) for record in run.of(2)] == [(Status.DROPPED, True)]
    assert [record.replaces for record in run.of(3) + run.of(4)] == [None, None]


def test_one_transaction_twice_on_one_chain_is_refused() -> None:
    """A node that shows it again above its block contradicts itself: nothing is committed."""
    run = Run()
    run.advance(block(100, [movement()]))
    with pytest.raises(NodeError, match="contradicts itself"):
        run.advance(block(101, [movement()]))


def test_fees_follow_the_block() -> None:
    """A fee is paid by the block that includes its transaction, and again by the next one after a reorg."""
    run, ours = Run(), on_chain(1, sender=OURS)
    run.advance(first := block(100, [movement(ours, recipient=THEIRS)]))
    [sent] = run.of(1, TransactionType.TRANSFER)
    assert (sent.fee, sent.fee_of) == (21_000, sent.uid)
    run.retract(first)
    [sent] = run.of(1, TransactionType.TRANSFER)
    assert (sent.fee, sent.fee_of) == (None, None)
    run.watches = {}
    run.advance(block(101, [movement(ours, recipient=THEIRS)], branch=1))
    assert [(fee.block and fee.block.height, fee.account_id, fee.counted_in) for fee in run.fees] == [(101, None, sent.uid)]
