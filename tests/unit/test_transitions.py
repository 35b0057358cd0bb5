"""The lifecycle, one rule of DESIGN section 4 at a time."""

from datetime import timedelta

import pytest

from chainbell.domain.transaction import Execution, ScreeningStatus, Status, Transaction
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.observations import Included, Observation, Outbid, Sighted, Vanished
from chainbell.tracker.transitions import transition
from tests.builders import (
    NOW,
    OFF,
    SCREENED,
    TAGGED,
    address,
    block_hash,
    conflicted,
    deepened,
    deposit,
    failing,
    included,
    names,
    orphaned,
    point,
    screened,
    transfer,
    tx_hash,
    view,
    walk,
)

BOTH = pytest.mark.parametrize("newborn", [deposit(), transfer()], ids=["deposit", "transfer"])
SEEN = Sighted(generation=0)
GONE = Vanished(generation=0)


def no_block(record: Transaction) -> Status:
    return Status.PENDING if record.uid == "trx_deposit" else Status.PROCESSING


def fell(record: Transaction, *observations: Observation, policy: Policy = OFF) -> list[tuple[str, tuple[bytes, ...]]]:
    """Return name and occasion of each event told on the way."""
    return [(event.name, event.occasion) for event in walk(record, observations, policy)[1]]


# First sight ----------------------------------------------------------------------------------------------------------


@BOTH
def test_first_sight_in_a_block(newborn: Transaction) -> None:
    """`created` and `awaiting_confirmation` are told in this order; `pending` is never invented."""
    record, told = walk(newborn, [included(100)])
    assert names(told) == ["created", "awaiting_confirmation"]
    assert [event.transaction.sequence for event in told] == [1, 2]
    assert [event.previous_status for event in told] == [None, None]
    assert [event.transaction.status for event in told] == [Status.AWAITING_CONFIRMATION] * 2
    assert [event.occasion for event in told] == [(), (block_hash(100),)]
    assert [event.confirmations for event in told] == [1, 1]
    assert (record.status, record.final, record.block) == (Status.AWAITING_CONFIRMATION, False, point(100))


@BOTH
def test_first_sight_in_a_deep_block(newborn: Transaction) -> None:
    """Found by catch-up, nothing is skipped: `success` comes third, in the same commit."""
    record, told = walk(newborn, [included(100, cursor=150), deepened(150)])
    assert names(told) == ["created", "awaiting_confirmation", "success"]
    assert [event.confirmations for event in told] == [51, 51, 51]
    assert [event.transaction.final for event in told] == [False, False, True]
    assert told[2].previous_status is Status.AWAITING_CONFIRMATION
    assert record.status is Status.SUCCESS


@BOTH
def test_first_sight_in_a_mempool(newborn: Transaction) -> None:
    """Seen in a mempool it is `created` in the status of what is in no block; the generation is the occasion."""
    record, told = walk(newborn, [Sighted(generation=4)])
    assert names(told) == ["created", no_block(newborn).lower()]
    assert [event.occasion for event in told] == [(), (b"4",)]
    assert told[0].transaction.status is no_block(newborn)
    assert (record.status, record.final) == (no_block(newborn), False)


@BOTH
def test_mempool_then_block(newborn: Transaction) -> None:
    """A sighting, then a block: `created` is told once."""
    told = walk(newborn, [SEEN, included(100), deepened(102)])[1]
    assert names(told)[:1] + [name for name in names(told)[1:] if name != "confirmation"] == [
        "created",
        no_block(newborn).lower(),
        "awaiting_confirmation",
        "success",
    ]


# Depth ----------------------------------------------------------------------------------------------------------------


@BOTH
def test_success_at_the_required_depth_and_not_before(newborn: Transaction) -> None:
    """With three required, the third confirmation settles it."""
    shallow, told = walk(newborn, [included(100), deepened(101)])
    assert "success" not in names(told)
    assert shallow.status is Status.AWAITING_CONFIRMATION
    settled, told = walk(shallow, [deepened(102)])
    assert names(told)[-1] == "success"
    assert told[-1].occasion == (block_hash(100),)
    assert told[-1].confirmations == told[-1].required_confirmations == 3
    assert (settled.status, settled.final) == (Status.SUCCESS, True)


def test_each_depth_of_a_deposit_is_told() -> None:
    """`confirmation` tells every depth up to the required one, once, with the depth in its occasion."""
    told = fell(deposit(), included(100), deepened(100), deepened(101), deepened(101), deepened(102), deepened(103))
    of_100 = block_hash(100)
    assert told[2:] == [
        ("confirmation", (of_100, b"2")),
        ("confirmation", (of_100, b"3")),
        ("success", (of_100,)),
    ]


def test_a_catch_up_may_jump_depths() -> None:
    """Several blocks at once tell the depth reached, capped at the required one."""
    told = walk(deposit(), [included(100), deepened(140)])[1]
    assert [(event.name, event.occasion[1:], event.confirmations) for event in told[2:]] == [
        ("confirmation", (b"3",), 41),
        ("success", (), 41),
    ]


def test_depth_is_told_to_deposits_only() -> None:
    """The catalogue has no `confirmation` of a transfer."""
    assert "confirmation" not in names(walk(transfer(), [included(100), deepened(101), deepened(102)])[1])


def test_a_lower_cursor_tells_no_depth_again() -> None:
    """A reorg above the block makes it shallower; depths told before are not told again while it grows back."""
    told = names(walk(deposit(), [included(100), deepened(101), deepened(100), deepened(101)])[1])
    assert told.count("confirmation") == 1


def test_success_outlives_a_reorg_above_it() -> None:
    """What is settled stays so while its block is on our chain, whatever the cursor does above it."""
    record, _ = walk(deposit(), [included(100), deepened(102)])
    assert walk(record, [orphaned(102), orphaned(101), deepened(100)]) == (record, [])


@BOTH
def test_under_the_finalized_tag_no_number_counts(newborn: Transaction) -> None:
    """A block is settled when the finalized one is not below it; no depth is required, and none told."""
    waiting, told = walk(newborn, [included(100), deepened(5000), deepened(5000, 99)], TAGGED)
    assert names(told) == ["created", "awaiting_confirmation"]
    told = walk(waiting, [deepened(5001, 100)], TAGGED)[1]
    assert names(told) == ["success"]
    assert (told[0].required_confirmations, told[0].confirmations) == (None, 4902)


# Failure --------------------------------------------------------------------------------------------------------------


def test_a_failed_transfer_is_told_at_depth() -> None:
    """A transfer whose transaction failed waits as `awaiting_confirmation` with its execution, and fails at depth."""
    waiting, told = walk(transfer(), [failing(100), deepened(101)])
    assert names(told) == ["created", "awaiting_confirmation"]
    assert [event.transaction.execution for event in told] == [Execution.REVERTED] * 2
    failed, told = walk(waiting, [deepened(102)])
    assert [(event.name, event.occasion, event.transaction.final) for event in told] == [
        ("failed", (block_hash(100),), True)
    ]
    assert failed.status is Status.FAILED


@pytest.mark.parametrize("execution", [Execution.REVERTED, Execution.ABSENT])
def test_a_told_deposit_that_comes_back_without_its_value_fails(execution: Execution) -> None:
    """After a reorg the transaction fails, or makes fewer movements: what was told is told `failed`, at depth."""
    back = included(101, 1, execution=execution)
    record, told = walk(deposit(), [included(100), orphaned(100), back, deepened(102)])
    assert names(told)[2:] == ["pending", "awaiting_confirmation", "confirmation"]
    record, told = walk(record, [deepened(103)])
    assert names(told) == ["confirmation", "failed"]
    assert (record.status, record.final, record.execution) == (Status.FAILED, True, execution)


def test_screening_does_not_hold_a_failure() -> None:
    """Nothing moved, so there is nothing to hold."""
    told = walk(transfer(), [failing(100), deepened(102)], SCREENED)[1]
    assert names(told)[-1] == "failed"


# Screening ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(ScreeningStatus))
def test_who_may_succeed_while_screening_is_on(status: ScreeningStatus) -> None:
    """Only what is clear or released succeeds; what is held waits at any depth and succeeds when it is let go."""
    record, _ = walk(deposit(), [included(100)], SCREENED)
    record, told = walk(screened(record, status), [deepened(150)], SCREENED)
    allowed = status in {ScreeningStatus.CLEAR, ScreeningStatus.RELEASED}
    assert ("success" in names(told)) == allowed
    if not allowed:
        assert record.status is Status.AWAITING_CONFIRMATION
        told = walk(screened(record, ScreeningStatus.RELEASED), [deepened(151)], SCREENED)[1]
        assert names(told) == ["success"]


def test_unscreened_succeeds_where_screening_is_off() -> None:
    """Switched off explicitly, `UNSCREENED` is no hold; a verdict still is."""
    record, _ = walk(deposit(), [included(100)])
    assert names(walk(record, [deepened(102)])[1])[-1] == "success"
    assert "success" not in names(walk(screened(record, ScreeningStatus.FLAGGED), [deepened(102)])[1])


@pytest.mark.parametrize("changed", [included(100, 1, amount=1), included(100, 1, counterparty=address(66))])
def test_a_verdict_holds_for_the_facts_screened(changed: Included) -> None:
    """Included again with another amount or sender, it must be screened again; with the same, it must not."""
    record, _ = walk(deposit(), [included(100)], SCREENED)
    record, _ = walk(screened(record, ScreeningStatus.CLEAR), [orphaned(100)], SCREENED)
    same, _ = walk(record, [included(100, 1)], SCREENED)
    assert same.screening is ScreeningStatus.CLEAR
    other, told = walk(record, [changed, deepened(150)], SCREENED)
    assert other.screening is ScreeningStatus.UNSCREENED
    assert "success" not in names(told)


# Always ---------------------------------------------------------------------------------------------------------------

HISTORIES: list[list[Observation]] = [
    [included(100)],
    [failing(100)],
    [included(100), deepened(102)],
    [failing(100), deepened(102)],
    [included(100), orphaned(100)],
    [included(100), deepened(102), orphaned(100)],
    [SEEN],
    [SEEN, GONE],
    [SEEN, Outbid(tx_hash(9))],
    [SEEN, conflicted(100)],
    [SEEN, conflicted(100), deepened(102)],
    [SEEN, conflicted(100), deepened(102), orphaned(100)],
]


def test_history_is_history_until_it_is_included_again_above_its_scan() -> None:
    """A reorg keeps it history, and silent, below the scan's upper end; from there on it is as found at the tip."""
    found = deposit(historical_until=105, silent=True)
    record, _ = walk(found, [included(100), orphaned(100), included(104, 1)])
    assert (record.historical_until, record.silent) == (105, True)
    record, told = walk(record, [orphaned(104, 1), included(105, 2)])
    assert (record.historical_until, record.silent) == (None, False)
    assert [event.transaction.silent for event in told] == [True, False]


@BOTH
@pytest.mark.parametrize("history", HISTORIES)
def test_the_same_observation_again_changes_nothing(newborn: Transaction, history: list[Observation]) -> None:
    """A fact seen twice, at another time, is told once."""
    record, _ = walk(newborn, history)
    again = transition(record, history[-1], OFF, NOW + timedelta(hours=1))
    assert (again.transaction, again.events) == (record, ())


def test_an_event_keeps_the_record_as_it_was() -> None:
    """Later events do not change earlier ones, and each is stamped with the time of its commit."""
    later = NOW + timedelta(minutes=1)
    record, first = walk(deposit(), [included(100)])
    record, second = walk(record, [deepened(102)], now=later)
    assert [event.at for event in first + second] == [NOW, NOW, later, later]
    assert [event.transaction.updated_at for event in first + second] == [NOW, NOW, later, later]
    assert {event.transaction.created_at for event in first + second} == {NOW}
    assert [event.transaction.sequence for event in first + second] == [1, 2, 3, 4]
    assert record == second[-1].transaction


def test_a_block_above_the_cursor_has_no_depth() -> None:
    """Confirmations count from our own cursor, never below zero."""
    assert [view(cursor).depth(100) for cursor in (98, 99, 100, 101)] == [0, 0, 1, 2]


def test_a_sender_that_a_block_cannot_tell_is_kept() -> None:
    """A node that does not tell the sender in a block unsays nothing: neither the sender, nor a verdict on it."""
    known = deposit(counterparty=address(9), senders=(address(9),), screening=ScreeningStatus.CLEAR)
    record, _ = walk(known, [SEEN, included(100, counterparty=None, senders=(None,))], policy=SCREENED)
    assert (record.counterparty, record.senders, record.screening) == (address(9), (address(9),), ScreeningStatus.CLEAR)
    record, _ = walk(deposit(counterparty=None, senders=(None,)), [SEEN, included(100, senders=(address(9),))])
    assert record.senders == (address(9),)
