"""History by the API: an address with its past, scans with their progress, and who may see and begin them."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest

from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import Scope
from tests.api_client import CHECKSUMMED, CURSOR, ApiHouse, api_house

PAST: dict[str, Any] = {"fromHeight": 50, "notify": False}
WANTED: dict[str, Any] = {"chain": "anvil", "address": CHECKSUMMED}


async def _covering(house: ApiHouse) -> None:
    await house.fetchval(
        "insert into coverage (chain, capability, token, from_height) values ('anvil', 'coin', '', $1)", CURSOR + 1
    )


async def test_an_address_is_registered_with_its_past(database_url: str) -> None:
    """The answer shows the scan, and so do the listing, the address and the scan itself, with how far it is."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", json=WANTED | PAST)
        assert answer.status_code == HTTPStatus.CREATED
        scan = answer.json()["scan"]
        assert scan | {"id": "", "createdAt": "", "advancedAt": "", "accountId": ""} == {
            "id": "",
            "chain": "anvil",
            "accountId": "",
            "fromHeight": 50,
            "throughHeight": CURSOR,
            "nextHeight": CURSOR,
            "notify": False,
            "blocks": CURSOR - 49,
            "blocksRead": 0,
            "trouble": None,
            "finishedAt": None,
            "createdAt": "",
            "advancedAt": "",
        }
        assert scan["accountId"] == answer.json()["accountId"]
        await house.fetchval("update scans set next_height = 60, trouble = 'node 1 is away'")
        later = scan | {"nextHeight": 60, "blocksRead": 40, "trouble": "node 1 is away"}
        assert (await client.get("/v2/addresses")).json()["items"][0]["scan"] == later
        assert (await client.get(f"/v2/addresses/anvil/{CHECKSUMMED}")).json()["scan"] == later
        assert (await client.get(f"/v2/scans/{scan['id']}")).json() == later
        assert (await client.get("/v2/scans")).json() == {"items": [later], "nextCursor": None}


async def test_without_history_nothing_is_read(database_url: str) -> None:
    """Not asked for, or above the cursor: the address is registered, and has no scan."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        above: dict[str, Any] = {"fromHeight": CURSOR + 1, "notify": True}
        for number, more in enumerate(({}, {"fromHeight": None, "notify": None}, above)):
            answer = await client.post("/v2/addresses", json={"chain": "anvil", "address": f"0x{number:040x}", **more})
            assert answer.status_code == HTTPStatus.CREATED
            assert answer.json()["scan"] is None
        assert (await client.get("/v2/scans")).json()["items"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fromHeight": 50}, "fromHeight needs notify"),
        ({"fromHeight": 50, "notify": None}, "fromHeight needs notify"),
        ({"notify": True}, "give fromHeight as well"),
        ({"fromHeight": -1, "notify": True}, "greater than or equal to 0"),
        ({"fromHeight": 2**63, "notify": True}, "less than or equal to"),
        ({"fromHeight": "50", "notify": True}, "valid integer"),
        ({"fromHeight": 50, "notify": "yes"}, "valid boolean"),
    ],
)
async def test_half_of_a_wish_is_refused_in_words(database_url: str, change: dict[str, Any], words: str) -> None:
    """422 that says what to do, for an address and for a whole chain, and nothing is registered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for path, body in (("/v2/addresses", WANTED), ("/v2/scans", {"chain": "anvil"})):
            answer = await client.post(path, json=body | change)
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
            assert words in answer.text
        assert await house.fetchval("select count(*) from addresses") == 0
        assert await house.fetchval("select count(*) from scans") == 0


async def test_a_registration_with_its_past_is_done_once(database_url: str) -> None:
    """Under its key it is answered as the first time, and no second scan begins."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        key = {"Idempotency-Key": "once"}
        first = await client.post("/v2/addresses", json=WANTED | PAST, headers=key)
        again = await client.post("/v2/addresses", json=WANTED | PAST, headers=key)
        assert again.content == first.content
        assert await house.fetchval("select count(*) from scans") == 1
        assert await house.fetchval("select count(*) from scan_addresses") == 1


async def test_a_whole_chain_is_read_again(database_url: str) -> None:
    """For every address; without heights, above the cursor, or on a chain that was never reached, it says what to do."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        begun = await client.post("/v2/scans", json={"chain": "ANVIL", "fromHeight": 0, "notify": True})
        assert begun.status_code == HTTPStatus.CREATED
        shown = begun.json()
        assert (shown["accountId"], shown["blocks"], shown["notify"]) == (None, CURSOR + 1, True)
        for body, status, words in (
            ({"chain": "anvil"}, HTTPStatus.UNPROCESSABLE_ENTITY, "fromHeight and notify are missing"),
            ({"chain": "anvil", "fromHeight": CURSOR + 1, "notify": True}, HTTPStatus.UNPROCESSABLE_ENTITY, "below 101"),
            ({"chain": "ethereum"} | PAST, HTTPStatus.UNPROCESSABLE_ENTITY, "nothing crosses modes"),
            ({"chain": "sepolia"} | PAST, HTTPStatus.SERVICE_UNAVAILABLE, "CHAINBELL_NODES__SEPOLIA"),
        ):
            answer = await client.post("/v2/scans", json=body)
            assert answer.status_code == status, answer.text
            assert words in answer.text
        assert (await client.get("/v2/scans")).json()["items"] == [shown]


async def test_a_key_of_one_account_sees_its_own_scans(database_url: str) -> None:
    """Not those of others, of whole chains or of the other mode, nothing of the operator's machines, and begins none."""
    async with api_house(database_url) as house:
        account = await house.account()
        mine, every, live = await house.key(account=account), await house.key(), await house.key(Mode.LIVE)
        async with house.client(mine) as own, house.client(every) as all_, house.client(live) as other_mode:
            added = (await own.post("/v2/addresses", json=WANTED | PAST)).json()
            foreign = (await all_.post("/v2/addresses", json=WANTED | PAST | {"address": "0x" + "ab" * 20})).json()["scan"]
            whole = (await all_.post("/v2/scans", json={"chain": "anvil"} | PAST)).json()
            await house.fetchval("update scans set trouble = 'node http://10.1.2.3 is away'")
            refused = await own.post("/v2/scans", json={"chain": "anvil"} | PAST)
            assert refused.status_code == HTTPStatus.FORBIDDEN
            assert "give address, one of your own" in refused.json()["detail"]

            assert (await own.get("/v2/scans")).json()["items"] == [added["scan"]]
            assert (await own.get("/v2/addresses")).json()["items"][0]["scan"]["trouble"] is None
            assert (await own.get(f"/v2/scans/{added['scan']['id']}")).json()["trouble"] is None
            listed = (await all_.get("/v2/scans", params={"chain": "anvil", "unfinished": True})).json()["items"]
            assert [item["id"] for item in listed] == [whole["id"], foreign["id"], added["scan"]["id"]]
            assert {item["trouble"] for item in listed} == {"node http://10.1.2.3 is away"}
            assert (await other_mode.get("/v2/scans")).json()["items"] == []
            for client, scan_id in ((own, whole["id"]), (own, foreign["id"]), (other_mode, whole["id"]), (all_, uuid4())):
                assert (await client.get(f"/v2/scans/{scan_id}")).status_code == HTTPStatus.NOT_FOUND


async def test_one_watched_address_gets_a_past_of_its_own(database_url: str) -> None:
    """Also by a key of its account; one of another account, or one that nobody watches, is not there."""
    async with api_house(database_url) as house:
        account = await house.account()
        mine, every = await house.key(account=account), await house.key()
        async with house.client(mine) as own, house.client(every) as all_:
            added = (await own.post("/v2/addresses", json=WANTED)).json()
            assert added["scan"] is None
            foreign = "0x" + "ab" * 20
            assert (await all_.post("/v2/addresses", json=WANTED | {"address": foreign})).is_success
            for client in (own, all_):
                begun = await client.post("/v2/scans", json=WANTED | PAST | {"address": CHECKSUMMED.lower()})
                assert begun.status_code == HTTPStatus.CREATED, begun.text
                scan = begun.json()
                assert (scan["accountId"], scan["fromHeight"], scan["nextHeight"]) == (account, 50, CURSOR)
                assert (await own.get(f"/v2/addresses/anvil/{CHECKSUMMED}")).json()["scan"] == scan
            of_scans = "from scan_addresses m join addresses a on a.id = m.address_id"
            members = await house.fetchval(f"select array_agg(distinct encode(a.address, 'hex')) {of_scans}")
            assert members == [CHECKSUMMED.lower().removeprefix("0x")]
            for client, address in ((own, foreign), (own, "0x" + "cd" * 20), (all_, "0x" + "cd" * 20)):
                refused = await client.post("/v2/scans", json=WANTED | PAST | {"address": address})
                assert refused.status_code == HTTPStatus.NOT_FOUND
                assert "is not watched on anvil: register it" in refused.json()["detail"]
            wrong = await own.post("/v2/scans", json=WANTED | PAST | {"address": "0x12"})
            assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert await house.fetchval("select count(*) from scans") == 2


async def test_scans_are_listed_by_pages(database_url: str) -> None:
    """Every scan once, newest first; those that are finished can be left out."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        ids = []
        for height in range(5):
            body = {"chain": "anvil", "fromHeight": height, "notify": False}
            ids.append((await client.post("/v2/scans", json=body)).json()["id"])
        await house.fetchval("update scans set next_height = 0, finished_at = now() where from_height = 1")
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 2}
        while True:
            page = (await client.get("/v2/scans", params=params)).json()
            seen += [item["id"] for item in page["items"]]
            if page["nextCursor"] is None:
                break
            params["cursor"] = page["nextCursor"]
        assert seen == ids[::-1]
        unfinished = (await client.get("/v2/scans", params={"unfinished": True})).json()["items"]
        assert [item["id"] for item in unfinished] == [ids[4], ids[3], ids[2], ids[0]]
        assert {item["nextHeight"] for item in unfinished} == {CURSOR}
        assert (await client.get(f"/v2/scans/{ids[1]}")).json()["nextHeight"] is None


async def test_coverage_says_what_is_known_and_what_is_not(database_url: str) -> None:
    """Ranges, gaps with the command that mends them, and what is not read at all, per chain."""
    async with api_house(database_url) as house, house.client(await house.key(scopes=[Scope.READ])) as client:
        await _covering(house)
        await house.grow(10)
        listed = {item["chain"]: item for item in (await client.get("/v2/coverage")).json()["items"]}
        assert {"anvil", "sepolia"} <= set(listed)
        assert "ethereum" not in listed
        assert (listed["sepolia"]["cursorHeight"], listed["sepolia"]["items"][0]["covered"]) == (None, False)
        anvil = (await client.get("/v2/coverage", params={"chain": "ANVIL"})).json()["items"][0]
        assert anvil == listed["anvil"]
        subjects = {(item["capability"], item["token"]): item for item in anvil["items"]}
        assert subjects["coin", None] == {
            "capability": "coin",
            "token": None,
            "symbol": None,
            "covered": True,
            "reason": None,
            "ranges": [
                {"fromHeight": CURSOR + 1, "throughHeight": CURSOR + 10, "grows": True, "endedAt": None, "endedReason": None}
            ],
            "gaps": [
                {
                    "fromHeight": 0,
                    "throughHeight": CURSOR,
                    "reason": "nothing looked for it before",
                    "since": None,
                    "scanId": None,
                    "mend": "chainbell scan start anvil --from-height 0 --no-notify",
                }
            ],
        }
        for capability in ("traces", "withdrawals", "mempool"):
            assert subjects[capability, None]["reason"]
        assert not any((subject["reason"] or "").startswith("not covered") for subject in subjects.values())
        assert "`chainbell run` begins" in subjects["logs", None]["reason"]


async def test_coverage_of_an_address_reaches_down_to_where_its_past_is_read(database_url: str) -> None:
    """Before it was watched nothing is claimed but what its scan has read; what the scan will read is said with its id."""
    async with api_house(database_url) as house:
        account = await house.account()
        mine, every = await house.key(account=account), await house.key()
        async with house.client(mine) as own, house.client(every) as client:
            await _covering(house)
            await house.grow(10)
            scan = (await client.post("/v2/addresses", json=WANTED | PAST)).json()["scan"]
            await house.fetchval("update scans set next_height = 80")
            asked = {"address": CHECKSUMMED.lower()}
            for params in (asked, asked | {"chain": "anvil"}):
                (shown,) = (await client.get("/v2/coverage", params=params)).json()["items"]
                assert shown["address"] == {
                    "address": CHECKSUMMED,
                    "watchedFrom": CURSOR + 11,
                    "coveredFrom": 81,
                    "unfinishedScanIds": [scan["id"]],
                    "outgoingFrom": CURSOR + 11,
                    "outgoingReason": None,
                }
                coin = shown["items"][0]
                assert [(part["fromHeight"], part["throughHeight"]) for part in coin["ranges"]] == [(81, CURSOR + 10)]
                gaps = [(gap["fromHeight"], gap["throughHeight"], gap["scanId"], bool(gap["mend"])) for gap in coin["gaps"]]
                assert gaps == [(0, 49, None, True), (50, 80, scan["id"], False)]
            for reader, address in ((own, CHECKSUMMED), (client, "0x" + "ab" * 20)):
                unknown = await reader.get("/v2/coverage", params={"address": address})
                assert unknown.status_code == HTTPStatus.NOT_FOUND
            for params in ({"address": "nonsense"}, {"chain": "nonsense"}, {"chain": "ethereum"}, {"what": "ever"}):
                assert (await client.get("/v2/coverage", params=params)).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
