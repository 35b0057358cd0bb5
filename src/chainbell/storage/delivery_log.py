"""What became of deliveries: listings, attempts and backlogs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from chainbell.domain.delivery import DeliveryStatus, WebhookVersion
from chainbell.domain.errors import NotFoundError
from chainbell.storage.accounts import OPERATOR, Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Database, Record
from chainbell.storage.endpoints import no_endpoint
from chainbell.storage.paging import Page, PageRequest, to_page

# What an account's viewer may not see is what another receiver answers: it has its own endpoints' deliveries only.
_SHOWN = """
d.*, v.id as event_id, v.type as event_type, v.v1_type, last.started_at as last_started_at,
last.duration_ms as last_duration_ms, last.outcome as last_outcome, last.status_code as last_status_code,
last.error as last_error
"""

_BESIDE = """
join events v on v.position = d.event_position
left join lateral (
    select * from attempts a where a.delivery_id = d.id and d.attempted_at is not null
    order by a.started_at desc, a.id desc limit 1
) last on true
"""

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
class LastAttempt:
    """The latest POST, without its answer's body."""

    started_at: datetime
    duration_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    """Why there was no complete answer, in words; None: there was one."""


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
    last: LastAttempt | None
    """What the latest attempt came to; None: there was none, or it is no longer kept."""


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


def listing(wanted: DeliveryFilter, viewer: Viewer, request: PageRequest) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments of a page.

    Each endpoint gives a page at most, which an index finds; so the cost does not follow the number of rows of others.
    Raises `NotFoundError` for an endpoint id that is none.
    """
    conditions, endpoints = Conditions(), Conditions()
    endpoints.arguments = conditions.arguments
    mode, account_id = viewer.parameters
    endpoints.equal("p.mode", mode)
    endpoints.equal("p.account_id", account_id)
    endpoints.equal("d.account_id", account_id)  # as its endpoint's filter has it anyway
    endpoints.equal("p.id", None if wanted.endpoint_id is None else _parse(wanted.endpoint_id))
    if wanted.status is not None:  # as a literal: which index holds only these must be known before it is asked
        conditions.demand(f"d.status = '{wanted.status.value}'")
    if wanted.event_id is not None:
        position = f"(select position from events where id = {conditions.place(wanted.event_id)})"  # noqa: S608 - literals
        conditions.demand(f"d.event_position = {position}")
    conditions.before("d.created_at, d.id", *request.after_key(_delivery_id))
    order = f"order by d.created_at desc, d.id desc limit {conditions.place(request.limit + 1)}"
    # An endpoint has one delivery of an event at most: to sort them would tempt PostgreSQL to read them in that order.
    of_each = order if wanted.event_id is None else ""
    sql = f"""
        select {_SHOWN} from (
            select d.*, p.version from endpoints p cross join lateral (
                select * from deliveries d where d.endpoint_id = p.id and {conditions} {of_each}
            ) d where {endpoints} {order}
        ) d {_BESIDE} order by d.created_at desc, d.id desc
    """  # noqa: S608 - the same, and placeholders
    return sql, conditions.arguments


class DeliveryLog:
    """Reads deliveries and their attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: DeliveryFilter, request: PageRequest, viewer: Viewer = OPERATOR) -> Page[Delivery]:
        """Return a page of deliveries, newest first. Raises `NotFoundError` for an endpoint id that is none."""
        sql, arguments = listing(wanted, viewer, request)
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *arguments)
        return to_page([_to_delivery(row) for row in rows], request, lambda found: (found.created_at, str(found.id)))

    async def get(self, delivery_id: int, viewer: Viewer = OPERATOR) -> tuple[Delivery, Sequence[StoredAttempt]]:
        """Return one delivery and its attempts, oldest first. Raises `NotFoundError`."""
        sql, arguments = _showing(delivery_id, viewer)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql, *arguments)
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


def _showing(delivery_id: int, viewer: Viewer) -> tuple[str, Sequence[object]]:
    conditions = Conditions()
    mode, account_id = viewer.parameters
    conditions.equal("p.mode", mode)
    conditions.equal("p.account_id", account_id)
    conditions.equal("d.account_id", account_id)
    conditions.equal("d.id", delivery_id)
    sql = f"""
        select {_SHOWN}, p.version from deliveries d join endpoints p on p.id = d.endpoint_id {_BESIDE} where {conditions}
    """  # noqa: S608 - the same
    return sql, conditions.arguments


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
        last=None if row["last_started_at"] is None else _to_last(row),
    )


def _to_last(row: Record) -> LastAttempt:
    return LastAttempt(
        started_at=row["last_started_at"],
        duration_ms=row["last_duration_ms"],
        outcome=row["last_outcome"],
        status_code=row["last_status_code"],
        error=row["last_error"],
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


def _parse(endpoint_id: str) -> UUID:
    try:
        return UUID(endpoint_id)
    except ValueError:
        raise no_endpoint(endpoint_id) from None
