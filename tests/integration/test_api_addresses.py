"""The API's watched addresses: registered durably, once per chain, refused in words, seen by their own account only."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest

from chainbell.domain.chain import Mode
from tests.api_client import CHECKSUMMED, CURSOR, ApiHouse, api_house

LOWER = CHECKSUMMED.lower()


async def _customer(house: ApiHouse, account: str) -> str:
    return str(
        await house.fetchval("insert into customers (account_id, created_at) values ($1, now()) returning id", account)
    )


async def test_an_address_is_watched_durably_when_201_returns(database_url: str) -> None:
    """The answer says from which block on, and another connection sees the watch at once."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        customer = await _customer(house, await house.default_account())
        wanted = {"chain": "anvil", "address": LOWER, "label": "Kasse 7 [bold]ß", "customerId": customer}
        answer = await client.post("/v2/addresses", json=wanted)
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        shown = answer.json()
        assert shown["watchedFrom"] == CURSOR + 1
        assert shown["address"] == CHECKSUMMED
        assert shown["chain"] == "anvil"
        assert shown["label"] == "Kasse 7 [bold]ß"
        assert shown["accountId"] == await house.default_account()
        assert shown["customerId"] == customer
        assert await house.fetchval("select address from addresses") == bytes.fromhex(LOWER[2:])
        for path in (f"/v2/addresses/anvil/{LOWER}", f"/v2/addresses/ANVIL/{CHECKSUMMED}"):
            assert (await client.get(path)).json() == shown
        assert (await client.get("/v2/addresses")).json() == {"items": [shown], "nextCursor": None}


async def test_an_address_is_registered_once_per_chain(database_url: str) -> None:
    """A second time is 409, also by a key of another account; after a removal it may be registered again."""
    async with api_house(database_url) as house:
        other = await house.key(account=await house.account())
        async with house.client(await house.key()) as client, house.client(other) as stranger:
            wanted = {"chain": "anvil", "address": LOWER}
            assert (await client.post("/v2/addresses", json=wanted)).status_code == HTTPStatus.CREATED
            for somebody in (client, stranger):
                answer = await somebody.post("/v2/addresses", json=wanted)
                assert answer.status_code == HTTPStatus.CONFLICT
                assert "watched on anvil already" in answer.json()["detail"]
            removed = await client.delete(f"/v2/addresses/anvil/{LOWER}")
            assert removed.status_code == HTTPStatus.NO_CONTENT
            assert removed.content == b""
            assert (await client.get(f"/v2/addresses/anvil/{LOWER}")).status_code == HTTPStatus.NOT_FOUND
            assert (await client.delete(f"/v2/addresses/anvil/{LOWER}")).status_code == HTTPStatus.NOT_FOUND
            assert (await stranger.post("/v2/addresses", json=wanted)).status_code == HTTPStatus.CREATED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": "0x1234"}, "is not an address of an EVM chain"),
        ({"address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}, "is not an address of an EVM chain"),
        ({"address": CHECKSUMMED.replace("E", "e", 1)}, "checksum"),
        ({"address": "0x" + "g" * 40}, "is not an address of an EVM chain"),
        ({"address": LOWER + "\n"}, "is not an address of an EVM chain"),
        ({"address": "\x00"}, "is not an address of an EVM chain"),
        ({"chain": "etherium"}, "there is no chain 'etherium'"),
        ({"chain": "anvi"}, "did you mean anvil?"),
        ({"chain": "ethereum"}, "nothing crosses modes"),
        ({"label": "x" * 201}, "at most 200 characters"),
        ({"label": ""}, "at least 1 character"),
        ({"label": "a\x00b"}, "pattern"),
        ({"label": 7}, "valid string"),
        ({"accountId": str(uuid4())}, "account"),
        ({"customerId": str(uuid4())}, "has no customer"),
        ({"accountId": "nonsense"}, "UUID"),
        ({"lable": "typo"}, "lable"),
        ({"address": 7}, "valid string"),
        ({"address": None}, "register an extended public key first"),
        ({"keyId": str(uuid4())}, "address and keyId exclude each other"),
        ({"purpose": "rent"}, "'deposit' or 'change'"),
    ],
)
async def test_a_bad_address_is_refused_in_words(database_url: str, change: dict[str, Any], words: str) -> None:
    """422 with a problem document that says what is wrong, and nothing is registered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", json={"chain": "anvil", "address": LOWER} | change)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in answer.text.replace("\\n", "\n")
        assert await house.fetchval("select count(*) from addresses") == 0


async def test_a_chain_without_a_cursor_takes_no_address(database_url: str) -> None:
    """503 with Retry-After and what to do, since nothing would be covered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", json={"chain": "sepolia", "address": LOWER})
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert int(answer.headers["retry-after"]) > 0
        assert "CHAINBELL_NODES__SEPOLIA" in answer.json()["detail"]


async def test_a_key_of_one_account_sees_and_registers_only_there(database_url: str) -> None:
    """It registers into its account without naming it; others' addresses are not there for it, nor for the other mode."""
    async with api_house(database_url) as house:
        account = await house.account()
        mine, all_, live = await house.key(account=account), await house.key(), await house.key(Mode.LIVE)
        async with house.client(mine) as own, house.client(all_) as every, house.client(live) as other_mode:
            assert (await own.post("/v2/addresses", json={"chain": "anvil", "address": LOWER})).json()[
                "accountId"
            ] == account
            foreign = "0x" + "ab" * 20
            assert (await every.post("/v2/addresses", json={"chain": "anvil", "address": foreign})).is_success
            named = {"chain": "anvil", "address": "0x" + "cd" * 20, "accountId": await house.default_account()}
            refused = await own.post("/v2/addresses", json=named)
            assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert "there is no account" in refused.json()["detail"]

            assert [item["address"].lower() for item in (await own.get("/v2/addresses")).json()["items"]] == [LOWER]
            assert len((await every.get("/v2/addresses")).json()["items"]) == 2
            filtered = (await every.get("/v2/addresses", params={"accountId": account, "chain": "anvil"})).json()["items"]
            assert [item["address"].lower() for item in filtered] == [LOWER]
            strangers = await own.get("/v2/addresses", params={"accountId": await house.default_account()})
            assert strangers.json() == {"items": [], "nextCursor": None}
            for client in (own, other_mode):
                for method in ("GET", "DELETE"):
                    answer = await client.request(method, f"/v2/addresses/anvil/{foreign}")
                    assert answer.status_code == HTTPStatus.NOT_FOUND
            assert (await other_mode.get("/v2/addresses")).json()["items"] == []
            assert (await every.get(f"/v2/addresses/anvil/{foreign}")).is_success


async def test_pages_hold_every_address_once(database_url: str) -> None:
    """Following nextCursor lists all, newest first; a cursor of another listing, or of nobody, is refused."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for number in range(7):
            wanted = {"chain": "anvil", "address": f"0x{number:040x}"}
            assert (await client.post("/v2/addresses", json=wanted)).is_success
        listed: list[str] = []
        params: dict[str, Any] = {"limit": 3}
        while True:
            page = (await client.get("/v2/addresses", params=params)).json()
            listed += [item["address"] for item in page["items"]]
            if page["nextCursor"] is None:
                break
            params["cursor"] = page["nextCursor"]
        assert [int(address, 16) for address in listed] == [6, 5, 4, 3, 2, 1, 0]
        for number in range(3):
            await house.tell(number)
        transactions = (await client.get("/v2/transactions", params={"limit": 1})).json()["nextCursor"]
        for cursor in (transactions, "garbage", "", "MDox", "WzEsMl0", "\x00"):
            answer = await client.get("/v2/addresses", params={"cursor": cursor})
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, cursor
            assert "cursor is none of ours" in answer.json()["detail"]
