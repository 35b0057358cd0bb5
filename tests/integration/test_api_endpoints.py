"""The API's webhook endpoints: secret shown once, fixed mode, filters that exist, seen by their own account only."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest

from chainbell.domain.chain import Mode
from tests.api_client import api_house

URL = "https://example.com/webhooks"


async def test_an_endpoint_shows_its_secret_once(database_url: str) -> None:
    """Only the answer to its creation holds the secret; the database holds it sealed."""
    async with api_house(database_url) as house, house.client(await house.key(Mode.LIVE)) as client:
        wanted = {"url": URL, "events": ["transaction.deposit.*"], "chains": ["ETHEREUM"]}
        answer = await client.post("/v2/endpoints", json=wanted)
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        shown = answer.json()
        secret = shown.pop("secret")
        assert secret.startswith("whsec_")
        assert (shown["version"], shown["mode"], shown["enabled"]) == (2, "live", True)
        assert (shown["events"], shown["chains"], shown["accounts"]) == (["transaction.deposit.*"], ["ethereum"], [])
        assert (await client.get(f"/v2/endpoints/{shown['id']}")).json() == shown
        assert (await client.get("/v2/endpoints")).json() == {"items": [shown], "nextCursor": None}
        sealed = await house.fetchval("select sealed from endpoint_secrets")
        assert secret.encode() not in sealed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "ftp://example.com"}, "must start with https:// or http://"),
        ({"url": "nonsense"}, "must start with https:// or http://"),
        ({"url": "http://10.0.0.1/"}, "CHAINBELL_ALLOWED_NETWORKS"),
        ({"url": "https://user:pass@example.com/"}, "must not hold a user name"),
        ({"url": "https://exam ple.com/"}, "characters that no URL has"),
        ({"events": ["transaction.deposit.sucess"]}, "did you mean transaction.deposit.success?"),
        ({"events": ["nonsense.*"]}, "there is no event"),
        ({"events": ["\x00"]}, "there is no event"),
        ({"version": 1, "events": ["transaction.deposit.success"]}, "in version 1"),
        ({"version": 3}, "version"),
        ({"chains": ["etherium"]}, "did you mean ethereum?"),
        ({"chains": ["anvil"]}, "nothing crosses modes"),
        ({"accounts": [str(uuid4())]}, "there is no account"),
        ({"accounts": ["nonsense"]}, "UUID"),
        ({"mode": "test"}, "mode"),
        ({"url": None}, "valid string"),
    ],
)
async def test_a_bad_endpoint_is_refused_in_words(database_url: str, change: dict[str, Any], words: str) -> None:
    """422 that says what is wrong and what to do, at creation; nothing is registered."""
    async with api_house(database_url) as house, house.client(await house.key(Mode.LIVE)) as client:
        answer = await client.post("/v2/endpoints", json={"url": URL} | change)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert words in answer.text
        assert await house.fetchval("select count(*) from endpoints") == 0


async def test_an_endpoint_changes_all_but_version_and_mode(database_url: str) -> None:
    """PATCH changes what it names and leaves the rest; version, mode and what cannot be are refused."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        made = (await client.post("/v2/endpoints", json={"url": URL, "events": ["transaction.*"]})).json()
        path = f"/v2/endpoints/{made['id']}"
        changed = await client.patch(path, json={"enabled": False, "chains": ["anvil"]})
        assert changed.status_code == HTTPStatus.OK
        assert changed.json()["enabled"] is False
        assert changed.json()["disabledReason"]
        assert changed.json()["chains"] == ["anvil"]
        assert changed.json()["events"] == ["transaction.*"]
        again = (await client.patch(path, json={"enabled": True, "url": f"{URL}/2", "events": []})).json()
        assert (again["enabled"], again["disabledReason"], again["url"], again["events"]) == (True, None, f"{URL}/2", [])
        for change in (
            {"version": 1},
            {"mode": "live"},
            {"url": "http://10.0.0.1/"},
            {"events": ["nonsense"]},
            {"chains": ["ethereum"]},
            {"accounts": [await house.default_account(Mode.LIVE)]},
        ):
            assert (await client.patch(path, json=change)).status_code == HTTPStatus.UNPROCESSABLE_ENTITY, change
        assert (await client.get(path)).json() == again
        assert (await client.delete(path)).status_code == HTTPStatus.NO_CONTENT
        for method in ("GET", "PATCH", "DELETE"):
            body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
            assert (await client.request(method, path, **body)).status_code == HTTPStatus.NOT_FOUND


async def test_an_endpoint_belongs_to_its_account_and_mode(database_url: str) -> None:
    """A key of one account makes endpoints for that account alone, and sees no others; a mode sees none of the other."""
    async with api_house(database_url) as house:
        account = await house.account()
        keys = [await house.key(account=account), await house.key(), await house.key(Mode.LIVE)]
        async with house.client(keys[0]) as own, house.client(keys[1]) as every, house.client(keys[2]) as live:
            mine = (await own.post("/v2/endpoints", json={"url": URL})).json()
            assert mine["accounts"] == [account]
            assert mine["accountId"] == account
            foreign = (await every.post("/v2/endpoints", json={"url": URL})).json()
            default = await house.default_account()
            named = await own.post("/v2/endpoints", json={"url": URL, "accounts": [default]})
            assert named.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            widened = await own.patch(f"/v2/endpoints/{mine['id']}", json={"accounts": []})
            assert widened.json()["accounts"] == [account]

            assert [item["id"] for item in (await own.get("/v2/endpoints")).json()["items"]] == [mine["id"]]
            assert [item["id"] for item in (await every.get("/v2/endpoints")).json()["items"]] == [foreign["id"], mine["id"]]
            assert (await live.get("/v2/endpoints")).json()["items"] == []
            for client in (own, live):
                for method in ("GET", "PATCH", "DELETE"):
                    body: dict[str, Any] = {"json": {"enabled": False}} if method == "PATCH" else {}
                    answer = await client.request(method, f"/v2/endpoints/{foreign['id']}", **body)
                    assert answer.status_code == HTTPStatus.NOT_FOUND
            assert (await every.get(f"/v2/endpoints/{foreign['id']}")).json()["enabled"] is True
