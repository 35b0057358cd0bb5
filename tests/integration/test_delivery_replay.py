import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from chainbell.delivery.outcome import Attempt, Failure
from chainbell.delivery.port import Result, Room
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import DeliveryStatus, WebhookVersion
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.storage.accounts import Viewer
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.delivery_log import DeliveryFilter, DeliveryLog
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.locks import lock_lanes
from chainbell.storage.paging import PageRequest
from chainbell.storage.requeue import ReplayStore
from tests.builders_delivery import BOX, NOW, SECOND, make_endpoint, make_event
from tests.receivers import until

ROOM = Room(50, 50, 50, {})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresDeliveryStore:
    return PostgresDeliveryStore(database, BOX, [timedelta()])


@pytest.fixture
def log(database: Database) -> DeliveryLog:
    return DeliveryLog(database)


@pytest.fixture
def replays(database: Database) -> ReplayStore:
    return ReplayStore(database)


async def answer_all(store: PostgresDeliveryStore, status: int) -> None:
    for claim in (await store.claim(ROOM, timedelta(minutes=1), NOW)).claims:
        await store.record([Result(claim, Attempt(NOW, SECOND, status=status), 0.5)], NOW)


async def statuses(log: DeliveryLog) -> list[str]:
    return sorted(delivery.status.value for delivery in (await log.list(DeliveryFilter(), PageRequest())).items)


_WAITS_FOR_A_LANE = """
select exists (select from pg_locks l join pg_database b on b.oid = l.database
    where b.datname = current_database() and l.locktype = 'advisory' and not l.granted)
"""


async def test_what_was_replayed_meanwhile_is_not_queued_once_more_after_an_outage(
    database: Database, store: PostgresDeliveryStore, log: DeliveryLog, replays: ReplayStore
) -> None:
    """Somebody replays what an outage exhausted between its being found and its being queued: it is not sent once more."""
    endpoint, _ = await make_endpoint(database)
    _, (delivery,) = await make_event(database, resource="trx_1", endpoints=[endpoint])
    async with database.connection() as connection:
        await connection.execute("update deliveries set status = 'exhausted', outage = true, exhausted_at = $1", NOW)
    async with database.transaction() as connection:
        await lock_lanes(connection, [(endpoint, "trx_1")])
        requeueing = asyncio.create_task(store.requeue_after_outage(NOW + SECOND))

        async def waits() -> bool:
            return bool(await connection.fetchval(_WAITS_FOR_A_LANE))

        await until(waits)  # it has read the delivery, and has not written it yet
        await replays.delivery_in(connection, delivery, NOW, Viewer())
        await connection.execute("update deliveries set status = 'succeeded'")
    await requeueing
    found, _ = await log.get(delivery)
    assert found.status is DeliveryStatus.SUCCEEDED


async def test_replays_an_event_that_an_endpoint_never_got(
    database: Database, store: PostgresDeliveryStore, replays: ReplayStore
) -> None:
    """An endpoint that was made later can be given an older event; asking twice keeps it one delivery."""
    event, _ = await make_event(database)
    endpoint, _ = await make_endpoint(database)
    replayed = await replays.event(event, endpoint, NOW)
    (claim,) = (await store.claim(ROOM, timedelta(), NOW)).claims
    assert (claim.delivery_id, claim.event_id) == (replayed.delivery_id, event)
    assert await replays.event(event, endpoint, NOW) == replayed


async def test_replaying_what_is_being_sent_keeps_its_owner(
    database: Database, store: PostgresDeliveryStore, log: DeliveryLog, replays: ReplayStore
) -> None:
    """A replay during a POST takes nothing from the worker: that POST is the first of the new schedule."""
    endpoint, _ = await make_endpoint(database)
    _, (delivery,) = await make_event(database, endpoints=[endpoint])
    (claim,) = (await store.claim(ROOM, timedelta(minutes=1), NOW)).claims
    await replays.delivery(delivery, NOW)
    assert (await store.claim(ROOM, timedelta(minutes=1), NOW)).claims == []
    (recorded,) = await store.record([Result(claim, Attempt(NOW, SECOND, status=200), 0.5)], NOW)
    assert recorded is not None
    assert await statuses(log) == ["succeeded"]


async def test_a_replay_crosses_no_border(database: Database, replays: ReplayStore) -> None:
    """Another mode, another account, or a format without that event: refused with what to do."""
    endpoint, _ = await make_endpoint(database)
    legacy, _ = await make_endpoint(database, version=WebhookVersion.V1)
    async with database.connection() as connection:
        other = str(await connection.fetchval("insert into accounts (mode, name) values ('test', 'Other') returning id"))
    endpoints = EndpointStore(database, BOX)
    theirs, _ = await endpoints.create(NewEndpoint("https://a.example/", Mode.TEST, account_id=other), NOW)
    narrow, _ = await endpoints.create(NewEndpoint("https://a.example/", Mode.TEST, accounts=[other]), NOW)
    event, (delivery,) = await make_event(database, endpoints=[endpoint], legacy=False)
    live, _ = await make_event(database, mode=Mode.LIVE)
    with pytest.raises(InputError, match="does not exist in version 1"):
        await replays.event(event, legacy, NOW)
    with pytest.raises(InputError, match="add it to the endpoint first"):
        await replays.event(event, narrow.id, NOW)
    for event_id, endpoint_id in [(live, endpoint), (event, theirs.id), ("evt_none", endpoint), (event, "nonsense")]:
        with pytest.raises(NotFoundError):
            await replays.event(event_id, endpoint_id, NOW)
    for viewer in (Viewer(Mode.LIVE), Viewer(Mode.TEST, other)):
        with pytest.raises(NotFoundError):
            await replays.event(event, endpoint, NOW, viewer)
        with pytest.raises(NotFoundError):
            await replays.delivery(delivery, NOW, viewer)
    with pytest.raises(NotFoundError, match="chainbell deliveries"):
        await replays.delivery(999, NOW)


async def test_lists_deliveries_by_pages_and_filters(
    database: Database, store: PostgresDeliveryStore, log: DeliveryLog
) -> None:
    """Newest first, each once, and only what the filter and the viewer allow."""
    endpoint, _ = await make_endpoint(database)
    other, _ = await make_endpoint(database, version=WebhookVersion.V1)
    made = [(await make_event(database, endpoints=[endpoint, other], at=NOW - SECOND * n)) for n in range(4)]
    await answer_all(store, 200)
    await make_event(database, endpoints=[other])
    listed: list[int] = []
    cursor = None
    while True:
        page = await log.list(DeliveryFilter(), PageRequest(3, cursor))
        listed.extend(delivery.id for delivery in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(listed) == len(set(listed)) == 9
    assert listed[0] == 9

    async def found(wanted: DeliveryFilter, viewer: Viewer = Viewer()) -> int:  # noqa: B008 - frozen
        return len((await log.list(wanted, PageRequest(), viewer)).items)

    assert await found(DeliveryFilter(endpoint_id=endpoint)) == 4
    assert await found(DeliveryFilter(status=DeliveryStatus.PENDING)) == 1
    assert await found(DeliveryFilter(event_id=made[0][0])) == 2
    assert await found(DeliveryFilter(event_id="evt_none")) == 0
    assert await found(DeliveryFilter(), Viewer(Mode.LIVE)) == 0
    with pytest.raises(NotFoundError):
        await found(DeliveryFilter(endpoint_id="nonsense"))
    types = {
        delivery.endpoint_id: delivery.event_type for delivery in (await log.list(DeliveryFilter(), PageRequest())).items
    }
    assert types == {endpoint: "transaction.deposit.pending", other: "transaction.pending"}


async def test_an_account_sees_what_went_to_its_own_endpoints(database: Database, log: DeliveryLog) -> None:
    """What the operator's endpoint answers to an account's event is not shown to that account."""
    async with database.connection() as connection:
        account = str(await connection.fetchval("select id from accounts where mode = 'test' and is_default"))
    endpoints = EndpointStore(database, BOX)
    own, _ = await endpoints.create(NewEndpoint("https://a.example/", Mode.TEST, account_id=account), NOW)
    operators, _ = await make_endpoint(database)
    _, (mine, not_mine) = await make_event(database, endpoints=[own.id, operators])
    viewer = Viewer(Mode.TEST, account)
    assert [delivery.id for delivery in (await log.list(DeliveryFilter(), PageRequest(), viewer)).items] == [mine]
    assert (await log.get(mine, viewer))[0].endpoint_id == own.id
    with pytest.raises(NotFoundError):
        await log.get(not_mine, viewer)


async def test_a_delivery_shows_why_its_last_attempt_failed(
    database: Database, store: PostgresDeliveryStore, log: DeliveryLog
) -> None:
    """The latest attempt's status code, or why there was no complete answer; nothing before the first."""
    endpoint, _ = await make_endpoint(database)
    _, (delivery,) = await make_event(database, endpoints=[endpoint])
    assert (await log.get(delivery))[0].last is None
    schedule = PostgresDeliveryStore(database, BOX, [timedelta(), timedelta(), timedelta()])
    broken = Attempt(NOW + SECOND, SECOND, failure=Failure.TIMEOUT, detail="no complete answer within 20 s")
    for attempt, shown in (
        (Attempt(NOW, SECOND, status=503), (503, None)),
        (broken, (None, "timeout: no complete answer within 20 s")),
        (Attempt(NOW + 2 * SECOND, SECOND, status=404), (404, None)),
    ):
        (claim,) = (await schedule.claim(ROOM, timedelta(minutes=1), NOW + timedelta(hours=1))).claims
        await schedule.record([Result(claim, attempt, 0.5)], NOW + SECOND)
        (listed,) = (await log.list(DeliveryFilter(), PageRequest())).items
        assert listed == (await log.get(delivery))[0]
        assert listed.last is not None
        assert (listed.last.status_code, listed.last.error) == shown
        assert (listed.last.started_at, listed.last.duration_ms) == (attempt.started_at, 1000)


async def test_counts_what_is_not_taken(database: Database, store: PostgresDeliveryStore, log: DeliveryLog) -> None:
    """The backlog of each endpoint that is not deleted: how much waits, since when, and how much was given up."""
    endpoint, _ = await make_endpoint(database)
    deleted, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint, deleted])
    await answer_all(store, 404)
    await make_event(database, endpoints=[endpoint], at=NOW + SECOND)
    await EndpointStore(database, BOX).delete(deleted, NOW)
    (backlog,) = await log.backlogs()
    assert (backlog.endpoint_id, backlog.enabled, backlog.failing_since) == (endpoint, True, None)
    assert (backlog.pending, backlog.oldest_pending_at, backlog.exhausted) == (1, NOW + SECOND, 1)
