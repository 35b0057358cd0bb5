"""The lifecycle of one record as a stateful machine: whatever a chain, its mempool and screening do, the rules hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chainbell.domain.errors import ChainHaltedError
from chainbell.domain.transaction import (
    BlockPoint,
    Conflict,
    Execution,
    ScreeningStatus,
    Status,
    Transaction,
    TransactionEvent,
)
from chainbell.tracker.confirmation import ChainView, Policy
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
from chainbell.tracker.transitions import transition
from tests.builders import (
    NOW,
    OURS,
    THEIRS,
    address,
    block_hash,
    conflicted,
    deepened,
    deposit,
    failing,
    included,
    names,
    orphaned,
    screened,
    transfer,
    tx_hash,
)
from tests.journal import Journal, allows, is_deep

pytestmark = pytest.mark.timeout(3600)
"""The full form takes minutes."""

POLICIES = st.builds(
    Policy, required_depth=st.sampled_from([None, 1, 2, 3, 4]), screening=st.sampled_from([False, False, True])
)
VERDICTS = st.sampled_from([*ScreeningStatus, ScreeningStatus.CLEAR, ScreeningStatus.RELEASED])
EXECUTIONS = st.sampled_from([Execution.SUCCEEDED, Execution.SUCCEEDED, *Execution])
NEW_BLOCKS = st.integers(1, 5)
LOWEST = 100


class OneRecord(RuleBasedStateMachine):
    """A chain of block hashes, where our transaction or its rival is in one of them."""

    record: Transaction
    policy: Policy

    def __init__(self) -> None:
        super().__init__()
        self.chain = [block_hash(LOWEST)]
        self.branch = 0
        self.finalized: int | None = None
        self.ours: int | None = None
        self.rival: int | None = None
        self.execution = Execution.SUCCEEDED
        self.journal = Journal()

    # What there is

    @initialize(newborn=st.sampled_from([deposit(), transfer()]), may_return=st.booleans(), policy=POLICIES)
    def begin(self, newborn: Transaction, policy: Policy, *, may_return: bool) -> None:
        self.record = replace(newborn, may_return=may_return)
        self.policy = policy

    @property
    def tip(self) -> int:
        return LOWEST + len(self.chain) - 1

    @property
    def view(self) -> ChainView:
        return ChainView(self.tip, self.finalized)

    @property
    def unseen(self) -> bool:
        return self.record.status is Status.UNSEEN

    @property
    def waits_in_a_mempool(self) -> bool:
        return self.record.may_return and not self.unseen

    def at(self, height: int) -> BlockPoint:
        return BlockPoint(height, self.chain[height - LOWEST])

    def grow(self, count: int) -> int:
        """Append blocks of a branch of their own, and return the height of the first."""
        self.branch += 1
        first = self.tip + 1
        self.chain += [block_hash(first + number, self.branch) for number in range(count)]
        return first

    # What is seen of it

    def observe(self, observation: Observation) -> list[TransactionEvent]:
        """Let the record see something; seeing it again, or deciding it again, makes no difference."""
        before = self.record
        result = transition(before, observation, self.policy, NOW)
        assert transition(before, observation, self.policy, NOW) == result
        again = transition(result.transaction, observation, self.policy, NOW + timedelta(days=1))
        assert (again.transaction, again.events) == (result.transaction, ())
        self.record = result.transaction
        self.journal.tell(result.events)
        for event in result.events:
            self._is_true(event)
        return list(result.events)

    def _is_true(self, event: TransactionEvent) -> None:
        """Compare what is told with the chain as it is."""
        assert event.confirmations == (0 if self.ours is None else self.tip - self.ours + 1)
        assert event.required_confirmations == self.policy.required_depth
        if event.name in {"success", "failed"}:
            assert self.ours is not None
            assert is_deep(self.policy, self.view, self.ours)
            assert (event.name == "success") == (self.execution is Execution.SUCCEEDED)
            assert event.occasion == (self.chain[self.ours - LOWEST],)
        if event.name == "success":
            assert allows(self.policy, event.transaction.screening)
        if event.name == "confirmation":
            assert event.transaction.uid == "trx_deposit"
            assert event.occasion[1] == str(min(event.confirmations, self.policy.required_depth or 0)).encode()

    @precondition(lambda self: self.ours is None and self.rival is None)
    @rule(
        count=NEW_BLOCKS,
        where=st.integers(0, 4),
        execution=EXECUTIONS,
        amount=st.integers(1, 3),
        other=st.sampled_from([THEIRS, address(6)]),
    )
    def mined(self, count: int, where: int, execution: Execution, amount: int, other: bytes) -> None:
        """Append blocks, one of which includes it, as one commit."""
        first, unseen = self.grow(count), self.unseen
        self.ours, self.execution = first + where % count, execution
        seen = Included(self.at(self.ours), execution, amount, other, None, None, None, None, self.view)
        same = (self.record.amount, self.record.counterparty) == (amount, other)
        screening = self.record.screening if same else ScreeningStatus.UNSCREENED
        told = self.observe(seen)
        assert names(told) == ["created"] * unseen + ["awaiting_confirmation"]
        assert (self.record.screening, self.record.replaced_by) == (screening, None)
        self.observe(Deepened(self.view))

    @precondition(lambda self: self.ours is None and self.rival is None and not self.unseen)
    @rule(count=NEW_BLOCKS, where=st.integers(0, 4))
    def rival_mined(self, count: int, where: int) -> None:
        """Append blocks, one of which has another transaction with its nonce."""
        height = self.grow(count) + where % count
        self.rival = height if self.record.may_return else None
        assert self.observe(ConflictMined(Conflict(tx_hash(9), self.at(height)))) == []
        self.observe(Deepened(self.view))

    @precondition(lambda self: not self.unseen)
    @rule(count=NEW_BLOCKS)
    def others_mined(self, count: int) -> None:
        """Append blocks that have nothing of it."""
        self.grow(count)
        self.observe(Deepened(self.view))

    @precondition(lambda self: not self.unseen and self.policy.required_depth is None)
    @rule(lag=st.integers(0, 6))
    def finalize(self, lag: int) -> None:
        """Let the finalized block come nearer to the cursor."""
        self.finalized = max(self.finalized or LOWEST, self.tip - lag, LOWEST)
        self.observe(Deepened(self.view))

    @precondition(lambda self: len(self.chain) > 1 and not self.unseen)
    @rule(depth=st.integers(1, 8))
    def reorganise(self, depth: int) -> None:
        """Take blocks back, as one commit; what was told of them is taken back at once."""
        orphans = self.chain[max(1, len(self.chain) - depth) :][::-1]
        del self.chain[-len(orphans) :]
        expected = self._retraction()
        self.ours = None if self.ours is not None and self.ours > self.tip else self.ours
        self.rival = None if self.rival is not None and self.rival > self.tip else self.rival
        self.finalized = None if self.finalized is None else min(self.finalized, self.tip)
        told = [event for orphan in orphans for event in self.observe(Orphaned(orphan))]
        assert names(told) == expected

    def _retraction(self) -> list[str]:
        pending = "pending" if self.record.uid == "trx_deposit" else "processing"
        if self.ours is not None and self.ours > self.tip:
            gone = [pending] if self.record.may_return else ["dropped"]
            return ["reverted"] if self.record.status is Status.SUCCESS else gone
        decided = self.record.status is Status.REPLACED and self.record.final
        return [pending] if decided and self.rival is not None and self.rival > self.tip else []

    @precondition(lambda self: self.record.may_return)
    @rule(generation=st.integers(0, 1))
    def sighted(self, generation: int) -> None:
        """See it in a mempool."""
        told = self.observe(Sighted(generation))
        assert not told or (self.ours is None and self.rival is None)

    @precondition(lambda self: self.waits_in_a_mempool)
    @rule(generation=st.integers(0, 1))
    def vanished(self, generation: int) -> None:
        """Miss it in the mempool that showed it."""
        told = self.observe(Vanished(generation))
        assert not told or (self.ours is None and self.rival is None)

    @precondition(lambda self: self.waits_in_a_mempool)
    @rule(rival=st.integers(8, 9))
    def outbid(self, rival: int) -> None:
        """See a rival in a mempool."""
        told = self.observe(Outbid(tx_hash(rival)))
        assert not told or (self.ours is None and self.rival is None)

    @precondition(lambda self: not self.unseen and self.policy.screening)
    @rule(status=VERDICTS)
    def screen(self, status: ScreeningStatus) -> None:
        """Let a verdict or an operator change the second field; by itself that promotes nothing."""
        self.record = screened(self.record, status)

    # What always holds

    @invariant()
    def stands_where_the_chain_has_it(self) -> None:
        if self.unseen:
            return
        self.journal.agrees(self.record)
        assert self.record.block == (None if self.ours is None else self.at(self.ours))
        rival = None if self.rival is None else Conflict(tx_hash(9), self.at(self.rival))
        assert self.record.conflict == rival
        if self.record.status in {Status.SUCCESS, Status.FAILED, Status.AWAITING_CONFIRMATION}:
            assert self.ours is not None
        else:
            assert self.ours is None

    @invariant()
    def nothing_that_could_be_told_is_left(self) -> None:
        """At the next look at the chain, whatever is deep and not held is settled."""
        if self.unseen:
            return
        settled = transition(self.record, Deepened(self.view), self.policy, NOW).transaction
        if self.ours is not None and is_deep(self.policy, self.view, self.ours):
            held = self.execution is Execution.SUCCEEDED and not allows(self.policy, self.record.screening)
            assert settled.final or held
        if self.rival is not None and is_deep(self.policy, self.view, self.rival):
            assert (settled.status, settled.final) == (Status.REPLACED, True)


OneRecord.TestCase.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=40)
TestOneRecord = OneRecord.TestCase


ANYTHING: st.SearchStrategy[Observation] = st.one_of(
    st.builds(included, st.integers(99, 101), st.integers(0, 1), cursor=st.integers(99, 104)),
    st.builds(failing, st.integers(99, 101), st.integers(0, 1)),
    st.builds(orphaned, st.integers(99, 101), st.integers(0, 1)),
    st.builds(conflicted, st.integers(99, 101), st.integers(0, 1), st.integers(8, 9)),
    st.builds(deepened, st.integers(98, 106), st.one_of(st.none(), st.integers(98, 106))),
    st.builds(Sighted, st.integers(0, 1)),
    st.builds(Vanished, st.integers(0, 1)),
    st.builds(Outbid, st.sampled_from([tx_hash(8), tx_hash(9)])),
)


@given(
    st.sampled_from([deposit(), transfer(), deposit(may_return=False)]),
    POLICIES,
    st.sampled_from([included(100), Sighted(0)]),
    st.lists(ANYTHING, max_size=25),
)
def test_any_observations_in_any_order(
    record: Transaction, policy: Policy, first: Observation, rest: Sequence[Observation]
) -> None:
    """Also what no honest chain does leaves a well-formed stream, or is refused whole; success needs a deep block."""
    told: list[TransactionEvent] = []
    for observation in [first, *rest]:
        try:
            result = transition(record, observation, policy, NOW)
        except ChainHaltedError:
            continue
        for event in result.events:
            if event.name == "success":
                assert isinstance(observation, Deepened)
                assert record.block is not None
                assert is_deep(policy, observation.view, record.block.height)
                assert allows(policy, record.screening)
        again = transition(result.transaction, observation, policy, NOW + timedelta(days=1))
        assert (again.transaction, again.events) == (result.transaction, ())
        record = result.transaction
        told += result.events
    assert [event.transaction.sequence for event in told] == list(range(1, len(told) + 1))
    assert [event.name for event in told].count("created") == 1
    assert told[0].name == "created"
    assert record.status is told[-1].transaction.status
    assert (record.block is None) or (record.conflict is None)
    assert record.subject.address == OURS
