"""What an address is for, what leaves it, and what it holds: by the API, and in what is written down of it."""

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

import pytest

from chainbell.domain.address import parse_address
from chainbell.domain.chain import BlockRef, Mode
from chainbell.domain.following import KeptLedger
from chainbell.domain.seeding import NOT_READ, READ_AGAIN
from chainbell.domain.watch import Purpose
from chainbell.storage.losses import LostAddress, remember
from chainbell.storage.registrations import addresses_added
from chainbell.storage.scan_list import ScanList
from chainbell.storage.seeding import SeedStore
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import CHECKSUMMED, CURSOR, ApiHouse, api_house

CHAIN = "bitcoin-regtest"
SEGWIT = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"
CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[ApiHouse]:
    """Open the API on a database in which a chain of the family was started too."""
    async with api_house(database_url) as opened:
        cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
        definition = opened.services.chains[CHAIN]
        await opened.services.chain_states.start(definition, builders.block_hash(0), KeptLedger((cursor,)), now())
        yield opened


async def test_an_address_is_registered_for_change(house: ApiHouse) -> None:
    """The purpose is shown where the address is; without one it is for deposits."""
    async with house.client(await house.key()) as client:
        for address, asked, purpose in ((SEGWIT, {"purpose": "change"}, "change"), (TAPROOT, {}, "deposit")):
            answer = await client.post("/v2/addresses", json={"chain": CHAIN, "address": address, **asked})
            assert (answer.status_code, answer.json()["purpose"]) == (HTTPStatus.CREATED, purpose), answer.text
        listed = (await client.get("/v2/addresses")).json()["items"]
        assert {item["address"]: item["purpose"] for item in listed} == {SEGWIT: "change", TAPROOT: "deposit"}
        wrong = await client.post("/v2/addresses", json={"chain": CHAIN, "address": TAPROOT, "purpose": "savings"})
        assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_there_is_no_change_where_payments_have_none(house: ApiHouse) -> None:
    """On an EVM chain the purpose is refused with its reason, alone and in a file."""
    async with house.client(await house.key()) as client:
        body = {"chain": "anvil", "address": CHECKSUMMED}
        answer = await client.post("/v2/addresses", json=body | {"purpose": "change"})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "is for chains of the Bitcoin family" in answer.json()["detail"]
        table = f"address,purpose\n{CHECKSUMMED},change\n"
        answer = await client.post("/v2/addresses/bulk?chain=anvil", content=table, headers=CSV)
        (bad,) = answer.json()["badLines"]
        assert bad["line"] == 2
        assert "is for chains of the Bitcoin family" in bad["reason"]
        assert (await client.post("/v2/addresses", json=body | {"purpose": "deposit"})).status_code == HTTPStatus.CREATED


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (CSV, f"purpose,address\nchange,{SEGWIT}\n,{TAPROOT}\n"),
        (NDJSON, f'{{"address": "{SEGWIT}", "purpose": "change"}}\n{{"address": "{TAPROOT}", "purpose": null}}\n'),
    ],
    ids=["csv", "ndjson"],
)
async def test_a_file_says_what_its_addresses_are_for(house: ApiHouse, headers: dict[str, str], content: str) -> None:
    """Each line has its own purpose; one that says none is for deposits, and one that is none of ours is bad."""
    async with house.client(await house.key()) as client:
        path = f"/v2/addresses/bulk?chain={CHAIN}"
        wrong = await client.post(path, content=content.replace("change", "savings"), headers=headers)
        assert [bad["reason"] for bad in wrong.json()["badLines"]] == [
            "the purpose is none of ours: write deposit, change, or nothing"
        ]
        answer = await client.post(path, content=content, headers=headers)
        assert answer.status_code == HTTPStatus.OK, answer.text
        listed = (await client.get("/v2/addresses")).json()["items"]
        assert {item["address"]: item["purpose"] for item in listed} == {SEGWIT: "change", TAPROOT: "deposit"}


async def test_the_journal_knows_what_an_address_is_for(house: ApiHouse) -> None:
    """After a restore an address for change is to be registered as such again."""
    async with house.client(await house.key()) as client:
        await client.post("/v2/addresses", json={"chain": CHAIN, "address": SEGWIT, "purpose": "change"})
        await client.post("/v2/addresses", json={"chain": CHAIN, "address": TAPROOT})
    scripts = [parse_address(house.services.chains[CHAIN].addresses, address) for address in (SEGWIT, TAPROOT)]
    watches = [await house.services.watches.get(CHAIN, script) for script in scripts]
    entries = addresses_added(watches, now())
    remembered = remember([{"action": entry.action, **entry.members} for entry in entries])
    found: Sequence[LostAddress | None] = [remembered.addresses[watch.chain, watch.address] for watch in watches]
    assert [lost and lost.purpose for lost in found] == [Purpose.CHANGE, Purpose.DEPOSIT]


async def test_an_evm_address_has_what_leaves_it_covered_at_once(house: ApiHouse) -> None:
    """There are no older outputs: what leaves is covered with what arrives; balances are not kept."""
    async with house.client(await house.key()) as client:
        added = (await client.post("/v2/addresses", json={"chain": "anvil", "address": CHECKSUMMED})).json()
        assert (added["outgoingFrom"], added["outgoingReason"]) == (added["watchedFrom"], None)
        (item,) = (await client.get("/v2/coverage", params={"address": CHECKSUMMED})).json()["items"]
        assert (item["address"]["outgoingFrom"], item["address"]["outgoingReason"]) == (added["watchedFrom"], None)
        balance = (await client.get(f"/v2/addresses/anvil/{CHECKSUMMED}/balance")).json()
        assert (balance["amount"], balance["amountBaseUnits"]) == (None, None)
        assert balance["reason"].startswith("balances are kept for chains of the Bitcoin family alone")


async def test_an_address_says_why_what_leaves_it_is_not_covered(house: ApiHouse) -> None:
    """First its older outputs must be read, then what came meanwhile; nobody is shown that scan, and no other account it."""
    async with house.client(await house.key()) as client:
        added = (await client.post("/v2/addresses", json={"chain": CHAIN, "address": TAPROOT})).json()
        assert (added["outgoingFrom"], added["outgoingReason"]) == (None, NOT_READ)
        (chain,) = [one for one in (await client.get("/v2/chains")).json()["items"] if one["name"] == CHAIN]
        assert chain["seeding"] == {"addresses": 1, "trouble": None}
        seeds = SeedStore(house.database)
        await seeds.note_trouble(CHAIN, "no node tells")
        (chain,) = [one for one in (await client.get("/v2/chains")).json()["items"] if one["name"] == CHAIN]
        assert chain["seeding"] == {"addresses": 1, "trouble": "no node tells"}

        await house.fetchval("update addresses set seeded_height = $1", CURSOR)
        path = f"/v2/addresses/{CHAIN}/{TAPROOT}"
        shown = (await client.get(path)).json()
        assert (shown["outgoingFrom"], shown["outgoingReason"]) == (None, READ_AGAIN)
        balance = (await client.get(f"{path}/balance")).json()
        assert (balance["amount"], balance["reason"], balance["asOfHeight"]) == (None, READ_AGAIN, CURSOR)

        await house.fetchval("update addresses set outgoing_from = $1", CURSOR + 1)
        shown = (await client.get(path)).json()
        assert (shown["outgoingFrom"], shown["outgoingReason"]) == (CURSOR + 1, None)
        balance = (await client.get(f"{path}/balance")).json()
        assert (balance["amount"], balance["amountBaseUnits"], balance["symbol"]) == ("0", "0", "BTC")
        assert (await client.get(f"/v2/addresses/{CHAIN}/{SEGWIT}/balance")).status_code == HTTPStatus.NOT_FOUND
    other = await house.key(account=await house.account())
    async with house.client(other) as client:
        assert (await client.get(f"{path}/balance")).status_code == HTTPStatus.NOT_FOUND
        assert all(one["seeding"] is None for one in (await client.get("/v2/chains")).json()["items"])
    async with house.client(await house.key(Mode.LIVE)) as client:
        assert (await client.get(f"{path}/balance")).status_code == HTTPStatus.NOT_FOUND


async def test_the_scan_behind_a_set_is_nobodys(house: ApiHouse) -> None:
    """What is read again after seeding is no scan that somebody asked for: it is neither listed nor shown."""
    async with house.client(await house.key()) as client:
        await client.post("/v2/addresses", json={"chain": CHAIN, "address": TAPROOT})
        scan_id = await house.fetchval(
            "insert into scans (chain, from_height, through_height, next_height, next_hash, notify, seeding, created_at, "
            "advanced_at) select name, cursor_height, cursor_height, cursor_height, cursor_hash, true, true, now(), now() "
            "from chains where name = $1 returning id",
            CHAIN,
        )
        await house.fetchval("insert into scan_addresses select $1, id from addresses", scan_id)
        assert (await client.get("/v2/scans")).json()["items"] == []
        assert (await client.get(f"/v2/scans/{scan_id}")).status_code == HTTPStatus.NOT_FOUND
        assert (await client.get(f"/v2/addresses/{CHAIN}/{TAPROOT}")).json()["scan"] is None
        (item,) = (await client.get("/v2/coverage", params={"address": TAPROOT})).json()["items"]
        assert item["address"]["unfinishedScanIds"] == []
        assert await ScanList(house.database).unfinished([CHAIN]) == []
