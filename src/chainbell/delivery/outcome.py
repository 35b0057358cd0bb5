"""What an attempt means, and what is written because of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

from chainbell.delivery.schedule import next_attempt
from chainbell.domain.delivery import DeliveryStatus

PATIENCE = 3
"""Failures of one event, while its endpoint answers others, after which the later ones of its resource go on."""


class Failure(StrEnum):
    """Why an attempt has no complete answer."""

    TRANSPORT = "transport"
    """No name, no connection, no TLS, or it broke."""
    TIMEOUT = "timeout"
    TARGET_REFUSED = "target_refused"
    """The address is internal: nothing was sent."""
    NOT_SIGNED = "not_signed"
    """No secret of the endpoint can be opened: nothing was sent, for nothing goes out unsigned."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. With a `failure` its `status` may stand there all the same, of an answer that broke off."""

    started_at: datetime
    duration: timedelta
    status: int | None = None
    failure: Failure | None = None
    detail: str | None = None
    """What went wrong, in words for people; holds no secret and no internal address."""
    retry_after: str | None = None
    """The header, as it came."""
    response: bytes = field(default=b"", repr=False)
    """The first bytes of the answer's body, never decompressed."""


class Outcome(StrEnum):
    """What an attempt says about its event and its endpoint."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """For all we know the receiver has not seen it: later events of the resource wait."""
    REFUSED = "refused"
    """The receiver has seen it and wants it not: later events go on beside its retries."""
    GONE = "gone"
    """The endpoint wants nothing any more: it is disabled."""


_THROTTLED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def classify(attempt: Attempt) -> Outcome:
    """Tell what an attempt means. Only a complete 2xx succeeds.

    A redirect is not followed and counts as a failure that blocks: whoever sends it has not read the event.
    """
    status = attempt.status
    if attempt.failure is not None or status is None:
        return Outcome.FAILED
    if HTTPStatus(200) <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.SUCCEEDED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _THROTTLED:
        return Outcome.REFUSED
    return Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Standing:
    """A delivery as it is found when its attempt is recorded."""

    attempts: int = 0
    """Failed ones of the schedule in force."""
    blocking: bool = True
    alone: int = 0
    """Failures of the schedule in force that came while the endpoint answered others."""
    attempted_at: datetime | None = None
    """When the attempt before was recorded."""
    requeued: bool = False
    """Whether an outage has brought it a second schedule already."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else a decision depends on."""

    now: datetime
    jitter: float
    """A random fraction, 0 up to 1."""
    schedule: Sequence[timedelta]
    failing_since: datetime | None
    """When the endpoint's outage began; None: it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to write."""

    status: DeliveryStatus
    attempts: int = 0
    blocking: bool = False
    alone: int = 0
    next_attempt_at: datetime | None = None
    """None: there is none."""
    outage: bool = False
    """Exhausted while the endpoint answered nothing: queued once more when it answers again."""
    disable: bool = False
    failing_since: datetime | None = None
    """When the endpoint's outage began; None: it answers."""


def decide(standing: Standing, attempt: Attempt, around: Circumstances) -> Decision:
    """Decide what an attempt changes."""
    outcome = classify(attempt)
    if outcome is Outcome.SUCCEEDED:
        return Decision(status=DeliveryStatus.SUCCEEDED)
    if outcome is Outcome.GONE:  # the schedule starts afresh when the endpoint is enabled again
        return Decision(
            status=DeliveryStatus.PENDING,
            blocking=standing.blocking,
            next_attempt_at=around.now,
            disable=True,
            failing_since=around.failing_since,
        )
    failed = outcome is Outcome.FAILED
    lonely = failed and _others_answered(standing, around.failing_since)
    alone = standing.alone + lonely
    attempts = standing.attempts + 1
    at = next_attempt(attempts, around.now, around.schedule, around.jitter, attempt.retry_after)
    return Decision(
        status=DeliveryStatus.EXHAUSTED if at is None else DeliveryStatus.PENDING,
        attempts=attempts,
        blocking=standing.blocking and failed and alone < PATIENCE and at is not None,
        alone=alone,
        next_attempt_at=at,
        outage=at is None and failed and not lonely and not standing.requeued,
        failing_since=around.failing_since or around.now if failed else around.failing_since,
    )


def _others_answered(standing: Standing, failing_since: datetime | None) -> bool:
    """Tell whether the endpoint was well since this delivery's attempt before (or when this was its first).

    An outage that began after that attempt means that something was answered in between: each success ends an outage.
    """
    if failing_since is None:
        return True
    return standing.attempted_at is not None and failing_since > standing.attempted_at
