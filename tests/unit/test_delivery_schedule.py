from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.delivery.schedule import (
    DEFAULT_SCHEDULE,
    JITTER,
    LONGEST_RETRY_AFTER,
    SHORT_SCHEDULE,
    next_attempt,
    parse_retry_after,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MIDDLE = 0.5

fractions = st.floats(0, 1, exclude_max=True)


def test_the_default_schedule_is_the_designed_one() -> None:
    """Ten attempts, the first at once, over 75.6 hours; the preset has the first five."""
    seconds = [int(delay.total_seconds()) for delay in DEFAULT_SCHEDULE]
    assert seconds == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert sum(seconds) == 272105
    assert DEFAULT_SCHEDULE[:5] == SHORT_SCHEDULE


@given(st.integers(0, 9), fractions)
def test_jitter_stays_within_its_part(failures: int, jitter: float) -> None:
    """A delay is stretched or shortened by at most a tenth of itself."""
    at = next_attempt(failures, NOW, DEFAULT_SCHEDULE, jitter)
    assert at is not None
    delay = DEFAULT_SCHEDULE[failures]
    assert abs(at - NOW - delay) <= delay * JITTER + timedelta(microseconds=1)


@pytest.mark.parametrize("schedule", [DEFAULT_SCHEDULE, SHORT_SCHEDULE])
def test_the_schedule_ends(schedule: tuple[timedelta, ...]) -> None:
    """After as many failures as there are attempts there is no next one, whatever the receiver asks for."""
    assert next_attempt(len(schedule) - 1, NOW, schedule, MIDDLE) is not None
    assert next_attempt(len(schedule), NOW, schedule, MIDDLE, "10") is None


def test_retry_after_makes_it_later_never_earlier() -> None:
    """A receiver that asks for a minute after the first failure gets it; after the third its minute is long over."""
    assert next_attempt(1, NOW, DEFAULT_SCHEDULE, MIDDLE, "60") == NOW + timedelta(seconds=60)
    assert next_attempt(3, NOW, DEFAULT_SCHEDULE, MIDDLE, "60") == NOW + timedelta(minutes=30)


def test_retry_after_may_be_a_date() -> None:
    """An HTTP date is understood, also in another zone."""
    wanted = NOW + timedelta(minutes=7)
    assert parse_retry_after(format_datetime(wanted, usegmt=True), NOW) == wanted
    assert parse_retry_after("Sun, 22 Nov 2026 13:07:00 +0100", NOW) == NOW + timedelta(minutes=7)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), (" 5 ", 5), ("86401", 86400), ("9" * 5000, 86400), ("Sun, 22 Nov 1970 13:07:00 GMT", 0)],
)
def test_retry_after_is_clamped(value: str, seconds: int) -> None:
    """It is never before now and never more than a day away, however large the number."""
    assert parse_retry_after(value, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1.5", "٣", "5, 5", "Sun, 99 Nov 2026 13:07:00 GMT"])
def test_nonsense_in_retry_after_is_ignored(value: str | None) -> None:
    """What is no number of seconds and no date asks for nothing."""
    assert parse_retry_after(value, NOW) is None


@given(st.one_of(st.text(max_size=60), st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,9} \d+:\d+:\d+ ([+-]\d{1,9}|GMT)")))
def test_no_header_breaks_the_parser(value: str) -> None:
    """Any text is read as a time within the next day, or as none."""
    at = parse_retry_after(value, NOW)
    assert at is None or NOW <= at <= NOW + LONGEST_RETRY_AFTER
