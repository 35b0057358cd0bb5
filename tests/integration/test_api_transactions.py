"""The API's transactions, deliveries and chains: what is listed, by which filters, in which words."""

import base64
from http import HTTPStatus

import httpx
import orjson
import pytest

from chainbell.api.views.transaction import TransactionView
from chainbell.domain.chain import Mode
from tests import builders
from tests.api_client import CURSOR, ApiHouse, api_house

OURS = "0x" + builders.OURS.hex()


async def test_a_transaction_has_the_members_of_its_webhook(database_url: str) -> None:
    """Shown right after its last event it equals that event's data, but for the status before, which is an event's."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        uid = await house.tell(1)
        shown = (await client.get(f"/v2/transactions/{uid}")).json()
        stored = await house.fetchval("select body_v2 from events order by position desc limit 1")
        assert shown == orjson.loads(stored)["data"] | {"previousStatus": None}
        TransactionView.model_validate(shown)
        assert (await client.get("/v2/transactions")).json() == {"items": [shown], "nextCursor": None}


async def test_confirmations_grow_with_the_cursor(database_url: str) -> None:
    """What is shown counts from our cursor now, not from the last event."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        uid = await house.tell(1)
        await house.grow(4)
        assert (await client.get(f"/v2/transactions/{uid}")).json()["confirmation"] == 5


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ({}, 2),
        ({"type": "DEPOSIT"}, 2),
        ({"type": "TRANSFER"}, 0),
        ({"status": "AWAITING_CONFIRMATION"}, 2),
        ({"status": "SUCCESS"}, 0),
        ({"chain": "anvil"}, 2),
        ({"chain": "ANVIL"}, 2),
        ({"chain": "sepolia"}, 0),
        ({"address": OURS}, 2),
        ({"address": OURS, "chain": "anvil", "type": "DEPOSIT"}, 2),
        ({"address": "0x" + "ab" * 20}, 0),
        ({"hash": "0x" + builders.tx_hash(2).hex()}, 1),
        ({"hash": "0x" + "00" * 32}, 0),
    ],
)
async def test_filters_narrow_the_list(database_url: str, query: dict[str, str], hits: int) -> None:
    """Each filter alone and together lets through what it names."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for number in (1, 2):
            await house.tell(number)
        answer = await client.get("/v2/transactions", params=query)
        assert answer.status_code == HTTPStatus.OK, answer.text
        assert len(answer.json()["items"]) == hits


@pytest.mark.parametrize(
    "query",
    [
        {"type": "deposit"},
        {"status": "nonsense"},
        {"chain": "nonsense"},
        {"chain": "ethereum"},
        {"address": "0x12"},
        {"hash": "0x12"},
        {"accountId": "nonsense"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"cursor": "nonsense"},
        {"adress": OURS},
    ],
)
async def test_a_filter_that_means_nothing_is_refused(database_url: str, query: dict[str, str]) -> None:
    """422 rather than a list that was not filtered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.get("/v2/transactions", params=query)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert answer.json()["detail"]


async def test_accounts_narrow_and_bound_the_list(database_url: str) -> None:
    """A key of all accounts may ask for one; a key of one sees that one only, whatever it asks for."""
    async with api_house(database_url) as house:
        account = await house.account()
        own, default = await house.tell(1, account=account), await house.tell(2)
        async with house.client(await house.key()) as every, house.client(await house.key(account=account)) as bound:
            assert await _uids(every) == [default, own]
            assert await _uids(every, accountId=account) == [own]
            assert await _uids(bound) == [own]
            assert await _uids(bound, accountId=await house.default_account()) == []
            assert await _uids(every, limit="1") == [default]
            assert (await bound.get(f"/v2/transactions/{default}")).status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("uid", ["trx_nonsense", "trx_%00", "%F0%9F%92%A9", "a" * 300])
async def test_what_is_no_transaction_is_not_there(database_url: str, uid: str) -> None:
    """404 for ids unknown or impossible, never an error of the database."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for resource in ("transactions", "events"):
            assert (await client.get(f"/v2/{resource}/{uid}")).status_code == HTTPStatus.NOT_FOUND


async def _uids(client: httpx.AsyncClient, **query: str) -> list[str]:
    return [item["uid"] for item in (await client.get("/v2/transactions", params=query)).json()["items"]]


async def _deliver(house: ApiHouse, client: httpx.AsyncClient, number: int, account: str | None = None) -> str:
    """Register an endpoint and tell a deposit; return the endpoint's id."""
    made = await client.post("/v2/endpoints", json={"url": "https://example.com/webhooks"})
    await house.tell(number, account=account)
    return str(made.json()["id"])


async def test_deliveries_are_listed_and_shown_with_their_attempts(database_url: str) -> None:
    """Filters narrow by endpoint, event and status; one delivery shows what each attempt came to."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        endpoint = await _deliver(house, client, 1)
        event = str(await house.fetchval("select id from events where position = 1"))
        items = (await client.get("/v2/deliveries")).json()["items"]
        assert [item["status"] for item in items] == ["pending", "pending"]
        for query, hits in (
            ({"endpointId": endpoint}, 2),
            ({"eventId": event}, 1),
            ({"eventId": "evt_unknown"}, 0),
            ({"status": "pending"}, 2),
            ({"status": "exhausted"}, 0),
            ({"limit": "1"}, 1),
        ):
            answer = await client.get("/v2/deliveries", params=query)
            assert len(answer.json()["items"]) == hits, (query, answer.text)
        (wanted,) = (await client.get("/v2/deliveries", params={"eventId": event})).json()["items"]
        async with house.database.connection() as connection:
            await connection.execute(
                "insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome, status_code, response) "
                "select id, account_id, now(), 12, 'retry', 503, '\\xff6f6b'::bytea from deliveries where id = $1",
                wanted["id"],
            )
        shown = (await client.get(f"/v2/deliveries/{wanted['id']}")).json()
        (attempt,) = shown.pop("attemptLog")
        assert shown == wanted
        assert (attempt["statusCode"], attempt["durationMs"], attempt["response"]) == (503, 12, "\ufffdok")


async def test_a_delivery_is_replayed_whatever_its_state(database_url: str) -> None:
    """202, and it is due again on a fresh schedule; twice is no duplicate. What is not there, or foreign, is 404."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await _deliver(house, client, 1)
        (last, _) = (await client.get("/v2/deliveries")).json()["items"]
        path = f"/v2/deliveries/{last['id']}"
        async with house.database.connection() as connection:
            await connection.execute("update deliveries set status = 'succeeded', attempts = 3 where id = $1", last["id"])
        assert (await client.get(path)).json()["nextAttemptAt"] is None
        for _ in range(2):
            answer = await client.post(f"{path}/replay")
            assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
            assert answer.json() == {"deliveryId": last["id"]}
            shown = (await client.get(path)).json()
            assert (shown["status"], shown["attempts"]) == ("pending", 0)
        strangers = [await house.key(Mode.LIVE), await house.key(account=await house.account())]
        for key in strangers:
            async with house.client(key) as stranger:
                assert (await stranger.post(f"{path}/replay")).status_code == HTTPStatus.NOT_FOUND
                assert (await stranger.get(path)).status_code == HTTPStatus.NOT_FOUND
        for missing in (10**6, 2**63 - 1):
            assert (await client.post(f"/v2/deliveries/{missing}/replay")).status_code == HTTPStatus.NOT_FOUND
        assert (await client.get(f"/v2/deliveries/{2**63}")).status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_an_accounts_key_sees_deliveries_to_its_own_endpoints(database_url: str) -> None:
    """What the operator's endpoint answers to the same event is none of its business."""
    async with api_house(database_url) as house:
        account = await house.account()
        async with house.client(await house.key()) as every, house.client(await house.key(account=account)) as own:
            await _deliver(house, every, 1, account)
            mine = await _deliver(house, own, 2, account)
            assert {item["endpointId"] for item in (await own.get("/v2/deliveries")).json()["items"]} == {mine}
            assert len((await every.get("/v2/deliveries")).json()["items"]) == 6


async def test_chains_show_how_far_they_are_followed(database_url: str) -> None:
    """A chain that was never started has no cursor; one that was shows it, its coverage, and what is unsettled."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await house.tell(1)
        async with house.database.connection() as connection:
            await connection.execute(
                "insert into coverage (chain, capability, token, from_height, reason) values "
                "('anvil', 'coin', '', 101, null), ('anvil', 'token', $1, 50, null), ('anvil', 'token', $1, 61, 'off')",
                builders.TOKEN,
            )
        shown = {item["name"]: item for item in (await client.get("/v2/chains")).json()["items"]}
        assert shown["sepolia"]["cursor"] is None
        anvil = shown["anvil"]
        assert anvil["cursor"] == {"height": CURSOR, "hash": "0x" + builders.block_hash(CURSOR).hex()}
        assert (anvil["unsettled"], anvil["stranded"], anvil["lag"], anvil["follower"]) == (1, [], None, None)
        assert [(entry["capability"], entry["token"]) for entry in anvil["coverage"]] == [
            ("coin", None),
            ("token", "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
        ]
        assert (await client.get("/v2/chains/anvil")).json() == anvil
        for path in ("/v2/chains/ethereum", "/v2/chains/nonsense"):
            assert (await client.get(path)).status_code == HTTPStatus.NOT_FOUND


async def test_a_key_of_one_account_sees_nothing_of_others_in_a_chain(database_url: str) -> None:
    """Trouble, follower and counts over all accounts are for keys of every account; for the others they are null."""
    inner = ("trouble", "follower", "unsettled", "stranded", "nodes")
    async with api_house(database_url) as house:
        await house.tell(1)
        await house.fetchval(
            "update chains set trouble = 'node http://10.1.2.3 is away', follower = 'host-7/1', "
            "lease_until = now() + '1 hour' where name = 'anvil'"
        )
        keys = (await house.key(account=await house.account()), await house.key())
        for key, expected in zip(keys, ([None] * 5, ["node http://10.1.2.3 is away", "host-7/1", 1, [], []]), strict=True):
            async with house.client(key) as client:
                listed = {item["name"]: item for item in (await client.get("/v2/chains")).json()["items"]}["anvil"]
                shown = (await client.get("/v2/chains/anvil")).json()
            assert shown == listed
            assert [shown[name] for name in inner] == expected
            assert shown["cursor"]["height"] == CURSOR


@pytest.mark.parametrize("last", ["9" * 30, str(2**63), "-1", "x"])
async def test_a_cursor_with_an_id_that_no_delivery_could_have_is_refused(database_url: str, last: str) -> None:
    """Whoever makes a cursor up gets 422, never an error of the database."""
    made_up = base64.urlsafe_b64encode(orjson.dumps(["2026-01-01T00:00:00+00:00", last])).decode().rstrip("=")
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.get("/v2/deliveries", params={"cursor": made_up})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
