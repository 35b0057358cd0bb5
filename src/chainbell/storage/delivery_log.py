"""What became of deliveries: listings, attempts and backlogs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from chainbell.domain.delivery import DeliveryStatus, WebhookVersion
from chainbell.domain.errors import NotFoundError
from chainbell.storage.accounts import OPERATOR, Viewer
from chainbell.storage.database import Database, Record
from chainbell.storage.endpoints import no_endpoint
from chainbell.storage.paging import Page, PageRequest, to_page

_SELECT = """
select d.*, v.id as event_id, v.type as event_type, v.v1_type, p.version
from deliveries d join endpoints p on p.id = d.endpoint_id join events v on v.position = d.event_position
where ($1::text is null or p.mode = $1) and ($2::uuid is null or (p.account_id = $2 and d.account_id = $2))
"""  # whoever has one account sees what went to its own endpoints: what another receiver answers is none of its business

_LIST = f"""{_SELECT}
    and ($3::uuid is null or d.endpoint_id = $3) and ($4::text is null or d.status = $4)
    and ($5::text is null or d.event_position = (select position from events where id = $5))
    and ($6::timestamptz is null or (d.created_at, d.id) < ($6, $7::bigint))
order by d.created_at desc, d.id desc limit $8
"""  # noqa: S608 - made of literals

_GET = f"{_SELECT} and d.id = $3"

_ATTEMPTS = "select * from attempts where delivery_id = $1 order by started_at, id"

_BACKLOG = """
select p.id, p.enabled, p.failing_since, pending.count as pending, pending.oldest, exhausted.count as exhausted
from endpoints p
cross join lateral (
    select count(*) as count, min(d.created_at) as oldest from deliveries d
    where d.endpoint_id = p.id and d.status = 'pending') pending
cross join lateral (
    select count(*) as count from deliveries d where d.endpoint_id = p.id and d.status = 'exhausted') exhausted
where p.deleted_at is null order by p.created_at, p.id
"""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; None stands for all."""

    endpoint_id: str | None = None
    event_id: str | None = None
    status: DeliveryStatus | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint, as it stands."""

    id: int
    endpoint_id: str
    event_id: str
    event_type: str
    """As the endpoint's version names it."""
    resource_id: str
    account_id: str
    status: DeliveryStatus
    attempts: int
    """Failed ones of the schedule in force."""
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    """None once it succeeded or was exhausted."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """One POST as it is remembered."""

    id: int
    started_at: datetime
    duration_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    response: bytes = field(repr=False)
    """First 16 KB of the answer's body, as sent."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an endpoint has not taken."""

    endpoint_id: str
    enabled: bool
    failing_since: datetime | None
    """When its outage began; None: it answers."""
    pending: int
    oldest_pending_at: datetime | None
    exhausted: int


class DeliveryLog:
    """Reads deliveries and their attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: DeliveryFilter, request: PageRequest, viewer: Viewer = OPERATOR) -> Page[Delivery]:
        """Return a page of deliveries, newest first. Raises `NotFoundError` for an endpoint id that is none."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _LIST,
                *_limits(viewer),
                None if wanted.endpoint_id is None else _parse(wanted.endpoint_id),
                None if wanted.status is None else wanted.status.value,
                wanted.event_id,
                *request.after_key(_delivery_id),
                request.limit + 1,
            )
        return to_page([_to_delivery(row) for row in rows], request, lambda found: (found.created_at, str(found.id)))

    async def get(self, delivery_id: int, viewer: Viewer = OPERATOR) -> tuple[Delivery, Sequence[StoredAttempt]]:
        """Return one delivery and its attempts, oldest first. Raises `NotFoundError`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_GET, *_limits(viewer), delivery_id)
            if row is None:
                message = f"there is no delivery {delivery_id}: `chainbell deliveries` shows their ids"
                raise NotFoundError(message)
            attempts = await connection.fetch(_ATTEMPTS, delivery_id)
        return _to_delivery(row), [_to_attempt(attempt) for attempt in attempts]

    async def backlogs(self) -> Sequence[Backlog]:
        """Count what every endpoint has not taken."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BACKLOG)
        return [
            Backlog(
                endpoint_id=str(row["id"]),
                enabled=row["enabled"],
                failing_since=row["failing_since"],
                pending=row["pending"],
                oldest_pending_at=row["oldest"],
                exhausted=row["exhausted"],
            )
            for row in rows
        ]


def _delivery_id(text: str) -> int:
    """Read an id from a cursor, which anybody may have made up. Raises `ValueError` for what no row can have."""
    number = int(text)
    if not 0 < number < 2**63:
        message = "out of the range of ids"
        raise ValueError(message)
    return number


def _to_delivery(row: Record) -> Delivery:
    status = DeliveryStatus(row["status"])
    legacy = row["version"] == WebhookVersion.V1.value
    return Delivery(
        id=row["id"],
        endpoint_id=str(row["endpoint_id"]),
        event_id=row["event_id"],
        event_type=row["v1_type"] if legacy else row["event_type"],
        resource_id=row["resource_id"],
        account_id=str(row["account_id"]),
        status=status,
        attempts=row["attempts"],
        attempted_at=row["attempted_at"],
        next_attempt_at=row["next_attempt_at"] if status is DeliveryStatus.PENDING else None,
        created_at=row["created_at"],
    )


def _to_attempt(row: Record) -> StoredAttempt:
    return StoredAttempt(
        id=row["id"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        outcome=row["outcome"],
        status_code=row["status_code"],
        error=row["error"],
        response=row["response"],
    )


def _limits(viewer: Viewer) -> tuple[str | None, str | None]:
    return None if viewer.mode is None else viewer.mode.value, viewer.account_id


def _parse(endpoint_id: str) -> UUID:
    try:
        return UUID(endpoint_id)
    except ValueError:
        raise no_endpoint(endpoint_id) from None
