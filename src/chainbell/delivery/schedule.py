"""When the next attempt is made. Pure: time and chance are arguments."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DEFAULT_SCHEDULE = (
    timedelta(),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Delay before each attempt, counted from the failure before it: 75.6 h in all. Source: Standard Webhooks 1.0.0."""

SHORT_SCHEDULE = DEFAULT_SCHEDULE[:5]
"""A preset of five attempts: 2.6 h in all."""

JITTER = 0.1
"""A delay is stretched or shortened by up to this part of itself, so that many retries do not come at once."""

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""A receiver may ask for more time, but not for more than the longest delay of the schedule."""


def next_attempt(
    failures: int, now: datetime, schedule: Sequence[timedelta], jitter: float, retry_after: str | None = None
) -> datetime | None:
    """Return when to try again after so many failures, or None when the schedule is exhausted.

    `jitter` is a random fraction, 0 up to 1. A ``Retry-After`` header makes it later, never earlier.
    """
    if failures >= len(schedule):
        return None
    scheduled = now + schedule[failures] * (1 - JITTER + 2 * JITTER * jitter)
    asked = parse_retry_after(retry_after, now)
    return scheduled if asked is None else max(scheduled, asked)


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, 10.2.3); None for none, or for nonsense.

    The answer is never before `now`, nor more than 24 h after it.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        longest = int(LONGEST_RETRY_AFTER.total_seconds())
        seconds = longest if len(text) > len(str(longest)) else int(text)
        return now + timedelta(seconds=min(seconds, longest))
    moment = _http_date(text)
    return None if moment is None else min(max(moment, now), now + LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
