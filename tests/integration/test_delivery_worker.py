import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from chainbell.delivery.port import Claim, Claimed, Recorded, Result, Room
from chainbell.delivery.sender import HttpSender
from chainbell.delivery.worker import DeliveryWorker, Pace
from chainbell.domain.delivery import DeliveryStatus, WebhookVersion
from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.delivery_log import Delivery, DeliveryLog
from chainbell.storage.endpoints import EndpointChange, EndpointStore
from chainbell.storage.requeue import ReplayStore
from chainbell.storage.wakeups import EVENTS_CHANNEL, listen, notify
from chainbell.telemetry import clock
from tests.builders_delivery import BOX, make_endpoint, make_event
from tests.receivers import LOOPBACK, Got, Receiver, receiving, status, until

TIMEOUT = timedelta(seconds=1)
QUICK = Pace(lease_margin=timedelta(seconds=1), poll=timedelta(seconds=0.1), breath=timedelta(0), housekeeping=timedelta(0))
SCHEDULE = (timedelta(), timedelta(seconds=0.1), timedelta(seconds=0.1), timedelta(seconds=0.1))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def working(
    database: Database,
    *,
    schedule: Sequence[timedelta] = SCHEDULE,
    pace: Pace = QUICK,
    longest: timedelta = TIMEOUT,
    store: PostgresDeliveryStore | None = None,
    wake: asyncio.Event | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker; it is cancelled, and drains, at the end."""
    async with HttpSender(LOOPBACK, timeout=longest) as sender:
        worker = DeliveryWorker(
            store or PostgresDeliveryStore(database, BOX, schedule),
            sender,
            wake=wake or asyncio.Event(),
            jitter=lambda: 0.5,
            pace=pace,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def deliveries(database: Database) -> list[Delivery]:
    log = DeliveryLog(database)
    async with database.connection() as connection:
        ids = [row["id"] for row in await connection.fetch("select id from deliveries order by id")]
    return [(await log.get(id_))[0] for id_ in ids]


def all_are(database: Database, wanted: DeliveryStatus) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return all(delivery.status is wanted for delivery in await deliveries(database))

    return condition


async def outcomes(database: Database, delivery_id: int) -> list[str]:
    _, attempts = await DeliveryLog(database).get(delivery_id)
    return [attempt.outcome for attempt in attempts]


async def test_delivers_both_versions_signed_for_the_published_library(database: Database, receiver: Receiver) -> None:
    """A v2 and a v1 endpoint each get their format, and `standardwebhooks` verifies both unchanged."""
    modern, modern_secret = await make_endpoint(database, f"{receiver.url}/v2")
    legacy, legacy_secret = await make_endpoint(database, f"{receiver.url}/v1", version=WebhookVersion.V1)
    event, _ = await make_event(database, endpoints=[modern, legacy], at=clock.now())
    async with working(database):
        await receiver.wait_for(2)
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    got = {entry.path: entry for entry in receiver.got}
    assert Webhook(modern_secret).verify(got["/v2"].body, got["/v2"].headers)["id"] == event
    assert Webhook(legacy_secret).verify(got["/v1"].body, got["/v1"].headers) == {"event": "transaction.pending"}
    assert (got["/v2"].event_id, got["/v1"].event_id) == (event, f"{event}_v1")
    assert "x-signature" in got["/v1"].headers


async def test_every_transaction_is_told_in_order(database: Database, receiver: Receiver) -> None:
    """Five events of each of four transactions arrive in their order, though the receiver fails now and then."""
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    failed: set[str] = set()

    async def stumble(_request: web.Request, got: Got) -> web.Response:
        first = got.event_id not in failed and json.loads(got.body)["position"] % 3 == 0
        failed.add(got.event_id)
        return web.Response(status=503 if first else 200)

    receiver.answers["/hook"] = stumble
    expected: dict[str, list[str]] = {}
    for _ in range(5):
        for resource in ("a", "b", "c", "d"):
            event, _ = await make_event(database, resource=resource, endpoints=[endpoint], at=clock.now())
            expected.setdefault(resource, []).append(event)
    async with working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    told: dict[str, list[str]] = {}
    for got in receiver.got:
        events = told.setdefault(json.loads(got.body)["resource"], [])
        if got.event_id not in events:
            events.append(got.event_id)
    assert told == expected
    bodies: dict[str, bytes] = {}
    assert all(bodies.setdefault(got.event_id, got.body) == got.body for got in receiver.got)


async def test_a_dead_endpoint_harms_nobody(database: Database, receiver: Receiver) -> None:
    """While one endpoint hangs with a long backlog, another gets everything; the dead one is asked one at a time."""
    release = asyncio.Event()

    async def hang(_request: web.Request, _got: Got) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answers["/dead"] = hang
    dead, _ = await make_endpoint(database, f"{receiver.url}/dead")
    healthy, _ = await make_endpoint(database, f"{receiver.url}/healthy")
    for _ in range(30):
        await make_event(database, endpoints=[dead], at=clock.now())
    pace = Pace(concurrency=4, per_endpoint=3, lease_margin=timedelta(seconds=1), poll=timedelta(seconds=0.1))
    async with working(database, pace=pace, longest=timedelta(seconds=0.5)):
        await receiver.wait_for(3)
        events = [(await make_event(database, endpoints=[healthy], at=clock.now()))[0] for _ in range(30)]

        async def delivered() -> bool:
            return set(receiver.ids("/healthy")) == set(events)

        await until(delivered)
        assert len(receiver.ids("/dead")) < 15
        release.set()


async def test_an_endpoint_that_hangs_takes_only_its_own_places(database: Database, receiver: Receiver) -> None:
    """While one endpoint keeps every POST it gets open, another is served: nobody takes all places of a worker."""
    hanging, _ = await make_endpoint(database, f"{receiver.url}/hangs")
    healthy, _ = await make_endpoint(database, f"{receiver.url}/healthy")
    released = asyncio.Event()

    async def hang(_request: web.Request, _got: Got) -> web.Response:
        await released.wait()
        return web.Response(status=204)

    receiver.answers["/hangs"] = hang
    for number in range(10):
        await make_event(database, endpoints=[hanging], resource=f"trx_{number}", at=clock.now())
    async with working(database, pace=replace(QUICK, concurrency=4, per_endpoint=2), longest=timedelta(seconds=15)):
        await receiver.wait_for(2)
        await make_event(database, endpoints=[healthy], resource="trx_other", at=clock.now())
        await until(lambda: _arrived(receiver, "/healthy"))
        assert len(receiver.ids("/hangs")) == 2
        released.set()
        await until(all_are(database, DeliveryStatus.SUCCEEDED))


async def _arrived(receiver: Receiver, path: str) -> bool:
    return bool(receiver.ids(path))


async def test_an_endpoint_that_answers_again_gets_what_was_given_up(database: Database, receiver: Receiver) -> None:
    """What was exhausted in an outage is sent once more by itself when the endpoint takes something again."""
    receiver.answers["/hook"] = status(500)
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    for _ in range(3):
        await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):
        await until(all_are(database, DeliveryStatus.EXHAUSTED))
        del receiver.answers["/hook"]
        await make_event(database, endpoints=[endpoint], at=clock.now())
        await until(all_are(database, DeliveryStatus.SUCCEEDED))


async def test_410_disables_and_enabling_goes_on_where_it_stood(database: Database, receiver: Receiver) -> None:
    """After a 410 nothing more is sent; once enabled again, everything that came meanwhile is, in order."""
    receiver.answers["/hook"] = status(410)
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    events = [(await make_event(database, resource="trx", endpoints=[endpoint], at=clock.now()))[0] for _ in range(3)]
    endpoints = EndpointStore(database, BOX)
    async with working(database):

        async def disabled() -> bool:
            return not (await endpoints.get(endpoint)).enabled

        await until(disabled)
        assert receiver.ids() == events[:1]
        del receiver.answers["/hook"]
        await endpoints.update(endpoint, EndpointChange(enabled=True), clock.now())
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert receiver.ids() == [events[0], *events]


async def test_retry_after_is_waited_for(database: Database, receiver: Receiver) -> None:
    """A receiver that asks for time is left alone for that long, far beyond the schedule's own delay."""
    receiver.answers["/hook"] = status(429, retry_after="3600")
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):

        async def attempted() -> bool:
            return (await deliveries(database))[0].attempts == 1

        await until(attempted)
    (delivery,) = await deliveries(database)
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at > clock.now() + timedelta(minutes=59)


async def test_internal_addresses_are_refused_from_the_start(database: Database, receiver: Receiver) -> None:
    """An endpoint that leads inside is never asked, also when its row says so; the attempt tells why."""
    endpoint, _ = await make_endpoint(database, receiver.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"))
    _, (delivery,) = await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):
        await until(all_are(database, DeliveryStatus.EXHAUSTED))
    _, attempts = await DeliveryLog(database).get(delivery)
    assert {(attempt.status_code, str(attempt.error).partition(":")[0]) for attempt in attempts} == {
        (None, "target_refused")
    }
    assert receiver.got == []


async def test_every_attempt_is_stored_with_its_answer(database: Database, receiver: Receiver) -> None:
    """Status, duration and the first 16 KB of each answer are kept, oldest first."""
    replies = [web.Response(status=500, body=b"x" * 20_000), web.Response(status=204)]

    async def reply(_request: web.Request, _got: Got) -> web.Response:
        return replies.pop(0)

    receiver.answers["/hook"] = reply
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    _, (delivery,) = await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    _, (first, second) = await DeliveryLog(database).get(delivery)
    assert (first.status_code, first.outcome, first.response) == (500, "failed", b"x" * 16_384)
    assert (second.status_code, second.outcome, second.response) == (204, "succeeded", b"")
    assert first.started_at < second.started_at


async def test_a_worker_that_dies_mid_post_is_rescued(database: Database, receiver: Receiver) -> None:
    """A POST whose worker vanished without a trace is sent again, by another, once its lease is over."""

    class Vanishing(PostgresDeliveryStore):
        claimed = False

        async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
            found = Claimed([], more=False) if self.claimed else await super().claim(room, lease, now)
            self.claimed = self.claimed or bool(found.claims)
            return found

        async def record(self, results: Sequence[Result], now: datetime) -> NoReturn:
            del results, now
            await asyncio.Event().wait()
            raise AssertionError

        async def give_back(self, claims: Sequence[Claim]) -> None:
            """Tell nobody."""

    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    event, _ = await make_event(database, endpoints=[endpoint], at=clock.now())
    dying = Pace(lease_margin=timedelta(seconds=0.4), poll=timedelta(seconds=0.1))
    brief = timedelta(seconds=0.4)
    async with working(database, store=Vanishing(database, BOX), pace=dying, longest=brief):
        await receiver.wait_for(1)
        async with working(database, pace=dying, longest=brief):
            await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert receiver.ids() == [event, event]


async def test_two_workers_send_nothing_twice(database: Database, receiver: Receiver) -> None:
    """Two workers over one backlog: every event arrives exactly once."""
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    events = [(await make_event(database, endpoints=[endpoint], at=clock.now()))[0] for _ in range(100)]
    async with working(database), working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert sorted(receiver.ids()) == sorted(events)
    assert receiver.most_in_flight <= 2 * QUICK.per_endpoint


async def test_a_shutdown_lets_running_posts_end_and_records_them(database: Database, receiver: Receiver) -> None:
    """A cancelled worker claims nothing more, waits for the POST that runs, and writes its result."""
    release = asyncio.Event()

    async def wait(_request: web.Request, _got: Got) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answers["/hook"] = wait
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    _, (delivery,) = await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database, longest=timedelta(seconds=20)) as task:
        await receiver.wait_for(1)
        task.cancel()
        await make_event(database, endpoints=[endpoint], at=clock.now())
        done, _ = await asyncio.wait([task], timeout=0.2)
        assert not done
        release.set()
        await asyncio.wait([task])
    assert await outcomes(database, delivery) == ["succeeded"]
    assert len(receiver.got) == 1


async def test_a_shutdown_gives_back_what_was_just_claimed(database: Database, receiver: Receiver) -> None:
    """What was claimed, but not sent when the worker had to stop, need not wait for the lease to end."""
    claiming = asyncio.Event()
    go_on = asyncio.Event()

    class Slow(PostgresDeliveryStore):
        async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
            found = await super().claim(room, lease, now)
            claiming.set()
            await go_on.wait()
            return found

    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database, store=Slow(database, BOX), pace=Pace(lease_margin=timedelta(hours=1))) as task:
        await claiming.wait()
        task.cancel()
        go_on.set()
        await asyncio.wait([task])
    assert receiver.got == []
    async with working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))


async def test_nothing_is_sent_on_a_lease_that_is_nearly_over(database: Database, receiver: Receiver) -> None:
    """A worker that slept between claim and POST gives the delivery back instead of sending it."""
    slept: list[int] = []

    class Sleepy(PostgresDeliveryStore):
        async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
            found = await super().claim(room, lease, now)
            if found.claims and not slept:
                slept.append(len(receiver.got))
                await asyncio.sleep(QUICK.lease_margin.total_seconds() / 2 + 0.1)
            return found

        async def give_back(self, claims: Sequence[Claim]) -> None:
            slept.append(len(receiver.got))
            await super().give_back(claims)

    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database, store=Sleepy(database, BOX)):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert slept[:2] == [0, 0]
    assert len(receiver.got) == 1


async def test_a_database_that_is_away_costs_nothing(database: Database, receiver: Receiver) -> None:
    """While the database does not answer, the result of a POST that was made is kept, and written when it is back."""
    broken = 3

    class Shaky(PostgresDeliveryStore):
        failures = 0

        async def claim(self, room: Room, lease: timedelta, now: datetime) -> Claimed:
            if self.failures < broken:
                self.failures += 1
                message = "PostgreSQL does not answer"
                raise DatabaseError(message)
            return await super().claim(room, lease, now)

        async def record(self, results: Sequence[Result], now: datetime) -> Sequence[Recorded | None]:
            if self.failures < 2 * broken:
                self.failures += 1
                message = "PostgreSQL does not answer"
                raise DatabaseError(message)
            return await super().record(results, now)

    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database, store=Shaky(database, BOX)):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert len(receiver.got) == 1


async def test_a_notification_wakes_the_worker(database: Database, receiver: Receiver) -> None:
    """With LISTEN a new event is sent at once, long before the next poll; a broken connection is an error to be healed."""
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    wake = asyncio.Event()
    lazy = Pace(poll=timedelta(minutes=10))
    async with working(database, pace=lazy, wake=wake):
        listener = asyncio.create_task(listen(database, EVENTS_CHANNEL, wake))
        await until(lambda: _is_listening(database))
        await make_event(database, endpoints=[endpoint], at=clock.now())
        async with database.transaction() as connection:
            await notify(connection, EVENTS_CHANNEL)
        await receiver.wait_for(1)
        async with database.connection() as connection:
            await connection.execute(f"{_LISTENERS.replace('count(*)', 'pg_terminate_backend(pid)')}")
        with pytest.raises(DatabaseError, match="until it is back"):
            await listener


_LISTENERS = "select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()"


async def _is_listening(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(await connection.fetchval(_LISTENERS))


async def test_a_replay_is_sent_at_once(database: Database, receiver: Receiver) -> None:
    """A delivery that succeeded long ago is sent again when somebody asks for it: same id, same bytes."""
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    event, (delivery,) = await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
        await ReplayStore(database).delivery(delivery, clock.now())
        await receiver.wait_for(2)
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert receiver.ids() == [event, event]
    assert receiver.got[0].body == receiver.got[1].body


async def test_no_transaction_is_open_while_a_post_runs(database: Database, receiver: Receiver) -> None:
    """During a POST no connection of ours is inside a transaction."""
    seen: list[int] = []

    async def look(_request: web.Request, _got: Got) -> web.Response:
        async with database.connection() as connection:
            seen.append(
                await connection.fetchval(
                    "select count(*) from pg_stat_activity where datname = current_database() "
                    "and state like 'idle in transaction%'"
                )
            )
        return web.Response()

    receiver.answers["/hook"] = look
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    await make_event(database, endpoints=[endpoint], at=clock.now())
    async with working(database):
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert seen == [0]


async def test_a_server_that_restarts_is_waited_for(database: Database, receiver: Receiver, database_url: str) -> None:
    """When the server drops every connection, the worker goes on as soon as it can connect again."""
    endpoint, _ = await make_endpoint(database, f"{receiver.url}/hook")
    async with working(database):
        admin = await asyncpg.connect(database_url)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await admin.close()

        async def told() -> bool:
            try:
                await make_event(database, endpoints=[endpoint], at=clock.now())
            except DatabaseError:
                return False
            return True

        await until(told)
        await until(all_are(database, DeliveryStatus.SUCCEEDED))
    assert len(receiver.got) == 1


async def test_a_secret_that_cannot_be_opened_is_its_endpoints_trouble_alone(database: Database, receiver: Receiver) -> None:
    """Nothing is sent unsigned: the attempt says why; the others get theirs, and once it is mended a replay is sent."""
    bad, _ = await make_endpoint(database, f"{receiver.url}/bad")
    good, _ = await make_endpoint(database, f"{receiver.url}/good")
    event, (lost, sent) = await make_event(database, endpoints=[bad, good], at=clock.now())
    flip = "update endpoint_secrets set sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) where endpoint_id = $1"
    async with database.connection() as connection:
        await connection.execute(flip, bad)
    log = DeliveryLog(database)

    async def given_up() -> bool:
        return (await log.get(lost))[0].status is DeliveryStatus.EXHAUSTED

    async def delivered() -> bool:
        return (await log.get(lost))[0].status is DeliveryStatus.SUCCEEDED

    async with working(database):
        await until(given_up)
        assert receiver.ids("/good") == [event]
        assert receiver.ids("/bad") == []
        delivery, attempts = await log.get(lost)
        assert {(attempt.outcome, attempt.status_code) for attempt in attempts} == {("failed", None)}
        assert "secret cannot be opened" in str(attempts[0].error)
        assert (await log.get(sent))[0].status is DeliveryStatus.SUCCEEDED
        async with database.connection() as connection:
            await connection.execute(flip, bad)
        await ReplayStore(database).delivery(delivery.id, clock.now())
        await until(delivered)
    assert receiver.ids("/bad") == [event]
