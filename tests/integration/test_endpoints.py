import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network

import pytest

from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.errors import ConfigurationError, InputError, NotFoundError
from chainbell.storage.accounts import Viewer
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.endpoints import EndpointChange, EndpointStore, NewEndpoint, live_endpoints
from chainbell.storage.locks import lock_feed
from chainbell.storage.paging import PageRequest
from chainbell.storage.sealing import SecretBox, check_secret_key
from tests.builders_delivery import BOX, NOW, SECOND

URL = "https://example.com/hook"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def endpoints(database: Database) -> EndpointStore:
    return EndpointStore(database, BOX)


async def account_of(database: Database, mode: Mode = Mode.TEST) -> str:
    async with database.connection() as connection:
        return str(await connection.fetchval("select id from accounts where mode = $1 and is_default", mode.value))


async def new_account(database: Database) -> str:
    async with database.connection() as connection:
        return str(await connection.fetchval("insert into accounts (mode, name) values ('test', 'Other') returning id"))


async def test_creates_an_endpoint_and_shows_its_secret_once(database: Database, endpoints: EndpointStore) -> None:
    """What was asked for is stored; the secret is sealed, and opens only for its own row."""
    wanted = NewEndpoint(URL, Mode.LIVE, WebhookVersion.V2, ["transaction.deposit.*"], ["ethereum"])
    endpoint, secret = await endpoints.create(wanted, NOW)
    assert (endpoint.url, endpoint.version, endpoint.mode) == (URL, WebhookVersion.V2, Mode.LIVE)
    assert (endpoint.events, endpoint.chains, endpoint.accounts) == (("transaction.deposit.*",), ("ethereum",), ())
    assert (endpoint.enabled, endpoint.created_at) == (True, NOW)
    assert await endpoints.get(endpoint.id) == endpoint
    assert secret.startswith("whsec_")
    async with database.connection() as connection:
        row = await connection.fetchrow("select * from endpoint_secrets")
        assert row is not None
        assert await connection.fetchval("select secret_key_id from installation") == BOX.key_id
    assert secret.encode() not in row["sealed"]
    assert row["key_id"] == BOX.key_id


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (NewEndpoint("http://10.0.0.1/", Mode.TEST), "CHAINBELL_ALLOWED_NETWORKS"),
        (NewEndpoint("nonsense", Mode.TEST), "https://"),
        (NewEndpoint(URL, Mode.TEST, events=["transaction.deposit.succes"]), "did you mean"),
        (NewEndpoint(URL, Mode.TEST, WebhookVersion.V1, ["transaction.deposit.success"]), "version 1"),
        (NewEndpoint(URL, Mode.TEST, accounts=["1f0ec6b4-63a5-4c5b-a1d0-111111111111"]), "no account"),
        (NewEndpoint(URL, Mode.TEST, accounts=["me"]), "UUID"),
    ],
)
async def test_refuses_what_cannot_be_registered(endpoints: EndpointStore, wanted: NewEndpoint, reason: str) -> None:
    """A wrong URL, filter or account is refused in words for people, and nothing is stored."""
    with pytest.raises(InputError, match=reason):
        await endpoints.create(wanted, NOW)
    assert (await endpoints.list(PageRequest())).items == []


async def test_an_opened_network_can_be_registered(database: Database) -> None:
    """The operator's setting lets an internal receiver in."""
    endpoints = EndpointStore(database, BOX, [ip_network("10.0.0.0/8")])
    endpoint, _ = await endpoints.create(NewEndpoint("http://10.0.0.1:8000/", Mode.TEST), NOW)
    assert endpoint.url == "http://10.0.0.1:8000/"


async def test_nothing_crosses_between_modes_and_accounts(database: Database, endpoints: EndpointStore) -> None:
    """Whoever sees one account sees its own endpoints only, and an endpoint of an account hears of that one only."""
    own, other = await account_of(database), await new_account(database)
    with pytest.raises(InputError, match="no account"):
        await endpoints.create(NewEndpoint(URL, Mode.LIVE, accounts=[own]), NOW)
    mine, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST, account_id=own), NOW)
    assert (mine.accounts, mine.account_id) == ((own,), own)
    with pytest.raises(InputError, match="only get that account's"):
        await endpoints.create(NewEndpoint(URL, Mode.TEST, accounts=[other], account_id=own), NOW)
    with pytest.raises(InputError, match="only get that account's"):
        await endpoints.update(mine.id, EndpointChange(accounts=[other]), NOW)
    await endpoints.update(mine.id, EndpointChange(accounts=[]), NOW)
    assert (await endpoints.get(mine.id)).accounts == (own,)
    operators, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    viewer = Viewer(Mode.TEST, own)
    assert [found.id for found in (await endpoints.list(PageRequest(), viewer)).items] == [mine.id]
    for stranger in (Viewer(Mode.TEST, other), Viewer(Mode.LIVE)):
        for call in (
            endpoints.get(mine.id, stranger),
            endpoints.update(mine.id, EndpointChange(enabled=False), NOW, stranger),
            endpoints.delete(mine.id, NOW, stranger),
        ):
            with pytest.raises(NotFoundError):
                await call
    with pytest.raises(NotFoundError):
        await endpoints.get(operators.id, viewer)


async def test_lists_newest_first_by_pages(endpoints: EndpointStore) -> None:
    """Every endpoint is listed once, newest first, also those made at the same time."""
    made = [(await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW + SECOND * (n // 2)))[0].id for n in range(5)]
    listed: list[str] = []
    cursor = None
    while True:
        page = await endpoints.list(PageRequest(2, cursor))
        listed.extend(endpoint.id for endpoint in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(listed) == sorted(made)
    assert [set(listed[:1]), set(listed[1:3]), set(listed[3:])] == [{made[4]}, {made[2], made[3]}, {made[0], made[1]}]


async def test_changes_only_what_is_asked(endpoints: EndpointStore) -> None:
    """A change leaves the rest; a wrong one changes nothing."""
    endpoint, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST, events=["transaction.*"]), NOW)
    changed = await endpoints.update(endpoint.id, EndpointChange(enabled=False), NOW + SECOND)
    assert (changed.enabled, changed.disabled_reason, changed.events) == (False, "disabled by hand", ("transaction.*",))
    changed = await endpoints.update(endpoint.id, EndpointChange(url="https://b.example/", events=[], enabled=True), NOW)
    assert (changed.enabled, changed.disabled_reason, changed.events) == (True, None, ())
    for change in (EndpointChange(url="http://127.0.0.1/"), EndpointChange(events=["no.such.event"])):
        with pytest.raises(InputError):
            await endpoints.update(endpoint.id, change, NOW)
    assert await endpoints.get(endpoint.id) == changed


async def test_a_deleted_endpoint_is_gone(database: Database, endpoints: EndpointStore) -> None:
    """It is neither listed nor found nor sent to; a second removal says that it is not there."""
    endpoint, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    kept, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    await endpoints.delete(endpoint.id, NOW)
    for id_ in (endpoint.id, "nonsense"):
        with pytest.raises(NotFoundError, match="endpoint list"):
            await endpoints.delete(id_, NOW)
    assert [found.id for found in (await endpoints.list(PageRequest())).items] == [kept.id]
    async with database.connection() as connection:
        assert [found.id for found in await live_endpoints(connection)] == [kept.id]


async def test_a_disabled_endpoint_stays_subscribed(database: Database, endpoints: EndpointStore) -> None:
    """The fan-out still sees it: its deliveries are kept for when it is enabled again."""
    endpoint, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    await endpoints.update(endpoint.id, EndpointChange(enabled=False), NOW)
    async with database.connection() as connection:
        assert [found.enabled for found in await live_endpoints(connection)] == [False]


async def test_every_change_waits_for_the_feed_lock(database: Database, endpoints: EndpointStore) -> None:
    """While a commit numbers its events nobody is created, changed or deleted, so no endpoint can miss one."""
    endpoint, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    doomed, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    async with database.transaction() as connection:
        await lock_feed(connection)
        changes = [
            asyncio.create_task(_run(endpoints.create(NewEndpoint(URL, Mode.TEST), NOW))),
            asyncio.create_task(_run(endpoints.update(endpoint.id, EndpointChange(enabled=False), NOW))),
            asyncio.create_task(_run(endpoints.delete(doomed.id, NOW))),
        ]
        done, _ = await asyncio.wait(changes, timeout=0.3)
        assert done == set()
        assert [(found.id, found.enabled) for found in await live_endpoints(connection)] == sorted(
            [(endpoint.id, True), (doomed.id, True)]
        )
    await asyncio.gather(*changes)


async def _run(call: object) -> None:
    assert asyncio.iscoroutine(call)
    await call


async def test_another_key_is_refused_before_it_does_harm(database: Database, endpoints: EndpointStore) -> None:
    """Once a secret is sealed, another key is refused at start and at the next secret; before that any key will do."""
    other = SecretBox(bytes(32))
    async with database.connection() as connection:
        await check_secret_key(connection, other)
        await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
        await check_secret_key(connection, BOX)
        with pytest.raises(ConfigurationError, match="set CHAINBELL_SECRET_KEY to the former one"):
            await check_secret_key(connection, other)
    with pytest.raises(ConfigurationError, match="sealed with the key"):
        await EndpointStore(database, other).create(NewEndpoint(URL, Mode.TEST), NOW)
    assert len((await endpoints.list(PageRequest())).items) == 1


async def test_enabling_ends_what_was_known_of_an_outage(database: Database, endpoints: EndpointStore) -> None:
    """An endpoint that is enabled again starts as a healthy one."""
    endpoint, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST), NOW)
    await endpoints.update(endpoint.id, EndpointChange(enabled=False), NOW)
    async with database.connection() as connection:
        await connection.execute("update endpoints set failing_since = $1", NOW)
        await endpoints.update(endpoint.id, EndpointChange(enabled=True), NOW)
        assert await connection.fetchval("select failing_since from endpoints") is None
    assert await PostgresDeliveryStore(database, BOX).next_due(NOW - timedelta(days=1)) is None
