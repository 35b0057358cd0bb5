"""Many results in one transaction: each is decided as if it came alone, in its turn."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from chainbell.delivery.outcome import Attempt, Failure
from chainbell.delivery.port import Claim, Recorded, Result, Room
from chainbell.delivery.recorder import Batching, Recorder
from chainbell.domain.delivery import DeliveryStatus
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.delivery_log import DeliveryLog
from tests.builders_delivery import BOX, NOW, SECOND, make_endpoint, make_event

LEASE = timedelta(seconds=30)
ROOM = Room(total=50, per_endpoint=50, failing=25, busy={})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresDeliveryStore:
    return PostgresDeliveryStore(database, BOX)


def answered(status: int) -> Attempt:
    return Attempt(NOW, SECOND / 2, status=status, response=b"answer")


def broken(detail: str = "nobody there") -> Attempt:
    return Attempt(NOW, SECOND, failure=Failure.TRANSPORT, detail=detail)


async def claim(store: PostgresDeliveryStore, now: datetime = NOW, lease: timedelta = LEASE) -> list[Claim]:
    return list((await store.claim(ROOM, lease, now)).claims)


async def statuses(database: Database) -> list[DeliveryStatus]:
    async with database.connection() as connection:
        rows = await connection.fetch("select status from deliveries order by id")
    return [DeliveryStatus(row["status"]) for row in rows]


async def attempts(database: Database, delivery_id: int) -> list[str]:
    return [attempt.outcome for attempt in (await DeliveryLog(database).get(delivery_id))[1]]


async def test_results_of_one_endpoint_are_judged_in_turn(database: Database, store: PostgresDeliveryStore) -> None:
    """What one result says of the endpoint's health counts for the next: an outage begins and ends within one batch."""
    endpoint, _ = await make_endpoint(database)
    for _ in range(4):
        await make_event(database, endpoints=[endpoint])
    first, second, third, fourth = await claim(store)
    sent = [Result(first, broken(), 0.5), Result(second, broken(), 0.5), Result(third, answered(200), 0.5)]
    recorded = await store.record([*sent, Result(fourth, broken(), 0.5)], NOW)
    assert [one.recovered for one in recorded if one is not None] == [False, False, True, False]
    assert [one.decision.failing_since for one in recorded if one is not None] == [NOW, NOW, None, NOW]
    assert (await DeliveryLog(database).backlogs())[0].failing_since == NOW
    assert [(await attempts(database, one.delivery_id)) for one in (first, third)] == [["failed"], ["succeeded"]]


async def test_an_outage_that_ends_in_a_batch_is_over(database: Database, store: PostgresDeliveryStore) -> None:
    """A success after failures of the same batch leaves no outage behind, also one that had begun before."""
    endpoint, _ = await make_endpoint(database)
    for _ in range(3):
        await make_event(database, endpoints=[endpoint])
    first, second, third = await claim(store)
    await store.record([Result(first, broken(), 0.5)], NOW)
    recorded = await store.record([Result(second, broken(), 0.5), Result(third, answered(200), 0.5)], NOW + SECOND)
    assert [one.recovered for one in recorded if one is not None] == [False, True]
    assert (await DeliveryLog(database).backlogs())[0].failing_since is None


async def test_a_late_result_in_a_batch_takes_nothing_from_the_others(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """Of two results of one delivery the one under the fence in force is written, and the rest of the batch with it."""
    endpoint, _ = await make_endpoint(database)
    await make_event(database, endpoints=[endpoint])
    (late,) = await claim(store, lease=timedelta())
    await make_event(database, endpoints=[endpoint])
    owner, other = sorted(await claim(store), key=lambda claimed: claimed.delivery_id)
    assert owner.delivery_id == late.delivery_id
    results = [Result(late, answered(500), 0.5), Result(owner, answered(200), 0.5), Result(other, answered(200), 0.5)]
    recorded = await store.record(results, NOW)
    assert [one and one.decision.status for one in recorded] == [None, DeliveryStatus.SUCCEEDED, DeliveryStatus.SUCCEEDED]
    assert await attempts(database, owner.delivery_id) == ["succeeded"]


async def test_what_a_batch_ends_sets_free_what_waited_in_each_lane(
    database: Database, store: PostgresDeliveryStore
) -> None:
    """After one batch the next event of each of its lanes can be claimed; behind a failed one nothing can."""
    endpoint, _ = await make_endpoint(database)
    events: dict[str, list[str]] = {}
    for resource in ("a", "b", "c"):
        for _ in range(3):
            event, _ = await make_event(database, resource=resource, endpoints=[endpoint])
            events.setdefault(resource, []).append(event)
    answers = {"a": answered(200), "b": answered(400), "c": broken()}
    first = sorted(await claim(store), key=lambda claimed: claimed.resource_id, reverse=True)  # the success comes last
    assert {claimed.event_id for claimed in first} == {told[0] for told in events.values()}
    assert await claim(store) == []  # what waits is set aside now
    await store.record([Result(claimed, answers[claimed.resource_id], 0.5) for claimed in first], NOW)
    assert {claimed.event_id for claimed in await claim(store)} == {events["a"][1], events["b"][1]}


async def test_several_endpoints_are_gone_in_one_batch(database: Database, store: PostgresDeliveryStore) -> None:
    """Each endpoint that answered 410 is disabled, and the others are not."""
    endpoints = [(await make_endpoint(database))[0] for _ in range(3)]
    await make_event(database, endpoints=endpoints)
    codes = dict(zip(endpoints, (410, 200, 410), strict=True))
    claims = await claim(store)
    await store.record([Result(claimed, answered(codes[claimed.endpoint_id]), 0.5) for claimed in claims], NOW)
    async with database.connection() as connection:
        enabled = {str(row["id"]): row["enabled"] for row in await connection.fetch("select id, enabled from endpoints")}
    assert [enabled[endpoint] for endpoint in endpoints] == [False, True, False]


async def test_a_result_that_cannot_be_written_delays_itself_alone(database: Database, store: PostgresDeliveryStore) -> None:
    """A batch with one bad result is written without it; the bad one is given up, and its lease ends."""
    batches: list[int] = []

    class Watched(PostgresDeliveryStore):
        async def record(self, results: Sequence[Result], now: datetime) -> Sequence[Recorded | None]:
            batches.append(len(results))
            return await super().record(results, now)

    endpoint, _ = await make_endpoint(database)
    for _ in range(6):
        await make_event(database, endpoints=[endpoint])
    claims = await claim(store)
    recorder = Recorder(Watched(database, BOX), Batching(breath=timedelta()), jitter=lambda: 0.5, told=lambda _: None)
    for number, claimed in enumerate(claims):
        unwritable = broken("no text of PostgreSQL has a \0 in it")
        recorder.add(claimed, unwritable if number == 3 else answered(200), lease_ends=float("inf"))
    await recorder.finish()
    assert recorder.unrecorded == 0
    assert (max(batches), min(batches)) == (6, 1)
    expected = [DeliveryStatus.SUCCEEDED] * 6
    expected[3] = DeliveryStatus.PENDING
    assert await statuses(database) == expected
