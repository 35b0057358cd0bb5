"""What it takes to register keys: one thread at a time, a bounded amount, nothing twice, and everything else goes on."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from random import Random

import pytest

from chainbell.app.housekeeping import housekeeping_parts
from chainbell.custody import derivation
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_TEST, ExtendedKey
from chainbell.custody.public_derivation import child_keys
from chainbell.domain.chain import BlockRef
from chainbell.domain.following import KeptLedger
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import Journal
from chainbell.supervisor import supervise
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import CURSOR, ApiHouse, api_house
from tests.full_folder import Room, no_room
from tests.keys import random_key

CHAIN = "bitcoin-regtest"
VPUB = bytes.fromhex("045f1cf6")
KEYED = {"Idempotency-Key": "order-4711"}
THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Of the event loop's own pool."""
LARGEST = {"gapLimit": 75}
"""The most that is taken for twenty keys on two branches: 12,000 derivations."""


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[ApiHouse]:
    """Open the API on a database in which a chain of the Bitcoin family was started too."""
    async with api_house(database_url) as opened:
        cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
        definition = opened.services.chains[CHAIN]
        await opened.services.chain_states.start(definition, builders.block_hash(0), KeptLedger((cursor,)), now())
        yield opened


def _multisig(seed: int, count: int = 20) -> str:
    random = Random(seed)
    keys = ",".join(f"{random_key(random).text(BIP32_TEST)}/<0;1>/*" for _ in range(count))
    body = f"wsh(sortedmulti(2,{keys}))"
    return f"{body}#{checksum_of(body)}"


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many public keys each call derives."""
    calls: list[int] = []

    def counted(key: ExtendedKey, steps: Sequence[int], indexes: Sequence[int]) -> list[bytes]:
        calls.append(len(indexes))
        return child_keys(key, steps, indexes)

    monkeypatch.setattr(derivation, "child_keys", counted)
    return calls


@asynccontextmanager
async def _under_way(house: ApiHouse, derived: list[int], count: int) -> AsyncIterator[None]:
    """Have the largest keys that are taken registered by somebody, all at once."""
    async with house.client(await house.key()) as client:
        bodies = [{"chain": CHAIN, "key": _multisig(seed)} | LARGEST for seed in range(count)]
        posts = [asyncio.create_task(client.post("/v2/keys", json=body)) for body in bodies]
        try:
            async with asyncio.timeout(20):
                while not derived:
                    await asyncio.sleep(0.01)
            yield
        finally:
            for post in posts:
                post.cancel()
            await asyncio.wait(posts)


async def test_everything_else_goes_on_while_keys_are_registered(
    house: ApiHouse, derived: list[int], tmp_path: Path
) -> None:
    """With more of the largest keys under way than the loop has threads: names are looked up, and writes are journalled."""
    async with house.database.connection() as connection:
        installation = (await read_installation(connection)).id
    house.database.journal = Journal(tmp_path / "registrations.ndjson", installation, 0)
    loop = asyncio.get_running_loop()
    async with _under_way(house, derived, THREADS + 2), house.client(await house.key()) as client, asyncio.timeout(5):
        await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert (await client.get("/v2/keys")).json()["items"] == []
        wanted = {"chain": CHAIN, "address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"}
        assert (await client.post("/v2/addresses", json=wanted)).status_code == HTTPStatus.CREATED
    assert "0014751e76e8199196d454941c45d1b3a323f1433bd6" in (tmp_path / "registrations.ndjson").read_text()


async def test_derivation_takes_no_thread_of_the_loop(house: ApiHouse, derived: list[int]) -> None:
    """Whatever these do, and be they all busy, a key is registered: what derives is a thread of its own, and one alone."""
    busy, enough = threading.Barrier(THREADS + 1), threading.Event()

    def work() -> None:
        busy.wait()
        enough.wait()

    loop = asyncio.get_running_loop()
    async with house.client(await house.key()) as client:
        assert (await client.get("/v2/keys")).status_code == HTTPStatus.OK
        waiting = [loop.run_in_executor(None, work) for _ in range(THREADS)]
        await loop.run_in_executor(ThreadPoolExecutor(1), busy.wait)
        try:
            async with asyncio.timeout(10):
                body = {"chain": CHAIN, "key": random_key(Random(8)).text(VPUB)}
                assert (await client.post("/v2/keys", json=body)).status_code == HTTPStatus.CREATED
        finally:
            enough.set()
            await asyncio.wait(waiting)
    assert sum(derived) == 2 * 80


async def test_who_gives_up_leaves_no_work_behind(house: ApiHouse, derived: list[int]) -> None:
    """A cancelled registration ends behind the portion under way, and the next key is registered at once."""
    async with _under_way(house, derived, 3):
        pass
    before = sum(derived)
    async with house.client(await house.key()) as client, asyncio.timeout(5):
        body = {"chain": CHAIN, "key": random_key(Random(1)).text(VPUB), "gapLimit": 1}
        assert (await client.post("/v2/keys", json=body)).status_code == HTTPStatus.CREATED
    assert sum(derived) - before <= 2 * 4 + 40


async def test_a_key_that_takes_too_much_is_refused_in_words(house: ApiHouse, derived: list[int]) -> None:
    """422 that says how much it is, how much is taken, and what to lower to which sum; nothing is derived."""
    async with house.client(await house.key()) as client:
        for numbers in ({"gapLimit": 1000, "firstIndex": 10_000}, {"gapLimit": 76}, {"gapLimit": 20, "firstIndex": 221}):
            answer = await client.post("/v2/keys", json={"chain": CHAIN, "key": _multisig(1), **numbers})
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert "at most 12,000 are made: lower the first index or the gap limit" in answer.json()["detail"]
            assert "four times the gap limit is 300 or less" in answer.json()["detail"]
        assert derived == []


async def test_a_repeated_request_derives_nothing(house: ApiHouse, derived: list[int]) -> None:
    """Under its Idempotency-Key it gets its answer, without one it is a conflict: both are known before any derivation."""
    async with house.client(await house.key()) as client:
        body = {"chain": CHAIN, "key": random_key(Random(2)).text(VPUB)}
        first = await client.post("/v2/keys", json=body, headers=KEYED)
        assert first.status_code == HTTPStatus.CREATED
        assert sum(derived) == 2 * 80
        again = await client.post("/v2/keys", json=body, headers=KEYED)
        assert (again.content, again.headers["Idempotent-Replay"]) == (first.content, "true")
        assert (await client.post("/v2/keys", json=body)).status_code == HTTPStatus.CONFLICT
        assert (await client.post("/v2/keys", json=body | {"gapLimit": 50})).status_code == HTTPStatus.CONFLICT
        other = {"chain": CHAIN, "key": random_key(Random(3)).text(VPUB)}
        assert (await client.post("/v2/keys", json=other, headers=KEYED)).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert sum(derived) == 2 * 80


async def test_the_same_request_many_times_at_once_derives_once(house: ApiHouse, derived: list[int]) -> None:
    """Retries wait for the first, and get its answer."""
    async with house.client(await house.key()) as client:
        body = {"chain": CHAIN, "key": _multisig(4, 3), "gapLimit": 10}
        answers = await asyncio.gather(*(client.post("/v2/keys", json=body, headers=KEYED) for _ in range(8)))
        assert {(answer.status_code, answer.content) for answer in answers} == {(HTTPStatus.CREATED, answers[0].content)}
        assert sum(derived) == 3 * 2 * 40


async def test_one_address_asked_for_many_times_at_once_derives_once(house: ApiHouse, derived: list[int]) -> None:
    """Where a window lacks addresses, one caller derives them and the others wait."""
    async with house.client(await house.key()) as client:
        body = {"chain": CHAIN, "key": random_key(Random(5)).text(VPUB), "gapLimit": 1}
        await client.post("/v2/keys", json=body)
        async with house.database.connection() as connection:
            await connection.execute("update key_branches set derived_end = watched_end")
            await connection.execute("delete from derived_addresses")
        before = sum(derived)
        answers = await asyncio.gather(*(client.post("/v2/addresses", json={"chain": CHAIN}) for _ in range(8)))
        assert len({answer.json()["address"] for answer in answers}) == 8
        assert sum(derived) - before <= 2 * 110


async def test_without_room_for_temporary_files_keys_wait_and_nothing_else_does(house: ApiHouse, tmp_path: Path) -> None:
    """503 that says what to do; other parts go on, and derivation too once there is room."""
    with no_room(tmp_path) as room:
        async with house.client(await house.key()) as client:
            body = {"chain": CHAIN, "key": random_key(Random(6)).text(VPUB)}
            for _ in range(2):
                answer = await client.post("/v2/keys", json=body, headers=KEYED)
                assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
                assert "folder for temporary files cannot be used" in answer.json()["detail"]
                assert "TMPDIR" in answer.json()["detail"]
            room.make()
            assert (await client.post("/v2/keys", json=body, headers=KEYED)).status_code == HTTPStatus.CREATED
            room.take_away()
            async with house.database.connection() as connection:
                await connection.execute("update key_branches set derived_end = watched_end")
                await connection.execute("delete from derived_addresses")
            assert (await client.post("/v2/addresses", json={"chain": CHAIN})).status_code == HTTPStatus.CREATED
        await _supervised_until_derived(house, room)


async def _supervised_until_derived(house: ApiHouse, room: Room) -> None:
    stop, beats = asyncio.Event(), 0

    async def other() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.01)

    keys = housekeeping_parts(house.database, house.database)["keys"]
    running = asyncio.create_task(supervise({"keys": keys, "other": other}, stop))
    async with asyncio.timeout(30):
        while beats < 100:
            assert not running.done()
            await asyncio.sleep(0.01)
        room.make()
        while await house.fetchval("select count(*) from key_branches where derived_end <= watched_end"):
            assert not running.done()
            await asyncio.sleep(0.05)
    stop.set()
    await running


async def test_a_chain_without_a_cursor_derives_nothing(house: ApiHouse, derived: list[int]) -> None:
    """What keeps a key from being taken is known before it is derived."""
    async with house.client(await house.key()) as client:
        answer = await client.post("/v2/keys", json={"chain": "bitcoin-signet", "key": _multisig(7)} | LARGEST)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert derived == []
