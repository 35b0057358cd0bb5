"""Replays of many deliveries by API: asked for, shown with their progress, seen by whoever sees the endpoint."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import Scope
from chainbell.storage.replay_steps import step_any
from chainbell.telemetry.clock import now
from tests.api_client import ApiHouse, api_house

URL = "https://example.com/webhooks"
SINCE = "2020-01-01T00:00:00Z"


async def _endpoint(client: httpx.AsyncClient) -> str:
    return str((await client.post("/v2/endpoints", json={"url": URL})).json()["id"])


async def _work_off(house: ApiHouse) -> None:
    while await step_any(house.database, now(), size=1) is not None:
        pass


async def test_a_replay_is_asked_for_and_shows_its_progress(database_url: str) -> None:
    """202 with the job and its Location at once; there it says how far it is, and when it has finished."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await house.tell(1)
        endpoint = await _endpoint(client)
        path = f"/v2/endpoints/{endpoint}/replays"
        answer = await client.post(path, json={"what": "missing", "since": "2020-01-01T01:00:00.5+01:00"})
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        made = answer.json()
        assert answer.headers["location"] == f"/v2/replays/{made['id']}"
        assert (made["endpointId"], made["what"], made["since"]) == (endpoint, "missing", "2020-01-01T00:00:00.500000Z")
        assert (made["total"], made["checked"], made["queued"], made["finishedAt"]) == (2, 0, 0, None)
        assert (await client.get(answer.headers["location"])).json() == made
        begun = await step_any(house.database, now(), size=1)
        assert begun is not None
        shown = (await client.get(answer.headers["location"])).json()
        assert (shown["checked"], shown["queued"], shown["finishedAt"]) == (1, 1, None)
        await _work_off(house)
        shown = (await client.get(answer.headers["location"])).json()
        assert (shown["checked"], shown["queued"], shown["stoppedReason"]) == (2, 2, None)
        assert shown["finishedAt"] == shown["advancedAt"]
        assert [item["status"] for item in (await client.get("/v2/deliveries")).json()["items"]] == ["pending"] * 2


async def test_replays_are_listed_by_pages_and_endpoint(database_url: str) -> None:
    """Newest first, each once; of one endpoint, if asked for."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        endpoints = [await _endpoint(client) for _ in range(2)]
        made = [
            (await client.post(f"/v2/endpoints/{endpoint}/replays", json={"what": "failed"})).json()
            for endpoint in (*endpoints, *endpoints)
        ]
        listed: list[Any] = []
        query = {"limit": "3"}
        while True:
            page = (await client.get("/v2/replays", params=query)).json()
            listed += page["items"]
            if page["nextCursor"] is None:
                break
            query["cursor"] = page["nextCursor"]
        assert listed == made[::-1]
        of_one = await client.get("/v2/replays", params={"endpointId": endpoints[0]})
        assert of_one.json() == {"items": [made[2], made[0]], "nextCursor": None}


async def test_a_replay_under_a_key_is_made_once(database_url: str) -> None:
    """The same request again gets the same job and Location; without a key a second one is another job, never refused."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        path = f"/v2/endpoints/{await _endpoint(client)}/replays"
        body = {"what": "range", "since": SINCE}
        answers = [await client.post(path, json=body, headers={"Idempotency-Key": "again"}) for _ in range(2)]
        assert len({(answer.status_code, answer.content, answer.headers["location"]) for answer in answers}) == 1
        assert await house.fetchval("select count(*) from replays") == 1
        assert (await client.post(path, json=body)).status_code == HTTPStatus.ACCEPTED
        assert await house.fetchval("select count(*) from replays") == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "what"),
        ({"what": "all"}, "'failed', 'missing' or 'range'"),
        ({"what": "range"}, "needs a beginning"),
        ({"what": "missing", "until": SINCE}, "needs a beginning"),
        ({"what": "range", "since": SINCE, "until": SINCE}, "must be later than since"),
        ({"what": "range", "since": "2020-01-01T00:00:00"}, "with Z or an offset"),
        ({"what": "range", "since": "2020-13-01T00:00:00Z"}, "a time is wanted"),
        ({"what": "range", "since": "0001-01-01T00:00:00+23:59"}, "a time is wanted"),
        ({"what": "range", "since": 1577836800}, "a time is wanted"),
        ({"what": "range", "after": "nonsense"}, "no cursor of the feed"),
        ({"what": "range", "after": "MDo5OQ"}, "ahead of the feed"),
        ({"what": "failed", "endpointId": str(uuid4())}, "unknown here"),
    ],
)
async def test_a_bad_replay_is_refused_in_words(database_url: str, body: dict[str, Any], words: str) -> None:
    """422 that says what is wrong and what to give; nothing is made."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post(f"/v2/endpoints/{await _endpoint(client)}/replays", json=body)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert words in answer.json()["detail"]
        assert await house.fetchval("select count(*) from replays") == 0


async def test_a_replay_is_seen_by_whoever_sees_its_endpoint(database_url: str) -> None:
    """404 for another mode or account, for asking and for looking; a key that may only read asks for none."""
    async with api_house(database_url) as house:
        account = await house.account()
        readers = await house.key(scopes=(Scope.READ,))
        keys = [await house.key(), await house.key(account=account), await house.key(Mode.LIVE)]
        async with house.client(keys[0]) as every, house.client(readers) as reader:
            path = f"/v2/endpoints/{await _endpoint(every)}/replays"
            made = await every.post(path, json={"what": "failed"})
            assert (await reader.get(made.headers["location"])).json() == made.json()
            assert (await reader.post(path, json={"what": "failed"})).status_code == HTTPStatus.FORBIDDEN
            for key in keys[1:]:
                async with house.client(key) as stranger:
                    assert (await stranger.post(path, json={"what": "failed"})).status_code == HTTPStatus.NOT_FOUND
                    assert (await stranger.get(made.headers["location"])).status_code == HTTPStatus.NOT_FOUND
                    assert (await stranger.get("/v2/replays")).json()["items"] == []
            for missing in (f"/v2/replays/{uuid4()}", f"/v2/endpoints/{uuid4()}/replays"):
                method, json = ("GET", None) if "endpoints" not in missing else ("POST", {"what": "failed"})
                assert (await every.request(method, missing, json=json)).status_code == HTTPStatus.NOT_FOUND
            assert (await every.get("/v2/replays/nonsense")).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
