"""Replays of many deliveries: what they take, that they survive whoever works at them, and what receivers see of them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from chainbell.app.replaying import work_off, work_off_replays
from chainbell.delivery.outcome import Attempt
from chainbell.delivery.port import Result, Room
from chainbell.delivery.sender import HttpSender
from chainbell.delivery.worker import DeliveryWorker, Pace
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.errors import DatabaseError, InputError, NotFoundError
from chainbell.events.publish import publish
from chainbell.storage.accounts import OPERATOR, Viewer
from chainbell.storage.database import Connection, Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.event_list import FeedCursor
from chainbell.storage.feed import Feed
from chainbell.storage.locks import LANE_LOCKS, lock_lanes
from chainbell.storage.paging import PageRequest
from chainbell.storage.replay_steps import step, step_any
from chainbell.storage.replays import NewReplay, Replay, ReplayJobs, ReplayKind
from chainbell.telemetry import clock
from tests import merchant
from tests.api_client import _unseen, api_house
from tests.builders import deepened, included, walk
from tests.builders_delivery import BOX, NOW, SECOND, make_backlog, make_endpoint, make_event
from tests.receivers import LOOPBACK, until

URL = "https://a.example/"
QUICK = Pace(lease_margin=SECOND, poll=timedelta(seconds=0.1), breath=timedelta(0), housekeeping=timedelta(0))
EVERY_LANE = [(f"{number}", "") for number in range(LANE_LOCKS * 20)]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def jobs(database: Database) -> ReplayJobs:
    return ReplayJobs(database)


async def finish(database: Database, replay: Replay, *, size: int = 2) -> Replay:
    """Work a replay off, step by step."""
    while replay.finished_at is None:
        replay = await step(database, replay.id, clock.now(), size=size)
    return replay


async def ask(
    jobs: ReplayJobs, endpoint: str, what: ReplayKind, since: datetime | None = None, until: datetime | None = None
) -> Replay:
    return await jobs.create(NewReplay(endpoint, what, since, until), clock.now())


async def statuses(database: Database, endpoint: str) -> dict[int, str]:
    """Return the position and the status of everything that an endpoint has."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "select event_position, status from deliveries where endpoint_id = $1 order by 1", endpoint
        )
    return {row["event_position"]: row["status"] for row in rows}


async def set_all(database: Database, status: str, *positions: int) -> None:
    """Give deliveries of these positions, or all, a status, as if it had come about in time."""
    async with database.connection() as connection:
        await connection.execute(
            "update deliveries set status = $1, exhausted_at = case when $1 = 'exhausted' then $2::timestamptz end "
            "where $3 or event_position = any($4)",
            status,
            NOW,
            not positions,
            list(positions),
        )


async def test_all_that_failed_is_sent_again_to_one_endpoint(database: Database, jobs: ReplayJobs) -> None:
    """What was exhausted when it was asked for is pending again; successes, another endpoint and later failures are not."""
    first, _ = await make_endpoint(database)
    second, _ = await make_endpoint(database)
    for _ in range(7):
        await make_event(database, endpoints=[first, second])
    await set_all(database, "exhausted")
    await set_all(database, "succeeded", 3)
    replay = await ask(jobs, first, ReplayKind.FAILED)
    assert (replay.total, replay.checked, replay.queued, replay.finished_at) == (6, 0, 0, None)
    async with database.connection() as connection:
        await connection.execute("update deliveries set exhausted_at = now() + interval '1 h' where event_position = 7")
    ended = await finish(database, replay)
    assert (ended.checked, ended.queued, ended.stopped_reason) == (5, 5, None)
    pending = dict.fromkeys((1, 2, 4, 5, 6), "pending")
    assert await statuses(database, first) == pending | {3: "succeeded", 7: "exhausted"}
    assert await statuses(database, second) == dict.fromkeys(range(1, 8), "exhausted") | {3: "succeeded"}
    assert await finish(database, ended) == ended


async def test_what_failed_can_be_bounded_by_time(database: Database, jobs: ReplayJobs) -> None:
    """From `since` on, before `until`, by the time of the event's commit, in whatever order these times are in the feed."""
    endpoint, _ = await make_endpoint(database)
    for minute in (0, 3, 1, 2, 4):
        await make_event(database, endpoints=[endpoint], at=NOW + timedelta(minutes=minute))
    await set_all(database, "exhausted")
    bounds = (NOW + timedelta(minutes=1), NOW + timedelta(minutes=3))
    ended = await finish(database, await ask(jobs, endpoint, ReplayKind.FAILED, *bounds))
    assert (ended.total, ended.checked, ended.queued) == (2, 2, 2)
    exhausted = dict.fromkeys((1, 2, 5), "exhausted")
    assert await statuses(database, endpoint) == exhausted | {3: "pending", 4: "pending"}


async def _tell(database_url: str) -> str:
    """Tell deposits of two accounts on two chains through the real fan-out, each of its steps, and return the account."""
    async with api_house(database_url) as house:
        other = await house.account()
        for number, (chain, account) in enumerate(
            (("anvil", None), ("anvil", other), ("sepolia", None), ("ethereum", None))
        ):
            definition = house.services.chains[chain]
            async with house.database.transaction() as connection:
                record = await _unseen(connection, definition, number, account)
                _, events = walk(record, [included(), deepened(101), deepened(102)], now=NOW + number * SECOND)
                await publish(Feed(connection), events)
    return other


async def test_missing_is_what_an_endpoint_would_have_got(database: Database, jobs: ReplayJobs, database_url: str) -> None:
    """For each filter a newcomer's missing events are, one for one, what its twin got at their fan-out."""
    endpoints = EndpointStore(database, BOX)
    async with database.connection() as connection:
        account = str(await connection.fetchval("select id from accounts where mode = 'test' and is_default"))
    wanted = [
        NewEndpoint(URL, Mode.TEST),
        NewEndpoint(URL, Mode.LIVE),
        NewEndpoint(URL, Mode.TEST, WebhookVersion.V1),
        NewEndpoint(URL, Mode.TEST, WebhookVersion.V1, events=["transaction.success"]),
        NewEndpoint(URL, Mode.TEST, events=["transaction.deposit.*"]),
        NewEndpoint(URL, Mode.TEST, events=["*", "transaction.deposit.confirmation"]),
        NewEndpoint(URL, Mode.TEST, events=["transaction.deposit.success"]),
        NewEndpoint(URL, Mode.TEST, chains=["sepolia"]),
        NewEndpoint(URL, Mode.TEST, accounts=[account]),
        NewEndpoint(URL, Mode.TEST, account_id=account),
    ]
    twins = [(await endpoints.create(one, NOW))[0].id for one in wanted]
    await _tell(database_url)
    got = [list(await statuses(database, twin)) for twin in twins]
    assert all(got)
    assert len({tuple(positions) for positions in got}) == 6
    for one, positions in zip(wanted, got, strict=True):
        newcomer = (await endpoints.create(one, NOW))[0].id
        replay = await finish(database, await ask(jobs, newcomer, ReplayKind.MISSING, NOW))
        assert list(await statuses(database, newcomer)) == positions, one
        assert (replay.queued, replay.checked) == (len(positions), replay.total)
        again = await finish(database, await ask(jobs, newcomer, ReplayKind.MISSING, NOW))
        assert again.queued == 0


async def test_missing_leaves_alone_what_is_there_and_what_is_silent(database: Database, jobs: ReplayJobs) -> None:
    """An event with a delivery is not missing, whatever became of it; a silent one never is; nor one before the time."""
    endpoint, _ = await make_endpoint(database)
    for number in range(1, 7):
        given = [endpoint] if number in {2, 4} else []
        await make_event(database, endpoints=given, at=NOW + number * SECOND)
    await set_all(database, "exhausted", 2)
    await set_all(database, "succeeded", 4)
    async with database.connection() as connection:
        await connection.execute("update events set silent = true where position = 3")
    ended = await finish(database, await ask(jobs, endpoint, ReplayKind.MISSING, NOW + 2 * SECOND))
    assert (ended.total, ended.checked, ended.queued) == (5, 5, 2)
    expected = {2: "exhausted", 4: "succeeded", 5: "pending", 6: "pending"}
    assert await statuses(database, endpoint) == expected


async def test_version_1_misses_only_what_it_can_be_told(database: Database, jobs: ReplayJobs) -> None:
    """An event without a v1 body is not sent to a v1 endpoint, even where the legacy format has a name for it."""
    legacy, _ = await make_endpoint(database, version=WebhookVersion.V1)
    await make_event(database)
    await make_event(database, legacy=False)
    await make_event(database)
    async with database.connection() as connection:
        await connection.execute("update events set body_v1 = null where position = 3")
    assert (await finish(database, await ask(jobs, legacy, ReplayKind.MISSING, NOW))).queued == 1
    assert list(await statuses(database, legacy)) == [1]


async def test_a_range_is_everything_sent_or_missing(database: Database, jobs: ReplayJobs) -> None:
    """Succeeded, exhausted, pending and missing ones inside of the bounds; nothing outside; by times and by cursors."""
    endpoint, _ = await make_endpoint(database)
    for number in range(1, 8):
        await make_event(database, endpoints=[] if number in {1, 4, 7} else [endpoint], at=NOW + number * SECOND)
    for wanted in (
        NewReplay(endpoint, ReplayKind.RANGE, since=NOW + 2 * SECOND, until=NOW + 6 * SECOND),
        NewReplay(endpoint, ReplayKind.RANGE, after=FeedCursor(0, 1), through=FeedCursor(0, 5)),
    ):
        async with database.connection() as connection:
            await connection.execute("delete from deliveries where event_position = 4")
        await set_all(database, "succeeded", 2, 6)
        await set_all(database, "exhausted", 3)
        ended = await finish(database, await jobs.create(wanted, clock.now()))
        assert (ended.total, ended.checked, ended.queued) == (4, 4, 4)
        expected = dict.fromkeys((2, 3, 4, 5), "pending") | {6: "succeeded"}
        assert await statuses(database, endpoint) == expected


async def test_a_range_holds_what_was_sent_under_an_older_filter(database: Database, jobs: ReplayJobs) -> None:
    """What an endpoint once got is sent again also if its filter is another one today; missing is judged by today's."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    await make_event(database)
    async with database.connection() as connection:
        await connection.execute("update endpoints set events = '{transaction.deposit.success}'")
    await set_all(database, "succeeded")
    assert (await finish(database, await ask(jobs, endpoint, ReplayKind.RANGE, NOW))).queued == 1
    assert await statuses(database, endpoint) == {1: "pending"}


async def test_a_range_harms_nothing_that_is_being_sent(database: Database, jobs: ReplayJobs) -> None:
    """What is in flight keeps its owner, and that POST's success is its end."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    store = PostgresDeliveryStore(database, BOX)
    room = Room(50, 50, 50, {})
    (claim,) = (await store.claim(room, timedelta(minutes=1), NOW)).claims
    assert (await finish(database, await ask(jobs, endpoint, ReplayKind.RANGE, NOW))).queued == 1
    assert (await store.claim(room, timedelta(minutes=1), clock.now())).claims == []
    (recorded,) = await store.record([Result(claim, Attempt(NOW, SECOND, status=200), 0.5)], clock.now())
    assert recorded is not None
    assert await statuses(database, endpoint) == {1: "succeeded"}


async def test_a_step_that_dies_in_the_middle_leaves_nothing(
    database: Database, jobs: ReplayJobs, database_url: str
) -> None:
    """Killed before its commit, a step has queued nothing and moved nothing; whoever comes next queues all, each once."""
    endpoint, _ = await make_endpoint(database)
    await make_backlog(database, endpoint, 7, resources=3, at=NOW)
    await set_all(database, "succeeded")
    made = await ask(jobs, endpoint, ReplayKind.RANGE, NOW)
    begun = await step(database, made.id, clock.now(), size=3)
    assert (begun.checked, begun.queued) == (3, 3)
    async with database.transaction() as holder, Database.open(database_url, size=1) as doomed:
        await lock_lanes(holder, EVERY_LANE)
        dying = asyncio.create_task(step(doomed, made.id, clock.now(), size=3))
        kill = (
            "select pg_terminate_backend(l.pid) from pg_locks l join pg_database b on b.oid = l.database "
            "where b.datname = current_database() and l.locktype = 'advisory' and not l.granted"
        )

        async def killed() -> bool:
            return bool(await holder.fetchval(kill))

        await until(killed)
        with pytest.raises(DatabaseError):
            await dying
    assert await jobs.get(made.id) == begun
    assert sorted((await statuses(database, endpoint)).values()) == ["pending"] * 3 + ["succeeded"] * 4
    async with Database.open(database_url) as another:
        ended = await finish(another, begun, size=3)
    assert (ended.checked, ended.queued) == (7, 7)
    assert set((await statuses(database, endpoint)).values()) == {"pending"}


async def test_two_runners_share_the_work_and_double_nothing(
    database: Database, jobs: ReplayJobs, database_url: str
) -> None:
    """Runners and a command at once: each event is looked at once, and no job waits for another to end."""
    endpoints = [(await make_endpoint(database))[0] for _ in range(3)]
    for endpoint in endpoints:
        await make_backlog(database, endpoint, 40, resources=7, at=NOW)
    await set_all(database, "succeeded")
    made = [await jobs.create(NewReplay(endpoint, ReplayKind.RANGE, since=NOW), NOW) for endpoint in endpoints]

    async def run(own: Database) -> None:
        while await step_any(own, clock.now(), size=5) is not None:
            pass

    async def unfinished() -> int:
        async with database.connection() as connection:
            found: int = await connection.fetchval("select count(*) from replays where finished_at is null")
            return found

    async with Database.open(database_url) as second, asyncio.timeout(60):
        while await unfinished():
            await asyncio.gather(run(database), run(second), finish(second, made[0], size=3))
    for replay in made:
        ended = await jobs.get(replay.id)
        # Each endpoint has a third of the feed; the rest of it is missing, and is queued too.
        assert (ended.total, ended.checked, ended.queued) == (120, 120, 120)


async def test_jobs_take_turns(database: Database, jobs: ReplayJobs) -> None:
    """A long replay does not hold up a short one: the one that has waited longest is next."""
    endpoint, _ = await make_endpoint(database)
    await make_backlog(database, endpoint, 6, resources=6, at=NOW)
    long, short = [
        await jobs.create(NewReplay(endpoint, ReplayKind.RANGE, since=NOW), NOW + number * SECOND) for number in range(2)
    ]
    order = [await step_any(database, NOW + number * SECOND, size=2) for number in range(2, 6)]
    assert [replay and replay.id for replay in order] == [long.id, short.id, long.id, short.id]


async def test_what_is_told_meanwhile_is_sent_once(database: Database, jobs: ReplayJobs) -> None:
    """Events that are committed while a replay goes on are fanned out as ever, and are not its business."""
    endpoint, _ = await make_endpoint(database)
    for _ in range(5):
        await make_event(database)
    replay = await ask(jobs, endpoint, ReplayKind.RANGE, NOW)
    for _ in range(20):
        await make_event(database, endpoints=[endpoint])
        replay = await step(database, replay.id, clock.now(), size=1)
    ended = await finish(database, replay)
    assert (ended.total, ended.checked, ended.queued) == (5, 5, 5)
    assert list(await statuses(database, endpoint)) == list(range(1, 26))


@asynccontextmanager
async def delivering(database: Database) -> AsyncIterator[None]:
    async with HttpSender(LOOPBACK, timeout=SECOND) as sender:
        store = PostgresDeliveryStore(database, BOX)
        worker = DeliveryWorker(store, sender, wake=asyncio.Event(), jitter=lambda: 0.5, pace=QUICK)
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def _told(connection: Connection, endpoints: Sequence[str]) -> None:
    for resource in ("trx_a", "trx_b", "trx_c"):
        for number in range(4):
            body = f'{{"data":{{"uid":"{resource}"}},"sequence":{number}}}'.encode()
            await connection.execute(
                "with position as (update installation set feed_position = feed_position + 1 returning feed_position) "
                "insert into events (position, id, type, v1_type, resource_id, sequence, occasion, mode, chain, account_id, "
                "generation, created_at, body_v2, body_v1) select feed_position, $1, 'transaction.deposit.pending', "
                "'transaction.pending', $2, $3, '', 'test', 'anvil', (select id from accounts where mode = 'test' "
                "and is_default), 0, now(), $4, $4 from position",
                f"evt_{uuid4().hex}",
                resource,
                number,
                body,
            )
    for endpoint in endpoints:
        await connection.execute(
            "insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, "
            "created_at, updated_at) select $1, position, resource_id, account_id, 'pending', now(), now(), now() "
            "from events",
            endpoint,
        )


async def test_a_receiver_gets_the_same_ids_and_bytes_in_order(database: Database, jobs: ReplayJobs) -> None:
    """Replayed while deliverers run: in both formats each id comes again with the same bytes, and each lane in order."""
    async with merchant.receiving() as receiver, delivering(database):
        endpoints = []
        for version in WebhookVersion:
            path = f"/v{version.value}"
            endpoint, receiver.secrets[path] = await make_endpoint(database, f"{receiver.url}{path}", version=version)
            endpoints.append(endpoint)
        async with database.transaction() as connection:
            await _told(connection, endpoints)

        async def arrived(count: int) -> None:
            async def enough() -> bool:
                return len(receiver.arrivals) >= count

            await until(enough)

        await arrived(24)
        for endpoint in endpoints:
            ended = await finish(database, await ask(jobs, endpoint, ReplayKind.RANGE, NOW - timedelta(days=9999)))
            assert ended.queued == 12
        await arrived(48)
    assert receiver.complaints == []
    assert len(set(receiver.arrivals)) == 24
    for path in receiver.secrets:
        ids = [webhook_id for where, webhook_id in receiver.arrivals if where == path]
        lanes: dict[bytes, list[str]] = defaultdict(list)
        for webhook_id in ids:
            lanes[receiver.bodies[webhook_id].split(b",")[0]].append(webhook_id)
        assert len(lanes) == 3
        for arrivals in lanes.values():
            first = sorted(set(arrivals), key=receiver.bodies.__getitem__)
            assert arrivals == first * 2


async def test_unfinished_replays_of_the_dead_are_worked_off(database: Database, jobs: ReplayJobs) -> None:
    """A running deliverer goes on with what somebody began, and finishes it; one that nobody began as well."""
    endpoint, _ = await make_endpoint(database)
    await make_backlog(database, endpoint, 9, resources=9, at=NOW)
    begun = await ask(jobs, endpoint, ReplayKind.RANGE, NOW)
    await step(database, begun.id, clock.now(), size=2)
    untouched = await ask(jobs, endpoint, ReplayKind.MISSING, NOW)
    running = asyncio.create_task(work_off_replays(database))

    async def finished() -> bool:
        found = [await jobs.get(replay.id) for replay in (begun, untouched)]
        return all(replay.finished_at is not None for replay in found)

    try:
        await until(finished)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert ((await jobs.get(begun.id)).checked, (await jobs.get(begun.id)).queued) == (9, 9)
    assert [replay async for replay in work_off(database, await jobs.get(begun.id))] == []


async def test_a_replay_of_a_deleted_endpoint_stops(database: Database, jobs: ReplayJobs) -> None:
    """It queues nothing more, and says why; a new one is refused."""
    endpoint, _ = await make_endpoint(database)
    await make_backlog(database, endpoint, 4, resources=4, at=NOW)
    replay = await step(database, (await ask(jobs, endpoint, ReplayKind.RANGE, NOW)).id, clock.now(), size=2)
    await EndpointStore(database, BOX).delete(endpoint, clock.now())
    ended = await finish(database, replay)
    assert (ended.queued, ended.stopped_reason) == (2, "its endpoint was deleted")
    with pytest.raises(NotFoundError, match="chainbell endpoint list"):
        await ask(jobs, endpoint, ReplayKind.RANGE, NOW)


async def test_bounds_that_cannot_be_are_refused(database: Database, jobs: ReplayJobs) -> None:
    """Without a beginning, backwards, or with a cursor of another feed: in words that say what to give instead."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database)
    plain = NewReplay(endpoint, ReplayKind.RANGE, since=NOW)
    for wanted, words in (
        (NewReplay(endpoint, ReplayKind.RANGE), "needs a beginning"),
        (NewReplay(endpoint, ReplayKind.MISSING, until=NOW), "needs a beginning"),
        (replace(plain, until=NOW), "must be later than since"),
        (replace(plain, after=FeedCursor(0, 2)), "ahead of the feed"),
        (replace(plain, through=FeedCursor(1, 1)), "another generation"),
        (replace(plain, after=FeedCursor(0, 1), through=FeedCursor(0, 0)), "swap them"),
    ):
        with pytest.raises(InputError, match=words):
            await jobs.create(wanted, clock.now())
    nothing = await finish(database, await ask(jobs, endpoint, ReplayKind.MISSING, NOW + timedelta(days=1)))
    assert (nothing.total, nothing.checked, nothing.queued) == (0, 0, 0)


async def test_a_replay_belongs_to_those_who_see_its_endpoint(database: Database, jobs: ReplayJobs) -> None:
    """Another mode or account can neither ask for one, nor see it, nor list it."""
    endpoints = EndpointStore(database, BOX)
    async with database.connection() as connection:
        account = str(await connection.fetchval("insert into accounts (mode, name) values ('test', 'A') returning id"))
    own, _ = await endpoints.create(NewEndpoint(URL, Mode.TEST, account_id=account), NOW)
    operators, _ = await make_endpoint(database)
    made = {one: await ask(jobs, one, ReplayKind.FAILED) for one in (own.id, operators)}
    viewer = Viewer(Mode.TEST, account)
    for stranger, endpoint in ((Viewer(Mode.LIVE), own.id), (viewer, operators), (OPERATOR, str(uuid4()))):
        with pytest.raises(NotFoundError):
            await jobs.create(NewReplay(endpoint, ReplayKind.FAILED), NOW, stranger)
    for id_, stranger in ((made[operators].id, viewer), (made[own.id].id, Viewer(Mode.LIVE)), ("nonsense", OPERATOR)):
        with pytest.raises(NotFoundError):
            await jobs.get(id_, stranger)
    assert await jobs.get(made[own.id].id, viewer) == made[own.id]
    for seen, viewer_ in ((1, viewer), (2, OPERATOR), (2, Viewer(Mode.TEST)), (0, Viewer(Mode.LIVE))):
        assert len((await jobs.list(None, PageRequest(), viewer_)).items) == seen
    newest = await jobs.list(None, PageRequest(1))
    assert (newest.items[0].endpoint_id, newest.next_cursor is None) == (operators, False)
    older = await jobs.list(None, PageRequest(1, newest.next_cursor))
    assert [replay.endpoint_id for replay in older.items] == [own.id]
    assert len((await jobs.list(own.id, PageRequest())).items) == 1
