"""The installed command on a real database: what it does, prints for people, and prints as JSON."""

from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from chainbell.api.views.transaction import TransactionView
from tests.api_client import CHECKSUMMED, CURSOR, api_house
from tests.command import SECRET_KEY, chainbell

pytestmark = pytest.mark.timeout(300)


async def test_addresses_are_added_listed_and_removed(database_url: str, tmp_path: Path) -> None:
    """JSON lines have the API's members, tables are for people, and a second time is one line and code 1."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        added = run("address", "add", "anvil", CHECKSUMMED.lower(), "--label", "till [7]", "--json")
        assert (added.code, added.err) == (0, "")
        (shown,) = added.lines
        assert (shown["address"], shown["watchedFrom"], shown["label"]) == (CHECKSUMMED, CURSOR + 1, "till [7]")
        assert (await client.get("/v2/addresses")).json()["items"] == [shown]
        table = run("address", "list", "--chain", "anvil")
        assert CHECKSUMMED in table.out
        assert "till [7]" in table.out
        again = run("address", "add", "anvil", CHECKSUMMED)
        assert (again.code, again.out) == (1, "")
        assert "is watched on anvil already" in again.err
        assert again.err.count("\n") == 1
        assert run("address", "remove", "anvil", CHECKSUMMED).code == 0
        assert (await client.get("/v2/addresses")).json()["items"] == []


async def test_endpoints_are_added_switched_and_removed(database_url: str, tmp_path: Path) -> None:
    """The secret is shown by `add` alone; disable changes the state; a removed id says where to look."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    words = ("--mode", "test", "--event", "transaction.deposit.*", "--chain", "anvil")
    added = run("endpoint", "add", "https://example.com/hook", *words)
    assert added.code == 0, added.err
    identity = added.out.split()[1]
    assert str(UUID(identity)) == identity
    assert "whsec_" in added.out
    assert run("endpoint", "disable", identity).code == 0
    (shown,) = run("endpoint", "list", "--json").lines
    assert (shown["id"], shown["enabled"], shown["chains"]) == (identity, False, ["anvil"])
    assert "secret" not in shown
    assert run("endpoint", "remove", identity).code == 0
    gone = run("endpoint", "enable", identity)
    assert gone.code == 1
    assert "chainbell endpoint list" in gone.err


async def test_an_api_key_opens_the_api_until_it_is_removed(database_url: str, tmp_path: Path) -> None:
    """`add` prints the key once; the API takes it, and after `remove` takes it no more."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    (made,) = run("api-key", "add", "shop", "--mode", "test", "--scope", "read", "--json").lines
    assert (made["name"], made["mode"], made["scopes"]) == ("shop", "test", ["read"])
    async with api_house(database_url) as house, house.client(made["key"]) as client:
        assert (await client.get("/v2/chains")).is_success
        assert (await client.post("/v2/deliveries/1/replay")).status_code == 403
        assert run("api-key", "remove", made["id"]).code == 0
        assert (await client.get("/v2/chains")).status_code == 401
        listed = run("api-key", "list").out
        assert "revoked" in listed
        assert made["key"] not in listed


async def test_listings_page_filter_and_replay(database_url: str, tmp_path: Path) -> None:
    """The listings and status say the same as the API, by pages; replay queues again."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        await client.post("/v2/endpoints", json={"url": "https://example.com/hook"})
        uids = [await house.tell(number) for number in (1, 2)]
        first = run("transactions", "--limit", "1", "--json", "--status", "AWAITING_CONFIRMATION")
        assert [TransactionView.model_validate(line).uid for line in first.lines] == uids[1:]
        cursor = first.err.split()[-1]
        second = run("transactions", "--cursor", cursor)
        assert uids[0] in second.out
        assert uids[1] not in second.out
        assert second.err == ""

        feed = (await client.get("/v2/events", params={"limit": 3})).json()
        events = run("events", "--limit", "3", "--json")
        assert events.lines == feed["items"]
        assert feed["nextCursor"] in events.err
        async with house.database.connection() as connection:
            await connection.execute("update deliveries set status = 'exhausted'")
        listed = run("deliveries", "--status", "exhausted", "--json").lines
        assert len(listed) == 4
        assert run("replay", str(listed[0]["id"])).code == 0

        (status,) = run("status", "--json").lines
        assert [chain["name"] for chain in status["chains"]] == ["anvil", "ethereum"]
        assert (status["endpoints"][0]["pending"], status["endpoints"][0]["exhausted"]) == (1, 3)
        assert status["feedCursor"] == (await client.get("/v2/events")).json()["nextCursor"]


async def test_migrate_makes_the_schema(empty_database_url: str, tmp_path: Path) -> None:
    """Until it ran, other commands say that it must; afterwards they work, and once more changes nothing."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=empty_database_url, SECRET_KEY=SECRET_KEY)
    early = run("status")
    assert early.code == 1
    assert "chainbell migrate" in early.err
    assert run("migrate").code == 0
    again = run("status")
    assert again.code == 0
    assert "feed cursor" in again.out
