"""Bulk registration over real connections: as much as is promised, cut off, and refused while it is still being sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
import pytest

from chainbell.api.routes.bulk_addresses import BULK_LIMIT_BYTES
from chainbell.api.server import listen, serve
from chainbell.custody.address_file import Limits
from chainbell.custody.registration import BATCH_SIZE
from tests.api_client import ApiHouse, api_house
from tests.bulk import csv, held_back, lines, somebody_waits
from tests.house import until

BULK = "/v2/addresses/bulk"
ON_ANVIL = {"chain": "anvil"}
CSV = {"Content-Type": "text/csv"}
PIECE = 50_000

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def served(house: ApiHouse) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the API on a port, and give a client of it that holds a key."""
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(serve(house.app, listener))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    headers = {"Authorization": f"Bearer {await house.key()}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
            yield client
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        listener.close()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


async def test_a_hundred_thousand_addresses_are_registered_in_one_call(database_url: str) -> None:
    """Streamed in and answered batch by batch; every line is accounted for."""
    many = Limits().lines
    async with api_house(database_url) as house, served(house) as client:
        body = pieces(csv(*range(many)))
        batches = []
        async with client.stream("POST", BULK, params=ON_ANVIL, content=body, headers=CSV) as answer:
            assert answer.status_code == HTTPStatus.OK
            async for line in answer.aiter_lines():
                batches += lines(line)
        assert batches.pop() == {"type": "summary", "registered": many, "already": 0, "conflicts": 0}
        assert [batch["lastLine"] - batch["firstLine"] + 1 for batch in batches] == [BATCH_SIZE] * (many // BATCH_SIZE)
        assert await house.fetchval("select count(distinct address) from addresses") == many


async def test_what_was_committed_stands_when_the_client_goes_away(database_url: str) -> None:
    """The batch under way is rolled back; the same call again registers the rest."""
    count = 4 * BATCH_SIZE
    async with api_house(database_url) as house, served(house) as client:
        async with held_back(database_url, 2 * BATCH_SIZE + 5) as other:
            async with client.stream("POST", BULK, params=ON_ANVIL, content=csv(*range(count)), headers=CSV) as answer:
                told = answer.aiter_lines()
                first, second = [lines(await anext(told))[0] for _ in range(2)]
                assert (first["firstLine"], second["lastLine"]) == (2, 2 * BATCH_SIZE + 1)
                await somebody_waits(other)

            async def nobody_waits() -> bool:
                waiting = "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
                return not await other.fetchval(waiting)

            await until(nobody_waits, "the batch under way is given up")
        assert await house.fetchval("select count(*) from addresses") == 2 * BATCH_SIZE
        again = await client.post(BULK, params=ON_ANVIL, content=csv(*range(count)), headers=CSV)
        half = 2 * BATCH_SIZE
        assert lines(again.text)[-1] == {"type": "summary", "registered": half, "already": half, "conflicts": 0}


async def test_a_refusal_arrives_while_the_body_is_sent(database_url: str) -> None:
    """Whoever is refused early reads why, though it had more to send; the server goes on."""
    piece = b"0x12 is no address\n" * 5_000
    count = 3 * BULK_LIMIT_BYTES // len(piece)

    async def long() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    async with api_house(database_url) as house, served(house) as client:
        for headers, params, status in (
            (CSV | {"Authorization": "Bearer nonsense"}, ON_ANVIL, HTTPStatus.UNAUTHORIZED),
            (CSV, {"chain": "nowhere"}, HTTPStatus.UNPROCESSABLE_ENTITY),
            ({"Content-Type": "text/plain"}, ON_ANVIL, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
            (CSV, ON_ANVIL, HTTPStatus.UNPROCESSABLE_ENTITY),
            (CSV | {"Content-Length": str(count * len(piece))}, ON_ANVIL, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ):
            answer = await client.post(BULK, params=params, content=long(), headers=headers)
            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
        good = await client.post(BULK, params=ON_ANVIL, content=csv(1), headers=CSV)
        assert lines(good.text)[-1]["registered"] == 1
