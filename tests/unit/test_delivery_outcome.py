from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.delivery.outcome import (
    PATIENCE,
    Attempt,
    Circumstances,
    Decision,
    Failure,
    Outcome,
    Standing,
    classify,
    decide,
)
from chainbell.delivery.schedule import DEFAULT_SCHEDULE
from chainbell.domain.delivery import DeliveryStatus

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WELL = Circumstances(NOW, 0.5, DEFAULT_SCHEDULE, failing_since=None)


def answered(status: int, retry_after: str | None = None) -> Attempt:
    return Attempt(NOW, SECOND, status=status, retry_after=retry_after)


def broken(failure: Failure = Failure.TRANSPORT, status: int | None = None) -> Attempt:
    return Attempt(NOW, SECOND, status=status, failure=failure)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCEEDED),
        (204, Outcome.SUCCEEDED),
        (299, Outcome.SUCCEEDED),
        (199, Outcome.FAILED),
        (301, Outcome.FAILED),
        (304, Outcome.FAILED),
        (400, Outcome.REFUSED),
        (401, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (408, Outcome.FAILED),
        (409, Outcome.REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.FAILED),
        (499, Outcome.REFUSED),
        (500, Outcome.FAILED),
        (503, Outcome.FAILED),
        (999, Outcome.FAILED),
    ],
)
def test_only_2xx_succeeds(status: int, outcome: Outcome) -> None:
    """Each status means what the design says."""
    assert classify(answered(status)) is outcome


@pytest.mark.parametrize("failure", list(Failure))
def test_an_answer_that_breaks_off_has_not_succeeded(failure: Failure) -> None:
    """Without a complete answer an attempt failed, also when a 200 stood at its head."""
    assert classify(broken(failure)) is Outcome.FAILED
    assert classify(broken(failure, status=200)) is Outcome.FAILED


def test_success_ends_the_delivery_and_the_outage() -> None:
    """A 2xx is final, holds nobody up and ends the endpoint's outage."""
    decision = decide(Standing(attempts=4), answered(200), replace(WELL, failing_since=NOW - SECOND))
    assert decision == Decision(status=DeliveryStatus.SUCCEEDED)


def test_a_failure_waits_and_holds_up_the_later_ones() -> None:
    """A 500 is tried again after the schedule's delay, blocks, and begins an outage."""
    decision = decide(Standing(), answered(500), WELL)
    assert decision == Decision(
        status=DeliveryStatus.PENDING,
        attempts=1,
        blocking=True,
        alone=1,
        next_attempt_at=NOW + timedelta(seconds=5),
        failing_since=NOW,
    )


def test_an_outage_keeps_its_begin() -> None:
    """Further failures do not move the time since when an endpoint fails."""
    decision = decide(Standing(), answered(500), replace(WELL, failing_since=NOW - SECOND))
    assert decision.failing_since == NOW - SECOND


def test_what_the_receiver_refused_holds_up_nobody() -> None:
    """A 400 is tried again beside the later ones, and says nothing about the endpoint's health."""
    decision = decide(Standing(), answered(400), WELL)
    assert (decision.status, decision.blocking, decision.failing_since) == (DeliveryStatus.PENDING, False, None)
    assert decide(Standing(blocking=False), answered(503), WELL).blocking is False


def test_gone_disables_and_keeps_the_delivery_for_later() -> None:
    """A 410 disables the endpoint; the event stays pending with a fresh schedule, for when it is enabled again."""
    decision = decide(Standing(attempts=9), answered(410), WELL)
    assert decision.disable
    assert (decision.status, decision.attempts, decision.next_attempt_at) == (DeliveryStatus.PENDING, 0, NOW)


def test_retry_after_is_honoured() -> None:
    """A 429 that asks for a minute is tried again after a minute."""
    assert decide(Standing(), answered(429, "60"), WELL).next_attempt_at == NOW + timedelta(minutes=1)


def poisoned(failures: int) -> Decision:
    """Fail one event so often, while the endpoint answers others in between."""
    standing, decision = Standing(), decide(Standing(), answered(500), WELL)
    for number in range(1, failures):
        standing = Standing(decision.attempts, decision.blocking, decision.alone, NOW + (number - 1) * SECOND)
        decision = decide(standing, answered(500), replace(WELL, now=NOW + number * SECOND))
    return decision


def test_a_poisoned_event_holds_up_the_others_for_three_failures_only() -> None:
    """While the endpoint answers others, the third failure of one event lets the later ones go on."""
    assert [poisoned(failures).blocking for failures in range(1, 5)] == [True, True, False, False]
    assert PATIENCE == 3


def test_an_outage_never_lets_later_events_pass() -> None:
    """While the endpoint answers nobody, order holds however often an event fails."""
    decision = decide(Standing(), broken(), WELL)
    for number in range(1, 9):
        now = NOW + number * SECOND
        standing = Standing(decision.attempts, decision.blocking, decision.alone, now - SECOND)
        decision = decide(standing, broken(), replace(WELL, now=now, failing_since=decision.failing_since))
        assert decision.blocking
    assert (decision.attempts, decision.alone) == (9, 1)


def test_another_outage_since_the_last_attempt_counts_as_an_answer_in_between() -> None:
    """An outage that began after our attempt means that something was answered meanwhile."""
    standing = Standing(attempts=2, alone=2, attempted_at=NOW - 3 * SECOND)
    assert decide(standing, broken(), replace(WELL, failing_since=NOW - SECOND)).blocking is False
    assert decide(standing, broken(), replace(WELL, failing_since=NOW - 4 * SECOND)).blocking is True


def test_only_an_outage_earns_a_second_schedule_and_only_once() -> None:
    """Exhausted in an outage: queued once more later. Exhausted alone, refused, or a second time: not."""
    last = Standing(attempts=9, attempted_at=NOW - SECOND)
    outage = replace(WELL, failing_since=NOW - 5 * SECOND)
    assert decide(last, broken(), outage).outage
    assert decide(last, broken(), outage).status is DeliveryStatus.EXHAUSTED
    assert not decide(last, broken(), WELL).outage
    assert not decide(last, answered(400), outage).outage
    assert not decide(replace(last, requeued=True), broken(), outage).outage


standings = st.builds(
    Standing,
    attempts=st.integers(0, 9),
    blocking=st.booleans(),
    alone=st.integers(0, 9),
    attempted_at=st.none() | st.just(NOW - SECOND),
    requeued=st.booleans(),
)
attempts = st.one_of(st.integers(100, 999).map(answered), st.sampled_from(list(Failure)).map(broken))
around = st.builds(
    Circumstances,
    now=st.just(NOW),
    jitter=st.floats(0, 1, exclude_max=True),
    schedule=st.just(DEFAULT_SCHEDULE),
    failing_since=st.none() | st.sampled_from([NOW - 2 * SECOND, NOW - SECOND / 2]),
)


@given(standings, attempts, around)
def test_every_decision_makes_sense(standing: Standing, attempt: Attempt, circumstances: Circumstances) -> None:
    """Only what is pending has a next attempt and may block, nothing begins to block, and only 2xx succeeds."""
    decision = decide(standing, attempt, circumstances)
    pending = decision.status is DeliveryStatus.PENDING
    assert pending == (decision.next_attempt_at is not None)
    assert decision.next_attempt_at is None or decision.next_attempt_at >= NOW
    assert not decision.blocking or (pending and standing.blocking)
    assert (decision.status is DeliveryStatus.SUCCEEDED) == (classify(attempt) is Outcome.SUCCEEDED)
    assert decision.disable == (classify(attempt) is Outcome.GONE)
    assert not decision.outage or decision.status is DeliveryStatus.EXHAUSTED
