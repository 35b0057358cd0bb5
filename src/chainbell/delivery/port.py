"""What the delivery worker needs of storage and of the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from chainbell.delivery.outcome import Attempt, Decision
from chainbell.domain.delivery import WebhookVersion


@dataclass(frozen=True, slots=True)
class Room:
    """How many more deliveries a worker can take."""

    total: int
    per_endpoint: int
    """In flight at one endpoint; of one that does not answer, only one at a time."""
    failing: int
    """In flight at all endpoints together that do not answer, so that they cannot take every place."""
    busy: Mapping[str, int]
    """In flight at each endpoint now, by id."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker owns until its lease ends, or until somebody with a higher fence claims it."""

    delivery_id: int
    fence: int
    endpoint_id: str
    resource_id: str
    """With the endpoint, the lane in which order holds."""
    event_id: str
    version: WebhookVersion
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Live ones as they were shown, newest first; empty when none of them can be opened."""
    body: bytes = field(repr=False)
    rescued: bool = False
    """Whether a worker claimed it before and never told what became of it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a look for work found."""

    claims: Sequence[Claim]
    more: bool
    """Whether looking again at once may find more."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a claim."""

    claim: Claim
    attempt: Attempt
    jitter: float
    """A random fraction, 0 up to 1, for when it is tried again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an attempt changed."""

    decision: Decision
    recovered: bool
    """Whether it ended an outage of its endpoint."""


class DeliveryStore(Protocol):
    """Every method raises `DatabaseError` while the database does not answer."""

    async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
        """Take what is due, endpoint by endpoint in turn, each under a lease by the database's clock."""
        ...

    async def record(self, results: Sequence[Result], now: datetime) -> Sequence[Recorded | None]:
        """Write attempts and what they decide, each in turn: all of them, or none.

        None stands for a claim that is not ours any more: nothing is written of it.
        """
        ...

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """End leases of deliveries that were not sent."""
        ...

    async def next_due(self, now: datetime) -> datetime | None:
        """Return when the next delivery becomes due after `now`; None: nothing is planned."""
        ...

    async def requeue_after_outage(self, now: datetime) -> int:
        """Queue once more some of what was exhausted while its endpoint did not answer; return how many, 0: no more."""
        ...


class Sender(Protocol):
    """Sends one webhook, and tells what came of it as a value."""

    @property
    def timeout(self) -> timedelta:
        """The longest that `post` takes."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST a body. Whatever the network does is an `Attempt`, never an exception."""
        ...
