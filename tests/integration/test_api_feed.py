"""The pull feed: every event in commit order, byte for byte, and a cursor that never skips nor lies."""

import asyncio
import base64
from http import HTTPStatus
from typing import Any

import httpx
import orjson
import pytest

from chainbell.domain.chain import Mode
from tests.api_client import ApiHouse, api_house

WRITERS = 6
DEPOSITS_EACH = 20
EVENTS_PER_DEPOSIT = 2
GARBAGE = [
    *("x", "MDow=", "MDow ", "0:0", "", "MDotMQ", "OjA", "MDA6MA", "AAAA", "Ли", "A" * 4000, "\x00"),
    "MDo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
]


def _cursor(generation: int, position: int) -> str:
    return base64.urlsafe_b64encode(f"{generation}:{position}".encode()).decode().rstrip("=")


async def _read_all(client: httpx.AsyncClient, after: str | None = None, limit: int = 3) -> tuple[list[Any], str]:
    """Follow nextCursor until nothing more is there."""
    items: list[Any] = []
    while True:
        params = {"limit": str(limit)} | ({} if after is None else {"after": after})
        answer = await client.get("/v2/events", params=params)
        assert answer.status_code == HTTPStatus.OK, answer.text
        page = answer.json()
        items += page["items"]
        after = page["nextCursor"]
        if not page["hasMore"]:
            return items, page["nextCursor"]


async def test_the_feed_holds_the_stored_bytes(database_url: str) -> None:
    """Each event stands in the answer as it was stored and delivered, not parsed and written again."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await house.tell(1)
        odd = b'{"id":"evt_odd",  "n": 1.50, "b":1, "a":"\\u00e9"}'
        async with house.database.connection() as connection:
            await connection.execute("update events set body_v2 = $1 where position = 2", odd)
        answer = await client.get("/v2/events")
        bodies = [await house.fetchval("select body_v2 from events where position = $1", number) for number in (1, 2)]
        cursors = [item["cursor"].encode() for item in answer.json()["items"]]
        items = b",".join(b'{"cursor":"%s","event":%s}' % pair for pair in zip(cursors, bodies, strict=True))
        assert answer.content == b'{"items":[' + items + b'],"nextCursor":"' + cursors[-1] + b'","hasMore":false}'
        one = await client.get(f"/v2/events/{orjson.loads(bodies[0])['id']}")
        assert one.content == b'{"cursor":"%s","event":%s}' % (cursors[0], bodies[0])


async def test_a_reader_goes_on_where_it_stopped(database_url: str) -> None:
    """At the end of the feed the page is empty and its cursor stays; what comes later follows it."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        empty = (await client.get("/v2/events")).json()
        assert empty == {"items": [], "nextCursor": _cursor(0, 0), "hasMore": False}
        await house.tell(1)
        first, reached = await _read_all(client, empty["nextCursor"], limit=1)
        assert [item["event"]["sequence"] for item in first] == [1, 2]
        assert (await client.get("/v2/events", params={"after": reached})).json()["nextCursor"] == reached
        uid = await house.tell(2)
        later, _ = await _read_all(client, reached)
        assert [item["event"]["data"]["uid"] for item in later] == [uid, uid]
        again, _ = await _read_all(client, first[0]["cursor"])
        assert [item["cursor"] for item in again] == [item["cursor"] for item in [*first[1:], *later]]


async def test_a_reader_gets_its_own_events_and_passes_others(database_url: str) -> None:
    """Mode and account filter the feed; the cursor moves past what is foreign, so that an idle reader is not left behind."""
    async with api_house(database_url) as house:
        account = await house.account()
        uids = {
            "own": await house.tell(1, account=account),
            "default": await house.tell(2),
            "live": await house.tell(3, chain="ethereum"),
        }
        readers = {
            "own": (await house.key(account=account), {uids["own"]}),
            "all of test": (await house.key(), {uids["own"], uids["default"]}),
            "live": (await house.key(Mode.LIVE), {uids["live"]}),
            "stranger": (await house.key(account=await house.account()), set[str]()),
        }
        for name, (key, expected) in readers.items():
            async with house.client(key) as client:
                items, reached = await _read_all(client, limit=1)
                assert {item["event"]["data"]["uid"] for item in items} == expected, name
                assert len(items) == EVENTS_PER_DEPOSIT * len(expected), name
                assert reached == _cursor(0, EVENTS_PER_DEPOSIT * len(uids)), name


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_is_no_cursor(database_url: str, garbage: str) -> None:
    """422 for anything that was never handed out."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.get("/v2/events", params={"after": garbage})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert "cursor" in answer.json()["detail"]


async def _told_in_generations(house: ApiHouse) -> None:
    """Two deposits in generation 0, one in 1 and one in 2: four events, then two, then two."""
    for generation, numbers in enumerate([(1, 2), (3,), (4,)]):
        async with house.database.connection() as connection:
            await connection.execute("update installation set generation = $1", generation)
            await connection.execute(
                "insert into generations select $1, feed_position, now() from installation on conflict do nothing",
                generation,
            )
        for number in numbers:
            await house.tell(number)


@pytest.mark.parametrize(
    ("cursor", "resume"),
    [
        ((0, 2), 2),  # read before the backup was made: nothing before it can have changed
        ((0, 900), 4),  # had read what the backup did not hold: from where its generation ends here
        ((1, 5), 5),
        ((1, 900), 6),
        ((2, 900), 6),  # ahead in our own generation: nothing of this generation is sure
        ((3, 1), 0),  # of a generation that we never had: nothing is sure
    ],
)
async def test_a_cursor_from_another_life_of_the_database(database_url: str, cursor: tuple[int, int], resume: int) -> None:
    """409 with the position to go on from, whose reader gets everything that it may have missed; never an empty page."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await _told_in_generations(house)
        answer = await client.get("/v2/events", params={"after": _cursor(*cursor)})
        assert answer.status_code == HTTPStatus.CONFLICT
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["resumeFrom"] == _cursor(2, resume)
        items, reached = await _read_all(client, answer.json()["resumeFrom"])
        assert [item["cursor"] for item in items] == [_cursor(2, position) for position in range(resume + 1, 9)]
        assert reached == _cursor(2, 8)


async def test_what_was_pruned_is_gone(database_url: str) -> None:
    """A cursor before the oldest kept event gets 410 and where the feed begins; without one, reading begins there."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await house.tell(1)
        await house.tell(2)
        async with house.database.connection() as connection:
            await connection.execute("delete from events where position <= 2")
        answer = await client.get("/v2/events", params={"after": _cursor(0, 1)})
        assert answer.status_code == HTTPStatus.GONE
        assert answer.json()["resumeFrom"] == _cursor(0, 2)
        for start in (None, _cursor(0, 2)):
            items, _ = await _read_all(client, start)
            assert [item["cursor"] for item in items] == [_cursor(0, 3), _cursor(0, 4)]
        async with house.database.connection() as connection:
            await connection.execute("delete from events")
        gone = await client.get("/v2/events", params={"after": _cursor(0, 3)})
        assert gone.status_code == HTTPStatus.GONE
        assert gone.json()["resumeFrom"] == _cursor(0, 4)


async def test_a_reader_beside_many_writers_skips_nothing(database_url: str) -> None:
    """While commits on two chains and of two accounts run, each reader sees each of its events once, in feed order."""
    async with api_house(database_url) as house:
        account = await house.account()
        keys = [await house.key(), await house.key(Mode.LIVE), await house.key(account=account)]
        done = asyncio.Event()

        async def write(writer: int) -> None:
            for number in range(DEPOSITS_EACH):
                chain = "ethereum" if writer % 3 == 0 else "anvil"
                own = account if writer % 3 == 1 else None
                await house.tell(1000 * writer + number, chain=chain, account=own)

        async def read(key: str) -> list[str]:
            seen: list[str] = []
            after: str | None = None
            async with house.client(key) as client:
                while True:
                    finished = done.is_set()
                    items, after = await _read_all(client, after, limit=5)
                    seen += [item["event"]["id"] for item in items]
                    if finished:
                        return seen

        readers = [asyncio.create_task(read(key)) for key in keys]
        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        done.set()
        seen = await asyncio.gather(*readers)
        async with house.database.connection() as connection:
            rows = await connection.fetch("select id, mode, account_id::text, position from events order by position")
        assert [row["position"] for row in rows] == list(range(1, EVENTS_PER_DEPOSIT * WRITERS * DEPOSITS_EACH + 1))
        assert seen[0] == [row["id"] for row in rows if row["mode"] == "test"]
        assert seen[1] == [row["id"] for row in rows if row["mode"] == "live"]
        assert seen[2] == [row["id"] for row in rows if row["account_id"] == account]
