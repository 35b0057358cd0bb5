"""API keys: who gets in, with which scopes, and how keys are kept."""

from http import HTTPStatus
from uuid import UUID, uuid4

import httpx
import pytest

from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.storage.api_keys import NewApiKey, Scope, write_key
from chainbell.storage.paging import PageRequest
from chainbell.telemetry.clock import now
from tests.api_client import CHECKSUMMED, ApiHouse, api_house


def _is_refused(answer: httpx.Response, status: HTTPStatus) -> bool:
    document = answer.json()
    return (
        answer.status_code == status
        and document["status"] == status
        and answer.headers["content-type"] == "application/problem+json"
    )


async def test_without_a_key_nobody_gets_in(database_url: str) -> None:
    """No key, an unknown one, one in the wrong scheme and a revoked one are 401 with WWW-Authenticate."""
    async with api_house(database_url) as house, house.client() as client:
        good = await house.key()
        (key,) = (await house.services.api_keys.list(PageRequest())).items
        unknown = write_key(Mode.TEST, bytes(32))
        tries: list[dict[str, str]] = [
            {},
            {"Authorization": f"Bearer {unknown}"},
            {"Authorization": f"Basic {good}"},
            {"Authorization": good},
            {"X-API-Key": "\xff"},
            {"X-API-Key": good[:-1]},
        ]
        for headers in tries:
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            for method, path in (("GET", "/v2/addresses"), ("POST", "/v2/addresses"), ("GET", "/v2/events")):
                answer = await client.request(method, path, headers=encoded)
                assert _is_refused(answer, HTTPStatus.UNAUTHORIZED), (headers, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": f"Bearer {good}"}, {"X-API-Key": good}):
            assert (await client.get("/v2/addresses", headers=headers)).status_code == HTTPStatus.OK
        await house.services.api_keys.revoke(UUID(key.id), now())
        assert _is_refused(await client.get("/v2/addresses", headers={"X-API-Key": good}), HTTPStatus.UNAUTHORIZED)


async def test_a_scope_that_a_key_lacks_is_forbidden(database_url: str) -> None:
    """A key that may only read cannot write, and the other way round; each is told which scope it lacks."""
    async with api_house(database_url) as house:
        reader, writer = await house.key(scopes=[Scope.READ]), await house.key(scopes=[Scope.WRITE])
        wanted = {"chain": "anvil", "address": CHECKSUMMED}
        async with house.client(reader) as reading, house.client(writer) as writing:
            refused = await reading.post("/v2/addresses", json=wanted)
            assert _is_refused(refused, HTTPStatus.FORBIDDEN)
            assert "scope write" in refused.json()["detail"]
            assert (await writing.post("/v2/addresses", json=wanted)).status_code == HTTPStatus.CREATED
            assert _is_refused(await writing.get("/v2/addresses"), HTTPStatus.FORBIDDEN)
            assert len((await reading.get("/v2/addresses")).json()["items"]) == 1


async def test_a_key_is_kept_as_its_hash(database_url: str) -> None:
    """Neither the key nor enough of it to use is in the database; what is kept tells it from others."""
    async with api_house(database_url) as house:
        text = await house.key(Mode.LIVE)
        (key,) = (await house.services.api_keys.list(PageRequest())).items
        assert text.startswith("cb_live_")
        assert text.startswith(key.prefix)
        assert len(key.prefix) < len("cb_live_") + 8
        kept = await house.fetchval("select row_to_json(k)::text from api_keys k")
        assert text not in kept
        assert await house.services.api_keys.recognise(text) == key


@pytest.mark.parametrize("account", ["nonsense", "00000000-0000-4000-8000-0000000000ff"])
async def test_a_key_needs_an_account_that_is_there(database_url: str, account: str) -> None:
    """An account that is no UUID, unknown, or of the other mode is refused."""
    async with api_house(database_url) as house:
        for wanted in (account, await house.default_account(Mode.LIVE)):
            new = NewApiKey("name", Mode.TEST, [Scope.READ], wanted)
            with pytest.raises(InputError, match="account"):
                await house.services.api_keys.add(new, write_key(Mode.TEST, bytes(32)), now())


async def test_what_makes_no_key(database_url: str) -> None:
    """A key without scope or name is refused, and one that is not there cannot be revoked."""
    for name, scopes in (("", [Scope.READ]), ("x" * 101, [Scope.READ]), ("a\nb", [Scope.READ]), ("name", [])):
        with pytest.raises(InputError):
            NewApiKey(name, Mode.TEST, scopes)
    async with api_house(database_url) as house:
        with pytest.raises(NotFoundError, match="api-key list"):
            await house.services.api_keys.revoke(uuid4(), now())


async def test_what_another_mode_has_is_not_there(database_url: str) -> None:
    """Transactions, events, deliveries and chains of the other mode, or of another account, are 404."""
    async with api_house(database_url) as house:
        uid = await house.tell(1)
        event = str(await house.fetchval("select id from events order by position limit 1"))
        keys = [await house.key(Mode.LIVE), await house.key(account=await house.account())]
        for key in keys:
            async with house.client(key) as client:
                for path in (f"/v2/transactions/{uid}", f"/v2/events/{event}", "/v2/deliveries/1"):
                    assert _is_refused(await client.get(path), HTTPStatus.NOT_FOUND)
                for path in ("/v2/transactions", "/v2/events", "/v2/deliveries"):
                    assert (await client.get(path)).json()["items"] == []
        of_mode = {mode: {name for name, chain in house.services.chains.items() if chain.mode is mode} for mode in Mode}
        assert await _names(house, keys[0]) == of_mode[Mode.LIVE]
        assert await _names(house, keys[1]) == of_mode[Mode.TEST]


async def _names(house: ApiHouse, key: str) -> set[str]:
    async with house.client(key) as client:
        return {item["name"] for item in (await client.get("/v2/chains")).json()["items"]}
