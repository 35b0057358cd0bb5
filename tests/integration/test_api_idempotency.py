"""Idempotency-Key: a write under it is done once, and its answer is given again."""

import asyncio
from datetime import timedelta
from http import HTTPStatus

import pytest

from chainbell.storage.idempotency import RETENTION, forget_old_keys
from chainbell.telemetry.clock import now
from tests.api_client import CHECKSUMMED, api_house

WANTED = {"chain": "anvil", "address": CHECKSUMMED, "label": "till 7"}
KEY = {"Idempotency-Key": "order-4711"}
CLIENTS = 10


async def test_the_same_request_again_gets_the_same_answer(database_url: str) -> None:
    """Byte for byte, marked as a replay, where without a key it would be a conflict."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        first = await client.post("/v2/addresses", json=WANTED, headers=KEY)
        assert first.status_code == HTTPStatus.CREATED
        assert "idempotent-replay" not in first.headers
        again = await client.post("/v2/addresses", json=WANTED, headers=KEY)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotent-replay"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert (await client.post("/v2/addresses", json=WANTED)).status_code == HTTPStatus.CONFLICT


async def test_every_write_takes_a_key(database_url: str) -> None:
    """Changes, deletions and replays too: repeated under their key they are answered as the first time."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        made = (await client.post("/v2/endpoints", json={"url": "https://example.com/"})).json()
        await house.tell(1)
        delivery = await house.fetchval("select min(id) from deliveries")
        assert (await client.post("/v2/addresses", json=WANTED)).is_success
        writes = [
            ("PATCH", f"/v2/endpoints/{made['id']}", {"enabled": False}),
            ("POST", f"/v2/deliveries/{delivery}/replay", None),
            ("DELETE", f"/v2/endpoints/{made['id']}", None),
            ("DELETE", f"/v2/addresses/anvil/{CHECKSUMMED}", None),
        ]
        for number, (method, path, body) in enumerate(writes):
            headers = {"Idempotency-Key": f"write-{number}"}
            answers = [await client.request(method, path, json=body, headers=headers) for _ in range(3)]
            assert answers[0].is_success, answers[0].text
            assert {(answer.status_code, answer.content) for answer in answers} == {
                (answers[0].status_code, answers[0].content)
            }
            assert [answer.headers.get("idempotent-replay") for answer in answers] == [None, "true", "true"]


async def test_another_request_under_the_same_key_is_refused(database_url: str) -> None:
    """422 for another body, path or method; keys of different API keys have nothing to do with one another."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        assert (await client.post("/v2/addresses", json=WANTED, headers=KEY)).is_success
        others = [
            ("POST", "/v2/addresses", WANTED | {"label": "till 8"}),
            ("POST", "/v2/endpoints", {"url": "https://example.com/"}),
            ("DELETE", f"/v2/addresses/anvil/{CHECKSUMMED}", None),
        ]
        for method, path, body in others:
            answer = await client.request(method, path, json=body, headers=KEY)
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert "Idempotency-Key was used for another request" in answer.json()["detail"]
        assert await house.fetchval("select count(*) from addresses where removed_at is null") == 1
        async with house.client(await house.key()) as another:
            answer = await another.post("/v2/endpoints", json={"url": "https://example.com/"}, headers=KEY)
            assert answer.status_code == HTTPStatus.CREATED


async def test_ten_at_once_are_done_once(database_url: str) -> None:
    """All get the one answer: who comes second waits for the first to commit."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        wanted = {"url": "https://example.com/webhooks"}
        answers = await asyncio.gather(*(client.post("/v2/endpoints", json=wanted, headers=KEY) for _ in range(CLIENTS)))
        assert {answer.status_code for answer in answers} == {HTTPStatus.CREATED}
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replay" not in answer.headers for answer in answers) == 1
        assert await house.fetchval("select count(*) from endpoints") == 1
        assert await house.fetchval("select count(*) from endpoint_secrets") == 1


async def test_a_refused_request_leaves_its_key_free(database_url: str) -> None:
    """What changed nothing is tried again under its key once it can succeed."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        wanted = WANTED | {"chain": "sepolia"}
        refused = await client.post("/v2/addresses", json=wanted, headers=KEY)
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert await house.fetchval("select count(*) from idempotency_keys") == 0
        answer = await client.post("/v2/addresses", json=WANTED, headers=KEY)
        assert answer.status_code == HTTPStatus.CREATED


async def test_a_secret_is_not_stored_in_plain(database_url: str) -> None:
    """The answer that shows an endpoint's secret is sealed where it is kept, and still given again."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        first = await client.post("/v2/endpoints", json={"url": "https://example.com/"}, headers=KEY)
        kept = await house.fetchval("select response from idempotency_keys")
        assert first.json()["secret"].encode() not in kept
        assert b"whsec_" not in kept
        again = await client.post("/v2/endpoints", json={"url": "https://example.com/"}, headers=KEY)
        assert again.json()["secret"] == first.json()["secret"]


async def test_a_key_is_forgotten_after_a_day(database_url: str) -> None:
    """From then on it is as good as new, swept away or not."""
    start = now()
    later = start + RETENTION + timedelta(seconds=1)
    async with api_house(database_url, clock=[start, later, later]) as house, house.client(await house.key()) as client:
        assert (await client.post("/v2/addresses", json=WANTED, headers=KEY)).status_code == HTTPStatus.CREATED
        other = WANTED | {"address": "0x" + "ab" * 20}
        assert (await client.post("/v2/addresses", json=other, headers=KEY)).status_code == HTTPStatus.CREATED
        assert await forget_old_keys(house.database, later) == 0
        assert await forget_old_keys(house.database, later + RETENTION) == 1
        assert (await client.post("/v2/addresses", json=WANTED, headers=KEY)).status_code == HTTPStatus.CONFLICT


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "käse"])
async def test_what_is_no_key_is_refused(database_url: str, key: str) -> None:
    """422 that names the header; nothing is written."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = await client.post("/v2/addresses", json=WANTED, headers=headers)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "Idempotency-Key" in answer.json()["detail"]
        assert await house.fetchval("select count(*) from addresses") == 0
