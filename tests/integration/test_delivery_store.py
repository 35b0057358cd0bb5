import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from chainbell.delivery.outcome import Attempt, Failure
from chainbell.delivery.port import Claim, Recorded, Room
from chainbell.domain.delivery import DeliveryStatus, WebhookVersion
from chainbell.storage.database import Database
from chainbell.storage.deliveries import _LOOK, PostgresDeliveryStore
from chainbell.storage.delivery_log import DeliveryLog
from chainbell.storage.endpoints import EndpointChange, EndpointStore
from chainbell.storage.requeue import ReplayStore
from tests.builders_delivery import BOX, NOW, SECOND, body_of, make_backlog, make_endpoint, make_event, record_one
from tests.receivers import until

LEASE = timedelta(seconds=30)
ROOM = Room(total=50, per_endpoint=8, failing=25, busy={})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresDeliveryStore:
    return PostgresDeliveryStore(database, BOX)


def answered(status: int, at: datetime = NOW) -> Attempt:
    return Attempt(at, SECOND / 2, status=status, response=b"answer")


def broken(at: datetime = NOW) -> Attempt:
    return Attempt(at, SECOND, failure=Failure.TRANSPORT, detail="nobody there")


async def claim(
    store: PostgresDeliveryStore, now: datetime = NOW, room: Room = ROOM, lease: timedelta = LEASE
) -> list[Claim]:
    """Claim once; look again where the first look only set aside what waits."""
    while True:
        look = await store.claim(room, lease, now)
        if look.claims or not look.more:
            return list(look.claims)


async def claim_one(store: PostgresDeliveryStore, now: datetime = NOW, lease: timedelta = LEASE) -> Claim:
    (only,) = await claim(store, now, lease=lease)
    return only


async def record(store: PostgresDeliveryStore, claimed: Claim, attempt: Attempt, now: datetime = NOW) -> Recorded:
    recorded = await record_one(store, claimed, attempt, now)
    assert recorded is not None
    return recorded


def due_at(recorded: Recorded) -> datetime:
    assert recorded.decision.next_attempt_at is not None
    return recorded.decision.next_attempt_at


async def test_claims_what_is_due_with_all_that_a_post_needs(database: Database, store: PostgresDeliveryStore) -> None:
    """A claim carries URL, body bytes of the endpoint's version, and the opened secret; a second look finds nothing."""
    modern, secret = await make_endpoint(database, "https://a.example/")
    legacy, _ = await make_endpoint(database, "https://b.example/", version=WebhookVersion.V1)
    event, ids = await make_event(database, resource="trx_1", endpoints=[modern, legacy])
    claims = {claim.endpoint_id: claim for claim in await claim(store)}
    assert [claims[modern].delivery_id, claims[legacy].delivery_id] == ids
    first = claims[modern]
    assert (first.event_id, first.url, first.secrets, first.rescued) == (event, "https://a.example/", (secret,), False)
    assert first.body == body_of(event, "trx_1", 1)
    assert claims[legacy].body == b'{"event":"transaction.pending"}'
    assert secret not in repr(first)
    assert await claim(store) == []


async def test_nothing_is_claimed_before_it_is_due(database: Database, store: PostgresDeliveryStore) -> None:
    """What is planned for later is left, and the next due time is known."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint], at=NOW + SECOND)
    assert await claim(store, NOW) == []
    assert await store.next_due(NOW) == NOW + SECOND
    assert len(await claim(store, NOW + SECOND)) == 1
    assert await store.next_due(NOW + SECOND) is None


async def test_events_of_a_transaction_go_one_by_one(database: Database, store: PostgresDeliveryStore) -> None:
    """A later event of a resource waits until the earlier one succeeded; other resources do not."""
    endpoint, _ = await make_endpoint(database)
    events = [(await make_event(database, resource="trx_1", endpoints=[endpoint]))[0] for _ in range(3)]
    other, _ = await make_event(database, resource="trx_2", endpoints=[endpoint])
    claims = {claim.event_id: claim for claim in await claim(store)}
    assert set(claims) == {events[0], other}
    await record(store, claims[events[0]], answered(200))
    for event in events[1:]:
        following = await claim_one(store)
        assert following.event_id == event
        await record(store, following, answered(200))


async def test_a_failure_holds_up_the_later_events_of_its_transaction(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """While the first event is retried, the second waits, also when it is added meanwhile."""
    endpoint, _ = await make_endpoint(database)
    first, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    await make_event(database, resource="trx_1", endpoints=[endpoint])
    recorded = await record(store, await claim_one(store), answered(500))
    assert await claim(store, NOW + SECOND) == []
    await make_event(database, resource="trx_1", endpoints=[endpoint])
    again = await claim_one(store, due_at(recorded))
    assert again.event_id == first


async def test_what_the_receiver_refused_lets_later_events_go_on(database: Database, store: PostgresDeliveryStore) -> None:
    """After a 400 the next event is sent at once, and the refused one is tried again beside it."""
    endpoint, _ = await make_endpoint(database)
    first, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    second, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    refused = await record(store, await claim_one(store), answered(400))
    assert (await claim_one(store)).event_id == second
    assert (await claim_one(store, due_at(refused))).event_id == first


async def test_a_poisoned_event_holds_up_the_others_for_three_failures(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """While the endpoint answers other events, the third failure of one sets free what waits behind it."""
    endpoint, _ = await make_endpoint(database)
    poison, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    waiting, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    now = NOW
    for failure in range(1, 4):
        other, _ = await make_event(database, endpoints=[endpoint], at=now)
        claims = {claim.event_id: claim for claim in await claim(store, now)}
        assert set(claims) == {poison, other}
        recorded = await record(store, claims[poison], answered(500), now)
        await record(store, claims[other], answered(200), now)
        assert recorded.decision.blocking == (failure < 3)
        if failure < 3:
            assert await claim(store, now) == []
            now = due_at(recorded)
    assert (await claim_one(store, now)).event_id == waiting


async def test_an_exhausted_event_sets_free_what_waits(database: Database) -> None:
    """When the schedule of the first event ends, the second one is sent."""
    store = PostgresDeliveryStore(database, BOX, [timedelta()])
    endpoint, _ = await make_endpoint(database)
    await make_event(database, resource="trx_1", endpoints=[endpoint])
    second, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    recorded = await record(store, await claim_one(store), broken())
    assert recorded.decision.status is DeliveryStatus.EXHAUSTED
    assert (await claim_one(store)).event_id == second


async def test_each_endpoint_gets_its_share(database: Database, store: PostgresDeliveryStore) -> None:
    """However long the backlog of one endpoint, another's only event is among the first that are claimed."""
    busy, _ = await make_endpoint(database)
    await make_backlog(database, busy, 200, resources=200, at=NOW - SECOND)
    quiet, _ = await make_endpoint(database)
    await make_event(database, endpoints=[quiet])
    claims = (await store.claim(Room(2, 8, 1, {}), LEASE, NOW)).claims
    assert {claim.endpoint_id for claim in claims} == {busy, quiet}
    rest = (await store.claim(Room(50, 8, 25, {busy: 1}), LEASE, NOW)).claims
    assert len(rest) == 7


async def test_endpoints_that_do_not_answer_get_one_place_each_and_half_of_all(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """Of an endpoint that fails one delivery is tried at a time, and all of them together leave room for the others."""
    endpoints = [(await make_endpoint(database))[0] for _ in range(5)]
    for endpoint in endpoints:
        for _ in range(3):
            await make_event(database, endpoints=[endpoint])
    async with database.connection() as connection:
        await connection.execute("update endpoints set failing_since = $1 where id <> $2", NOW, endpoints[0])
    claims = (await store.claim(Room(50, 8, 2, {}), LEASE, NOW)).claims
    per_endpoint = [sum(claim.endpoint_id == endpoint for claim in claims) for endpoint in endpoints]
    assert per_endpoint[0] == 3
    assert sorted(per_endpoint[1:]) == [0, 0, 1, 1]
    failing = {claim.endpoint_id: 1 for claim in claims if claim.endpoint_id != endpoints[0]}
    assert (await store.claim(Room(50, 8, 2, failing), LEASE, NOW)).claims == []


async def test_a_worker_that_died_is_rescued_when_its_lease_ends(database: Database, store: PostgresDeliveryStore) -> None:
    """A claim without a result is claimed again after its lease, no sooner, under a higher fence."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    dead = await claim_one(store, lease=timedelta(seconds=0.3))
    assert await claim(store) == []
    found: list[Claim] = []

    async def rescued() -> bool:
        found.extend((await store.claim(ROOM, LEASE, NOW)).claims)
        return bool(found)

    await until(rescued)
    assert found[0].rescued
    assert found[0].fence > dead.fence


async def test_a_late_result_is_thrown_away(database: Database, store: PostgresDeliveryStore) -> None:
    """Whoever lost the delivery to another worker cannot write any more; whoever has it can."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    late = await claim_one(store, lease=timedelta())
    owner = await claim_one(store)
    assert await record_one(store, late, answered(500), NOW) is None
    assert (await record(store, owner, answered(200))).decision.status is DeliveryStatus.SUCCEEDED
    assert await record_one(store, owner, answered(200), NOW) is None
    _, attempts = await DeliveryLog(database).get(owner.delivery_id)
    assert [attempt.status_code for attempt in attempts] == [200]


async def test_a_lease_from_before_the_servers_clock_was_set_back_is_none(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """What a worker had claimed that died meanwhile does not wait until the clock is there again."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    dead = await claim_one(store)
    assert await claim(store) == []
    async with database.connection() as connection:
        await connection.execute("update deliveries set lease_until = lease_until + interval '1 hour'")
    assert (await claim_one(store)).fence > dead.fence


async def test_a_result_after_the_lease_counts_while_nobody_else_claimed(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """An ended lease alone takes nothing away: the fence decides."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    slow = await claim_one(store, lease=timedelta())
    await record(store, slow, answered(200))
    assert await claim(store) == []


async def test_what_is_given_back_can_be_claimed_at_once(database: Database, store: PostgresDeliveryStore) -> None:
    """Giving back ends the lease, but only our own."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    first = await claim_one(store)
    await store.give_back([first])
    second = await claim_one(store)
    await store.give_back([first])
    assert await claim(store) == []
    assert (await record(store, second, answered(200))).decision.status is DeliveryStatus.SUCCEEDED


async def test_410_disables_the_endpoint_until_somebody_enables_it(database: Database, store: PostgresDeliveryStore) -> None:
    """After a 410 nothing is claimed; events that come meanwhile are sent once it is enabled again, in order."""
    endpoint, _ = await make_endpoint(database)
    endpoints = EndpointStore(database, BOX)
    first, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    assert (await record(store, await claim_one(store), answered(410))).decision.disable
    gone = await endpoints.get(endpoint)
    assert not gone.enabled
    assert "410" in str(gone.disabled_reason)
    await make_event(database, resource="trx_1", endpoints=[endpoint])
    assert await claim(store, NOW + timedelta(days=9)) == []
    assert (await endpoints.update(endpoint, EndpointChange(enabled=True), NOW)).disabled_reason is None
    assert (await claim_one(store)).event_id == first


async def test_a_deleted_endpoint_gets_nothing_any_more(database: Database, store: PostgresDeliveryStore) -> None:
    """What was waiting for it is not sent."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    await EndpointStore(database, BOX).delete(endpoint, NOW)
    assert await claim(store) == []
    assert await store.next_due(NOW - SECOND) is None


async def test_an_outage_is_noted_and_ends_with_the_next_success(database: Database, store: PostgresDeliveryStore) -> None:
    """`failing_since` is set by the first failure and taken away by the first success, which says so."""
    endpoint, _ = await make_endpoint(database)
    for _ in range(3):
        await make_event(database, endpoints=[endpoint])
    first, second, third = await claim(store)
    log = DeliveryLog(database)
    await record(store, first, broken())
    await record(store, second, broken(), NOW + SECOND)
    assert (await log.backlogs())[0].failing_since == NOW
    assert (await record(store, third, answered(200), NOW + SECOND)).recovered
    assert (await log.backlogs())[0].failing_since is None


async def exhaust_during_an_outage(database: Database, store: PostgresDeliveryStore, endpoint: str) -> datetime:
    """Let two events of one resource fail until nothing is left; return the time after that."""
    for _ in range(2):
        await make_event(database, resource="trx_1", endpoints=[endpoint])
    now = NOW
    for _ in range(4):
        for claimed in await claim(store, now):
            await record(store, claimed, broken(), now)
        now += 2 * SECOND
    assert await claim(store, now) == []
    return now


async def test_what_an_outage_exhausted_is_queued_once_more_when_it_ends(database: Database) -> None:
    """After the endpoint answers again, everything that was given up meanwhile is sent once more, in order; only once."""
    store = PostgresDeliveryStore(database, BOX, [timedelta(), SECOND])
    endpoint, _ = await make_endpoint(database)
    now = await exhaust_during_an_outage(database, store, endpoint)
    assert await store.requeue_after_outage(now) == 0
    await make_event(database, endpoints=[endpoint], at=now)
    assert (await record(store, await claim_one(store, now), answered(200), now)).recovered
    assert await store.requeue_after_outage(now) == 2
    assert await store.requeue_after_outage(now) == 0
    again = await claim_one(store, now)
    assert again.event_id == (await DeliveryLog(database).get(1))[0].event_id
    for _ in range(4):
        for claimed in [again, *await claim(store, now)]:
            await record_one(store, claimed, broken(), now)
        now += 2 * SECOND
    await make_event(database, endpoints=[endpoint], at=now)
    await record(store, await claim_one(store, now), answered(200), now)
    assert await store.requeue_after_outage(now) == 0


async def test_a_replay_reopens_a_delivery_with_the_same_id_and_bytes(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """A replay is never refused as a duplicate: the same webhook is sent again, on a fresh schedule."""
    endpoint, _ = await make_endpoint(database)
    event, (delivery,) = await make_event(database, endpoints=[endpoint])
    first = await claim_one(store)
    await record(store, first, answered(200))
    replays = ReplayStore(database)
    for _ in range(2):
        await replays.delivery(delivery, NOW + SECOND)
        again = await claim_one(store, NOW + SECOND)
        assert (again.event_id, again.body) == (event, first.body)
        await record(store, again, answered(200), NOW + SECOND)
    _, attempts = await DeliveryLog(database).get(delivery)
    assert len(attempts) == 3


async def test_a_replayed_event_keeps_its_place_before_the_later_ones(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """While a replay is under way, later events of the resource wait for it as they did the first time."""
    endpoint, _ = await make_endpoint(database)
    first, (delivery,) = await make_event(database, resource="trx_1", endpoints=[endpoint])
    await record(store, await claim_one(store), answered(200))
    second, _ = await make_event(database, resource="trx_1", endpoints=[endpoint])
    await ReplayStore(database).delivery(delivery, NOW)
    again = await claim_one(store)
    assert again.event_id == first
    await record(store, again, answered(200))
    assert (await claim_one(store)).event_id == second


async def test_claiming_looks_only_at_what_it_takes(database: Database, store: PostgresDeliveryStore, *, soak: bool) -> None:
    """With a huge backlog of one dead endpoint a claim reads by index, and few pages (1,000,000 rows under --soak)."""
    dead, _ = await make_endpoint(database)
    count = 1_000_000 if soak else 20_000
    await make_backlog(database, dead, count, resources=count)
    await make_backlog(database, dead, count // 2, resources=10)
    async with database.connection() as connection:
        await connection.execute("update endpoints set failing_since = $1", NOW)
        await connection.execute("analyze deliveries")
        for _ in range(2):  # the second time with the index entries of what was just claimed
            rows = await connection.fetch(f"explain (analyze, buffers) {_LOOK}", NOW, 8, [], [], 50, 25, 50)
            plan = "\n".join(row[0] for row in rows)
            assert "deliveries_due" in plan
            assert "Seq Scan on deliveries" not in plan
            assert _pages(plan) < 1000, plan
            await claim(store, NOW, Room(8, 8, 8, {}))


def _pages(plan: str) -> int:
    top = next(line for line in plan.splitlines() if "Buffers:" in line)
    return sum(int(part.partition("=")[2]) for part in top.split() if part.startswith(("hit=", "read=")))


_IN_THE_ORDER_OF_THEIR_RECORDS = """
select d.endpoint_id, d.resource_id, d.id from attempts a join deliveries d on d.id = a.delivery_id
where a.outcome = 'succeeded' order by a.id
"""


@pytest.mark.parametrize("trouble", ["refusals", "deaths"])
async def test_workers_side_by_side_never_both_own_one(  # noqa: C901 - three roles side by side
    database: Database, trouble: str, seed: int, *, soak: bool
) -> None:
    """Four workers, while events are added: one owner each, nothing stranded, and order where nothing was refused."""
    dice = random.Random(seed)
    store = PostgresDeliveryStore(database, BOX)
    endpoints = [(await make_endpoint(database))[0] for _ in range(3)]
    total = (1000 if soak else 60) * len(endpoints)
    told: list[tuple[str, str, int]] = []
    held: set[int] = set()

    async def produce() -> None:
        for _ in range(total // len(endpoints)):
            await make_event(database, resource=f"trx_{dice.randrange(6)}", endpoints=endpoints)

    async def tell(claimed: Claim) -> None:
        recorded = await record_one(store, claimed, answered(200), NOW)
        if recorded is not None:
            told.append((claimed.endpoint_id, claimed.resource_id, claimed.delivery_id))

    async def work() -> None:
        while len(told) < total:
            lease = timedelta(milliseconds=20) if trouble == "deaths" else LEASE
            for claimed in (await store.claim(Room(4, 3, 2, {}), lease, NOW)).claims:
                if trouble == "refusals":
                    assert claimed.delivery_id not in held
                    held.add(claimed.delivery_id)
                    await asyncio.sleep(0)
                if dice.random() > 0.3:
                    held.discard(claimed.delivery_id)
                    await tell(claimed)
                elif trouble == "refusals":
                    held.discard(claimed.delivery_id)
                    await record_one(store, claimed, answered(400), NOW)
                    await ReplayStore(database).delivery(claimed.delivery_id, NOW)

    async with asyncio.timeout(100 if soak else 30), asyncio.TaskGroup() as group:
        group.create_task(produce())
        for _ in range(4):
            group.create_task(work())
    assert len(told) == len(set(told)) == total
    async with database.connection() as connection:
        if trouble == "deaths":
            lanes: dict[tuple[object, str], list[int]] = defaultdict(list)
            for row in await connection.fetch(_IN_THE_ORDER_OF_THEIR_RECORDS):
                lanes[row["endpoint_id"], row["resource_id"]].append(row["id"])
            assert len(lanes) == 6 * len(endpoints)
            assert all(ids == sorted(ids) for ids in lanes.values())
        assert await connection.fetchval("select count(*) from deliveries where status <> 'succeeded' or waiting") == 0
