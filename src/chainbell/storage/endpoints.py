"""Webhook endpoints. Every change of one takes the feed lock first, so that no endpoint misses an event of that moment."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from chainbell.delivery.signature import SECRET_BYTES, new_secret
from chainbell.delivery.targets import Network, check_url
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import Endpoint, WebhookVersion
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.events.subscription import check_filter
from chainbell.storage.accounts import OPERATOR, Viewer, check_accounts
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.locks import lock_feed
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.registrations import endpoint_removed, endpoint_saved, note
from chainbell.storage.sealing import SecretBox, adopt_secret_key
from chainbell.storage.wakeups import EVENTS_CHANNEL, notify

_LIVE = "select * from endpoints where deleted_at is null order by id"

_INSERT = """
insert into endpoints (account_id, url, version, mode, events, chains, accounts, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $8) returning *
"""

_INSERT_SECRET = "insert into endpoint_secrets (id, endpoint_id, key_id, sealed, created_at) values ($1, $2, $3, $4, $5)"  # noqa: S105 - SQL

_VISIBLE = "deleted_at is null and ($1::text is null or mode = $1) and ($2::uuid is null or account_id = $2)"

_LIST = f"""
select * from endpoints where {_VISIBLE} and ($3::timestamptz is null or (created_at, id) < ($3, $4::uuid))
order by created_at desc, id desc limit $5
"""  # noqa: S608 - made of literals

_GET = f"select * from endpoints where {_VISIBLE} and id = $3"  # noqa: S608 - the same

_UPDATE = """
update endpoints set url = $2, events = $3, chains = $4, accounts = $5, enabled = $6, disabled_reason = $7,
    failing_since = case when $6 and not enabled then null else failing_since end, updated_at = $8
where id = $1 returning *
"""

_DELETE = f"update endpoints set deleted_at = $4, updated_at = $4 where {_VISIBLE} and id = $3 returning id"  # noqa: S608

_DISABLE = """
update endpoints set enabled = false, disabled_reason = $2, updated_at = $3
where id = $1 and enabled and deleted_at is null
"""

DISABLED_BY_HAND = "disabled by hand"


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """What somebody asks for. Empty filters stand for all; with an account, only that account's events are sent."""

    url: str
    mode: Mode
    version: WebhookVersion = WebhookVersion.V2
    events: Sequence[str] = ()
    chains: Sequence[str] = ()
    """Names of chain definitions; whoever asks checks that they are there."""
    accounts: Sequence[str] = ()
    account_id: str | None = None
    """Who makes it and may see it; None: the operator."""


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What to change; None leaves it as it is. Version and mode never change."""

    url: str | None = None
    events: Sequence[str] | None = None
    chains: Sequence[str] | None = None
    accounts: Sequence[str] | None = None
    enabled: bool | None = None


async def live_endpoints(connection: Connection) -> list[Endpoint]:
    """Return every endpoint that is not deleted, also disabled ones: they stay subscribed."""
    return [to_endpoint(row) for row in await connection.fetch(_LIVE)]


async def disable_endpoint(connection: Connection, endpoint_id: str, reason: str, now: datetime) -> None:
    """Stop deliveries to an endpoint; the feed lock must be held."""
    await connection.execute(_DISABLE, endpoint_id, reason, now)


class EndpointStore:
    """Creates, lists, changes and deletes endpoints. `opened` are the internal networks that webhooks may go to."""

    def __init__(
        self,
        database: Database,
        box: SecretBox,
        opened: Sequence[Network] = (),
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._database = database
        self._box = box
        self._opened = opened
        self._random_bytes = random_bytes

    async def create(self, wanted: NewEndpoint, now: datetime) -> tuple[Endpoint, str]:
        """Register an endpoint, and return it with its signing secret, which is shown this once.

        It gets every event that is committed after this returns. Raises `InputError` for what cannot be registered.
        """
        async with self._database.transaction() as connection:
            return await self.create_in(connection, wanted, now)

    async def create_in(self, connection: Connection, wanted: NewEndpoint, now: datetime) -> tuple[Endpoint, str]:
        """Register an endpoint inside an open transaction. Raises as `create`."""
        wanted = replace(wanted, accounts=_accounts(wanted.account_id, wanted.accounts))
        check_url(wanted.url, self._opened)
        check_filter(wanted.version, wanted.events)
        await lock_feed(connection)
        await check_accounts(connection, wanted.mode, wanted.accounts)
        row = await connection.fetchrow(
            _INSERT,
            wanted.account_id,
            wanted.url,
            wanted.version.value,
            wanted.mode.value,
            _distinct(wanted.events),
            _distinct(wanted.chains),
            _distinct(wanted.accounts),
            now,
        )
        if row is None:
            message = "insert returned no row"
            raise AssertionError(message)
        endpoint = to_endpoint(row)
        note(connection, endpoint_saved(endpoint, now))
        return endpoint, await self._add_secret(connection, row["id"], now)

    async def list(self, request: PageRequest, viewer: Viewer = OPERATOR) -> Page[Endpoint]:
        """Return a page of endpoints, newest first."""
        async with self._database.connection() as connection:
            after = request.after_key(UUID)
            rows = await connection.fetch(_LIST, *_limits(viewer), *after, request.limit + 1)
        return to_page([to_endpoint(row) for row in rows], request, lambda endpoint: (endpoint.created_at, endpoint.id))

    async def get(self, endpoint_id: str, viewer: Viewer = OPERATOR) -> Endpoint:
        """Return one endpoint. Raises `NotFoundError`."""
        async with self._database.connection() as connection:
            return await _get(connection, endpoint_id, viewer)

    async def update(self, endpoint_id: str, change: EndpointChange, now: datetime, viewer: Viewer = OPERATOR) -> Endpoint:
        """Change an endpoint; one that is enabled again gets everything it missed meanwhile.

        Raises `NotFoundError`, and `InputError` for what cannot be.
        """
        async with self._database.transaction() as connection:
            return await self.update_in(connection, endpoint_id, change, now, viewer)

    async def update_in(
        self, connection: Connection, endpoint_id: str, change: EndpointChange, now: datetime, viewer: Viewer
    ) -> Endpoint:
        """Change an endpoint inside an open transaction. Raises as `update`."""
        await lock_feed(connection)
        endpoint = _changed(await _get(connection, endpoint_id, viewer), change)
        if change.url is not None:
            check_url(endpoint.url, self._opened)
        check_filter(endpoint.version, endpoint.events)
        await check_accounts(connection, endpoint.mode, endpoint.accounts)
        row = await connection.fetchrow(
            _UPDATE,
            endpoint.id,
            endpoint.url,
            _distinct(endpoint.events),
            _distinct(endpoint.chains),
            _distinct(endpoint.accounts),
            endpoint.enabled,
            endpoint.disabled_reason,
            now,
        )
        await notify(connection, EVENTS_CHANNEL)
        if row is None:
            message = "update returned no row"
            raise AssertionError(message)
        changed = to_endpoint(row)
        note(connection, endpoint_saved(changed, now))
        return changed

    async def delete(self, endpoint_id: str, now: datetime, viewer: Viewer = OPERATOR) -> None:
        """End an endpoint: it gets no new events, and nothing that is still waiting. Raises `NotFoundError`."""
        async with self._database.transaction() as connection:
            await self.delete_in(connection, endpoint_id, now, viewer)

    async def delete_in(self, connection: Connection, endpoint_id: str, now: datetime, viewer: Viewer) -> None:
        """End an endpoint inside an open transaction. Raises as `delete`."""
        await lock_feed(connection)
        deleted = await connection.fetchval(_DELETE, *_limits(viewer), _parse(endpoint_id), now)
        if deleted is None:
            raise no_endpoint(endpoint_id)
        note(connection, endpoint_removed(str(deleted), now))

    async def _add_secret(self, connection: Connection, endpoint_id: UUID, now: datetime) -> str:
        await adopt_secret_key(connection, self._box)
        secret, secret_id = new_secret(self._random_bytes(SECRET_BYTES)), uuid4()
        sealed = self._box.seal(secret.encode(), secret_row(secret_id))
        await connection.execute(_INSERT_SECRET, secret_id, endpoint_id, self._box.key_id, sealed, now)
        return secret


def to_endpoint(row: Record) -> Endpoint:
    """Read an endpoint from its row."""
    return Endpoint(
        id=str(row["id"]),
        url=row["url"],
        version=WebhookVersion(row["version"]),
        mode=Mode(row["mode"]),
        events=tuple(row["events"]),
        chains=tuple(row["chains"]),
        accounts=tuple(str(account) for account in row["accounts"]),
        enabled=row["enabled"],
        disabled_reason=row["disabled_reason"],
        created_at=row["created_at"],
        account_id=None if row["account_id"] is None else str(row["account_id"]),
    )


def secret_row(secret_id: UUID) -> str:
    """Return what a sealed signing secret belongs to."""
    return f"endpoint_secrets:{secret_id}"


def no_endpoint(endpoint_id: str) -> NotFoundError:
    """Say that an endpoint is not there."""
    return NotFoundError(f"there is no endpoint {endpoint_id}: `chainbell endpoint list` shows their ids")


async def _get(connection: Connection, endpoint_id: str, viewer: Viewer) -> Endpoint:
    row = await connection.fetchrow(_GET, *_limits(viewer), _parse(endpoint_id))
    if row is None:
        raise no_endpoint(endpoint_id)
    return to_endpoint(row)


def _changed(endpoint: Endpoint, change: EndpointChange) -> Endpoint:
    enabled = endpoint.enabled if change.enabled is None else change.enabled
    accounts = endpoint.accounts if change.accounts is None else change.accounts
    return replace(
        endpoint,
        url=endpoint.url if change.url is None else change.url,
        events=endpoint.events if change.events is None else tuple(change.events),
        chains=endpoint.chains if change.chains is None else tuple(change.chains),
        accounts=_accounts(endpoint.account_id, accounts),
        enabled=enabled,
        disabled_reason=None if enabled else endpoint.disabled_reason or DISABLED_BY_HAND,
    )


def _accounts(owner: str | None, accounts: Sequence[str]) -> tuple[str, ...]:
    """Return the filter: whoever has one account can hear of that account only."""
    if owner is None:
        return tuple(accounts)
    if set(accounts) - {owner}:
        message = f"this endpoint belongs to the account {owner} and can only get that account's events"
        raise InputError(message)
    return (owner,)


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _limits(viewer: Viewer) -> tuple[str | None, str | None]:
    return None if viewer.mode is None else viewer.mode.value, viewer.account_id


def _parse(endpoint_id: str) -> UUID:
    try:
        return UUID(endpoint_id)
    except ValueError:
        raise no_endpoint(endpoint_id) from None
