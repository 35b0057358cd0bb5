"""Rows that deliveries need, written by plain SQL: events, endpoints and their secrets."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from chainbell.delivery.outcome import Attempt
from chainbell.delivery.port import Claim, DeliveryStore, Recorded, Result
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.storage.database import Database
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.sealing import SecretBox

KEY = bytes(range(32))
BOX = SecretBox(KEY)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)

_INSERT_EVENT = """
insert into events (position, id, type, v1_type, resource_id, sequence, occasion, mode, chain, account_id, generation,
                    created_at, body_v2, body_v1)
select $1, $2, 'transaction.deposit.pending', $3, $4,
    coalesce((select max(sequence) from events where resource_id = $4), 0) + 1, convert_to($2, 'utf8'), $5, 'anvil',
    (select id from accounts where mode = $5 and is_default), 0, $6, $7, $8
returning account_id
"""

_INSERT_DELIVERY = """
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, created_at,
                        updated_at)
values ($1, $2, $3, $4, 'pending', $5, $5, $5) returning id
"""


async def make_endpoint(
    database: Database,
    url: str = "https://example.com/hook",
    *,
    version: WebhookVersion = WebhookVersion.V2,
    mode: Mode = Mode.TEST,
    at: datetime = NOW,
) -> tuple[str, str]:
    """Return the id and the secret of a new endpoint; its URL is not checked."""
    store = EndpointStore(database, BOX)
    endpoint, secret = await store.create(NewEndpoint("https://example.com/", mode, version), at)
    async with database.connection() as connection:
        await connection.execute("update endpoints set url = $2 where id = $1", endpoint.id, url)
    return endpoint.id, secret


async def make_event(
    database: Database,
    *,
    resource: str | None = None,
    endpoints: Sequence[str] = (),
    at: datetime = NOW,
    legacy: bool = True,
    mode: Mode = Mode.TEST,
) -> tuple[str, list[int]]:
    """Append an event to the feed, with a delivery to each endpoint; return its id and theirs."""
    resource = resource or f"trx_{uuid4().hex}"
    event_id = f"evt_{uuid4().hex}"
    async with database.transaction() as connection:
        position = await connection.fetchval(
            "update installation set feed_position = feed_position + 1 returning feed_position"
        )
        account = await connection.fetchval(
            _INSERT_EVENT,
            position,
            event_id,
            "transaction.pending" if legacy else None,
            resource,
            mode.value,
            at,
            body_of(event_id, resource, position),
            b'{"event":"transaction.pending"}' if legacy else None,
        )
        ids = [
            await connection.fetchval(_INSERT_DELIVERY, endpoint, position, resource, account, at) for endpoint in endpoints
        ]
    return event_id, ids


def body_of(event_id: str, resource: str, position: int) -> bytes:
    """Return the body of an event of `make_event`."""
    return f'{{"id":"{event_id}","position":{position},"resource":"{resource}"}}'.encode()


async def record_one(
    store: DeliveryStore, claim: Claim, attempt: Attempt, now: datetime = NOW, jitter: float = 0.5
) -> Recorded | None:
    """Record one attempt alone."""
    (recorded,) = await store.record([Result(claim, attempt, jitter)], now)
    return recorded


async def make_backlog(database: Database, endpoint: str, count: int, *, resources: int, at: datetime = NOW) -> None:
    """Give one endpoint many pending deliveries, of so many resources in turn."""
    async with database.transaction() as connection:
        first = await connection.fetchval(
            "update installation set feed_position = feed_position + $1 returning feed_position - $1 + 1", count
        )
        await connection.execute(
            """
            insert into events (position, id, type, resource_id, sequence, occasion, mode, chain, account_id, generation,
                                created_at, body_v2)
            select $1 + n, 'evt_' || ($1 + n), 'transaction.deposit.pending', 'trx_' || $1 || '_' || n % $3, n / $3 + 1,
                '', 'test', 'anvil', (select id from accounts where mode = 'test' and is_default), 0, $4, '{}'
            from generate_series(0, $2::integer - 1) n
            """,
            first,
            count,
            resources,
            at,
        )
        await connection.execute(
            """
            insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at,
                                    created_at, updated_at)
            select $1, position, resource_id, account_id, 'pending', created_at, created_at, created_at
            from events where position >= $2 and position < $2 + $3
            """,
            endpoint,
            first,
            count,
        )


def key_of(secret: str) -> bytes:
    """Return the bytes of a signing secret."""
    return base64.b64decode(secret.removeprefix("whsec_"))
