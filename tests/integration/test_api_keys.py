"""``/v2/keys`` and addresses without a name: registered durably, handed out once, refused in words, and never a secret."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from chainbell.custody.account_key import parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.domain.address import show_address
from chainbell.domain.chain import BlockRef
from chainbell.domain.following import KeptLedger
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import Journal
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import CURSOR, ApiHouse, api_house
from tests.keys import BIP32_XPRV, REGTEST, WIF, random_key

CHAIN = "bitcoin-regtest"
VPUB = random_key(Random(1)).text(bytes.fromhex("045f1cf6"))
PHRASE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
KEYED = {"Idempotency-Key": "order-4711"}


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[ApiHouse]:
    """Open the API on a database in which a chain of the Bitcoin family was started too."""
    async with api_house(database_url) as opened:
        cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
        definition = opened.services.chains[CHAIN]
        await opened.services.chain_states.start(definition, builders.block_hash(0), KeptLedger((cursor,)), now())
        yield opened


def _addresses(house: ApiHouse, key: str, branch: int, count: int) -> list[str]:
    format_ = house.services.chains[CHAIN].addresses
    return [show_address(format_, script) for script in derive(parse_account_key(key, REGTEST), branch, 0, count)]


async def test_a_key_is_watched_when_201_returns(house: ApiHouse) -> None:
    """The answer shows what it derives; lists and its own page say the same, and addresses say where they stand in it."""
    async with house.client(await house.key()) as client:
        wanted = {"chain": "BITCOIN_REGTEST", "key": VPUB, "label": "shop", "gapLimit": 5}
        answer = await client.post("/v2/keys", json=wanted)
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        shown = answer.json()
        assert (shown["chain"], shown["type"], shown["label"], shown["gapLimit"]) == (CHAIN, "p2wpkh", "shop", 5)
        assert shown["watchedFrom"] == CURSOR + 1
        assert shown["key"].startswith("wpkh(tpub")
        receiving, change = _addresses(house, VPUB, 0, 10), _addresses(house, VPUB, 1, 10)
        branch = {"nextIndex": 0, "watchedThrough": 9}
        assert shown["branches"] == [
            {"branch": 0, "purpose": "deposit", "firstAddress": receiving[0], **branch},
            {"branch": 1, "purpose": "change", "firstAddress": change[0], **branch},
        ]
        assert (await client.get(f"/v2/keys/{shown['id']}")).json() == shown
        for query in ("", f"?chain={CHAIN}", f"?accountId={shown['accountId']}"):
            assert (await client.get(f"/v2/keys{query}")).json() == {"items": [shown], "nextCursor": None}
        assert (await client.get("/v2/keys?chain=anvil")).json()["items"] == []
        listed = (await client.get(f"/v2/addresses?keyId={shown['id']}&limit=200")).json()["items"]
        assert {item["address"] for item in listed} == {*receiving, *change}
        (one,) = [item for item in listed if item["address"] == change[3]]
        assert (one["keyId"], one["branch"], one["keyIndex"], one["handedOut"]) == (shown["id"], 1, 3, False)
        assert (one["purpose"], one["label"]) == ("change", "shop")
        again = await client.post("/v2/keys", json=wanted)
        assert again.status_code == HTTPStatus.CONFLICT


async def test_an_address_without_a_name_is_the_next_of_the_key(house: ApiHouse) -> None:
    """One after another, with a label of its own or the key's; the same request under its key gets the same one."""
    async with house.client(await house.key()) as client:
        key = (await client.post("/v2/keys", json={"chain": CHAIN, "key": VPUB, "label": "shop"})).json()
        expected = _addresses(house, VPUB, 0, 4)
        first = await client.post("/v2/addresses", json={"chain": CHAIN}, headers=KEYED)
        again = await client.post("/v2/addresses", json={"chain": CHAIN}, headers=KEYED)
        assert first.status_code == HTTPStatus.CREATED, first.text
        assert first.content == again.content
        shown = first.json()
        assert (shown["address"], shown["label"], shown["handedOut"]) == (expected[0], "shop", True)
        assert (shown["keyId"], shown["branch"], shown["keyIndex"]) == (key["id"], 0, 0)
        second = await client.post("/v2/addresses", json={"chain": CHAIN, "keyId": key["id"], "label": "order 7"})
        assert (second.json()["address"], second.json()["label"]) == (expected[1], "order 7")
        named = await client.post("/v2/addresses", json={"chain": CHAIN, "address": expected[2], "label": "named"})
        assert (named.status_code, named.json()["keyIndex"]) == (HTTPStatus.CREATED, 2)
        change = await client.post("/v2/addresses", json={"chain": CHAIN, "purpose": "change"})
        assert change.json()["address"] == _addresses(house, VPUB, 1, 1)[0]
        answers = await asyncio.gather(*(client.post("/v2/addresses", json={"chain": CHAIN}) for _ in range(12)))
        assert len({answer.json()["address"] for answer in answers}) == 12
        assert (await client.get(f"/v2/addresses/{CHAIN}/{expected[3]}")).json()["handedOut"]
        branch = (await client.get(f"/v2/keys/{key['id']}")).json()["branches"][0]
        assert branch["nextIndex"] == 15
        assert branch["watchedThrough"] >= 15 + 20 - 1


async def test_an_address_registered_by_name_may_be_for_change(house: ApiHouse) -> None:
    """Its purpose is shown; without one it is for deposits."""
    async with house.client(await house.key()) as client:
        one, two = _addresses(house, VPUB, 0, 2)
        made = await client.post("/v2/addresses", json={"chain": CHAIN, "address": one, "purpose": "change"})
        assert (made.json()["purpose"], made.json()["keyId"], made.json()["handedOut"]) == ("change", None, True)
        assert (await client.post("/v2/addresses", json={"chain": CHAIN, "address": two})).json()["purpose"] == "deposit"


async def test_a_file_of_addresses_hands_out_those_of_a_window(house: ApiHouse) -> None:
    """As after a restore: they count as registered, with their labels, and none of them is handed out again."""
    async with house.client(await house.key()) as client:
        await client.post("/v2/keys", json={"chain": CHAIN, "key": VPUB})
        expected = _addresses(house, VPUB, 0, 4)
        body = "address,label\n" + "".join(f"{address},restored\n" for address in expected[:3])
        headers = {"Content-Type": "text/csv"}
        answer = await client.post(f"/v2/addresses/bulk?chain={CHAIN}", content=body, headers=headers)
        assert '"registered":3,"already":0,"conflicts":0' in answer.text
        again = await client.post(f"/v2/addresses/bulk?chain={CHAIN}", content=body, headers=headers)
        assert '"registered":0,"already":3,"conflicts":0' in again.text
        assert (await client.get(f"/v2/addresses/{CHAIN}/{expected[1]}")).json()["label"] == "restored"
        assert (await client.post("/v2/addresses", json={"chain": CHAIN})).json()["address"] == expected[3]


async def test_keys_are_seen_by_their_own_account_only(house: ApiHouse) -> None:
    """Another account's API key finds no such key, hands out nothing of it, and lists none."""
    stranger = await house.key(account=await house.account())
    async with house.client(await house.key()) as client, house.client(stranger) as other:
        key = (await client.post("/v2/keys", json={"chain": CHAIN, "key": VPUB})).json()
        assert (await other.get(f"/v2/keys/{key['id']}")).status_code == HTTPStatus.NOT_FOUND
        assert (await other.get("/v2/keys")).json()["items"] == []
        assert (await other.get(f"/v2/keys?accountId={key['accountId']}")).json()["items"] == []
        wanted = {"chain": CHAIN, "keyId": key["id"]}
        assert (await other.post("/v2/addresses", json=wanted)).status_code == HTTPStatus.NOT_FOUND
        assert (await other.post("/v2/addresses", json={"chain": CHAIN})).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        taken = await other.post("/v2/keys", json={"chain": CHAIN, "key": VPUB})
        assert taken.status_code == HTTPStatus.CONFLICT
        assert key["accountId"] not in taken.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "xpub"}, "checksum does not hold"),
        ({"key": ""}, "checksum does not hold"),
        ({"key": 7}, "valid string"),
        ({"key": "x" * 4097}, "at most 4096 characters"),
        ({"gapLimit": 0}, "greater than or equal to 1"),
        ({"gapLimit": 1001}, "less than or equal to 1000"),
        ({"firstIndex": -1}, "greater than or equal to 0"),
        ({"chain": "anvil"}, "written as xpub"),
        ({"chain": "bitcoin"}, "nothing crosses modes"),
        ({"accountId": str(uuid4())}, "account"),
        ({"label": ""}, "at least 1 character"),
    ],
)
async def test_a_bad_key_is_refused_in_words(house: ApiHouse, change: dict[str, Any], words: str) -> None:
    """422 with a problem document that says what is wrong, and nothing is registered."""
    async with house.client(await house.key()) as client:
        answer = await client.post("/v2/keys", json={"chain": CHAIN, "key": VPUB} | change)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
        assert words in answer.text
        assert await house.fetchval("select count(*) from addresses") == 0


async def test_a_chain_without_a_cursor_takes_no_key(house: ApiHouse) -> None:
    """503 that says what to do."""
    async with house.client(await house.key()) as client:
        key = random_key(Random(2)).text(bytes.fromhex("045f1cf6"))
        answer = await client.post("/v2/keys", json={"chain": "bitcoin-signet", "key": key})
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert "CHAINBELL_NODES__BITCOIN_SIGNET" in answer.text


async def test_an_xpub_hands_out_addresses_of_an_evm_chain(house: ApiHouse) -> None:
    """As checksummed addresses of that chain, which may be looked up as any."""
    async with house.client(await house.key()) as client:
        xpub = random_key(Random(3), BIP32_MAIN).text(BIP32_MAIN)
        key = (await client.post("/v2/keys", json={"chain": "anvil", "key": xpub})).json()
        assert (key["key"], key["type"], len(key["branches"])) == (xpub, "evm", 1)
        shown = (await client.post("/v2/addresses", json={"chain": "anvil"})).json()
        assert shown["address"] == key["branches"][0]["firstAddress"]
        assert (await client.get(f"/v2/addresses/anvil/{shown['address'].lower()}")).json() == shown


async def _everything_in(house: ApiHouse) -> str:
    """Return every row of every table, as text."""
    async with house.database.connection() as connection:
        tables = await connection.fetch("select table_name from information_schema.tables where table_schema = 'public'")
        rows = [
            str(dict(row)) for table in tables for row in await connection.fetch(f'select * from "{table["table_name"]}"')
        ]
    return "\n".join(rows)


@pytest.mark.parametrize(
    "secret",
    [BIP32_XPRV, WIF, PHRASE, f"wpkh({BIP32_XPRV}/<0;1>/*)", f"wpkh({WIF})#{checksum_of(f'wpkh({WIF})')}"],
    ids=["xprv", "wif", "phrase", "descriptor", "checked descriptor"],
)
async def test_a_private_key_is_refused_and_stays_nowhere(house: ApiHouse, tmp_path: Path, secret: str) -> None:
    """The error says why; no table, no journal, no log and no answer holds a piece of it, nor under an Idempotency-Key."""
    path = tmp_path / "registrations.ndjson"
    async with house.database.connection() as connection:
        installation = (await read_installation(connection)).id
    house.database.journal = Journal(path, installation, 0)
    with capture_logs() as logs:
        async with house.client(await house.key()) as client:
            requests = [
                ("/v2/keys", {"chain": CHAIN, "key": secret}),
                ("/v2/keys", {"chain": "anvil", "key": secret}),
                ("/v2/keys", {"chain": CHAIN, "key": [secret]}),
                ("/v2/keys", {"chain": CHAIN, "key": secret, "gapLimit": 0}),
                ("/v2/keys", {"chain": CHAIN, "key": secret * 100}),
            ]
            answers = [await client.post(to, json=body, headers=KEYED) for to, body in requests]
            assert {answer.status_code for answer in answers} == {HTTPStatus.UNPROCESSABLE_ENTITY}
            assert "this is a private key" in answers[0].json()["detail"]
            registered = await client.post("/v2/keys", json={"chain": CHAIN, "key": VPUB}, headers=KEYED)
            assert registered.status_code == HTTPStatus.CREATED
    texts = [answer.text for answer in answers]
    texts += [str(logs), path.read_text(), await _everything_in(house)]
    piece = "abandon" if secret is PHRASE else secret.removeprefix("wpkh(")[6:20]
    assert not any(piece in text for text in texts)
    assert VPUB not in str(logs)


@pytest.mark.parametrize("secret", [BIP32_XPRV, WIF, VPUB], ids=["xprv", "wif", "vpub"])
async def test_a_key_in_the_place_of_an_address_is_not_repeated(house: ApiHouse, secret: str) -> None:
    """Nor in that of a chain, a path, a query, a line of a file or the name of a member: what is answered has none of it."""
    address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    with capture_logs() as logs:
        async with house.client(await house.key()) as client:
            bodies = [
                {"chain": CHAIN, "address": secret},
                {"chain": "anvil", "address": secret},
                {"chain": secret, "address": address},
                {"chain": secret[:60], "address": address},
                {"chain": CHAIN, "address": address, secret: 1},
                {"chain": CHAIN, "keyId": secret},
            ]
            answers = [await client.post("/v2/addresses", json=body) for body in bodies]
            answers.append(await client.post("/v2/keys", json={"chain": secret[:60], "key": VPUB}))
            paths = [f"addresses/{CHAIN}/{secret}", f"addresses/{secret}/{address}", f"keys/{secret}", f"chains/{secret}"]
            paths += [
                f"{path}={secret}" for path in ("addresses?chain", "transactions?address", f"coverage?chain={CHAIN}&address")
            ]
            answers += [await client.get(f"/v2/{path}") for path in paths]
            for kind, line in (("text/csv", f"address\n{secret}\n"), ("application/x-ndjson", f'{{"address":"{secret}"}}')):
                url = f"/v2/addresses/bulk?chain={CHAIN}"
                answers.append(await client.post(url, content=line, headers={"Content-Type": kind}))
    assert {answer.status_code for answer in answers} <= {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND}
    assert "looks like a private or extended key, which belongs nowhere here" in answers[0].json()["detail"]
    for text in [*(answer.text for answer in answers), str(logs)]:
        assert not any(secret[at : at + 10].lower() in text.lower() for at in range(4, 40)), text
