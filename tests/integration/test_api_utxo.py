"""The Bitcoin family through the API and the database: addresses as text outside, scripts inside, and what is covered."""

from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus

import pytest

from chainbell.cli.work.losses import Names
from chainbell.domain.address import AddressFormat, parse_address
from chainbell.domain.chain import COIN, BlockRef
from chainbell.domain.errors import ConfigurationError
from chainbell.domain.following import CoverageChange, KeptLedger
from chainbell.domain.identity import movement_uid
from chainbell.domain.transaction import Transaction
from chainbell.events.publish import publish
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.losses import Registered, losses, remember
from chainbell.storage.registrations import addresses_added, addresses_removed
from chainbell.storage.transactions import save_transactions
from chainbell.telemetry.clock import now
from tests import builders, told_utxo
from tests.api_client import CURSOR, ApiHouse, api_house

SEGWIT = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"
OLD = "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r"
CHAINS = ("bitcoin-regtest", "litecoin-regtest", "bitcoin")


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[ApiHouse]:
    """Open the API on a database in which chains of the family were started too."""
    async with api_house(database_url) as opened:
        for name in CHAINS:
            cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
            genesis = builders.block_hash(0)
            await opened.services.chain_states.start(opened.services.chains[name], genesis, KeptLedger((cursor,)), now())
        yield opened


async def _standing(house: ApiHouse, chain: str) -> AddressFormat:
    async with LedgerStore(house.database, publish).begin(chain) as commit:
        return (await commit.standing()).chain.addresses


@pytest.mark.parametrize("chain", [*CHAINS, "anvil"])
async def test_a_chain_remembers_how_its_addresses_are_written(house: ApiHouse, chain: str) -> None:
    """What the definition says of addresses is what records carry, read back from the database."""
    assert await _standing(house, chain) == house.services.chains[chain].addresses


async def test_a_changed_definition_changes_how_addresses_are_written(house: ApiHouse) -> None:
    """Prefixes are taken over when a chain is followed with a new definition; its kind never changes."""
    definition = house.services.chains["bitcoin-regtest"]
    fence = await house.fetchval("select fence from chains where name = $1", definition.name)
    table = definition.address_table
    assert table is not None
    changed = type(definition).model_validate(
        definition.model_dump(by_alias=True, exclude_unset=True)
        | {"addresses": table.model_dump() | {"hrp": "new", "p2sh": [7, 8]}}
    )
    assert await house.services.chain_states.redefine(changed, fence)
    assert await _standing(house, definition.name) == changed.addresses
    other = house.services.chains["anvil"].model_copy(update={"name": "bitcoin-regtest"})
    with pytest.raises(ConfigurationError, match="was started with caip2"):
        await house.services.chain_states.redefine(other, fence)


@pytest.mark.parametrize("text", [SEGWIT, SEGWIT.upper(), TAPROOT, OLD])
async def test_an_address_is_watched_as_its_script(house: ApiHouse, text: str) -> None:
    """An address is kept as the scriptPubKey, shown as it is written, and found by either way of writing it."""
    script = parse_address(house.services.chains["bitcoin-regtest"].addresses, text)
    written = text if text == OLD else text.lower()
    async with house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", json={"chain": "bitcoin-regtest", "address": text})
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        assert (answer.json()["address"], answer.json()["watchedFrom"]) == (written, CURSOR + 1)
        assert await house.fetchval("select address from addresses") == script
        for path in (f"/v2/addresses/bitcoin-regtest/{text}", f"/v2/addresses/BITCOIN_REGTEST/{written}"):
            assert (await client.get(path)).json() == answer.json()
        again = await client.post("/v2/addresses", json={"chain": "bitcoin-regtest", "address": written})
        assert again.status_code == HTTPStatus.CONFLICT
        gone = await client.delete(f"/v2/addresses/bitcoin-regtest/{text}")
        assert gone.status_code == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize(
    ("chain", "text", "reason"),
    [
        ("bitcoin-regtest", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "is an address of bitcoin,"),
        ("bitcoin-regtest", SEGWIT[:-1] + "q", "has a wrong checksum"),
        ("bitcoin-regtest", "0x52908400098527886E0F7030069857D2E4169EE7", "is an address of an EVM chain"),
        ("litecoin-regtest", f"tmweb1{'q' * 110}", "is an MWEB address"),
        ("anvil", SEGWIT, "is not an address of an EVM chain"),
    ],
)
async def test_what_is_no_address_there_is_refused_in_words(house: ApiHouse, chain: str, text: str, reason: str) -> None:
    """422 says which network an address is of, or what is wrong with it."""
    async with house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", json={"chain": chain, "address": text})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert reason in answer.json()["detail"]


async def test_a_file_of_addresses_is_read_as_the_chain_writes_them(house: ApiHouse) -> None:
    """A bulk registration takes addresses of every type, and names the line and the network of a wrong one."""
    async with house.client(await house.key()) as client:
        path = "/v2/addresses/bulk?chain=bitcoin-regtest"
        csv = {"Content-Type": "text/csv"}
        wrong = await client.post(
            path, content=f"address\n{SEGWIT}\ntb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx\n", headers=csv
        )
        assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong.text
        assert "is an address of bitcoin-signet or bitcoin-testnet4" in wrong.text
        right = await client.post(path, content=f"address\n{SEGWIT}\n{TAPROOT}\n{OLD}\n", headers=csv)
        assert right.status_code == HTTPStatus.OK, right.text
        assert await house.fetchval("select count(*) from addresses where chain = 'bitcoin-regtest'") == 3


async def _tell(house: ApiHouse, chain: str, maturity: int = 0) -> Transaction:
    """Keep a deposit of the golden files as one of this chain."""
    definition = house.services.chains[chain]
    record = told_utxo.TOLD["deposit.pending"].transaction
    account = await house.default_account(definition.mode)
    asset = await house.fetchval(
        "insert into assets (account_id, chain, contract, symbol, decimals, created_at) "
        "values ($1, $2, '', 'BTC', 8, now()) returning id",
        account,
        chain,
    )
    about = replace(
        record.subject,
        chain=replace(record.subject.chain, name=chain, caip2=definition.caip2),
        account_id=account,
        asset_id=str(asset),
    )
    uid = movement_uid(about.type, definition.caip2, about.tx_hash, COIN, about.address, 1)
    kept = replace(record, uid=uid, subject=about, maturity=maturity)
    async with house.database.transaction() as connection:
        await save_transactions(connection, [kept])
    return kept


async def test_transactions_are_listed_as_their_chain_writes_them(house: ApiHouse) -> None:
    """Addresses and hashes are those of the chain; an address and a hash are taken in its words."""
    record = await _tell(house, "bitcoin-regtest")
    async with house.client(await house.key()) as client:
        (item,) = (await client.get("/v2/transactions")).json()["items"]
        assert (item["address"], item["hash"]) == (SEGWIT, record.subject.tx_hash.hex())
        assert item["senderAddresses"] == [TAPROOT, "mpXwg4jMtRhuSpVq4xS3HFHmCmWp9NyGKt", None]
        for query, hits in (
            ({"address": SEGWIT.upper()}, 1),
            ({"address": SEGWIT, "chain": "bitcoin-regtest"}, 1),
            ({"address": TAPROOT}, 0),
            ({"hash": record.subject.tx_hash.hex()}, 1),
            ({"hash": f"0x{record.subject.tx_hash.hex()}"}, 1),
            ({"hash": "00" * 32}, 0),
        ):
            assert len((await client.get("/v2/transactions", params=query)).json()["items"]) == hits, query
        refused = await client.get("/v2/transactions", params={"address": "nonsense"})
        assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "is an address of none of" in refused.json()["detail"]


@pytest.mark.parametrize(("maturity", "required"), [(0, 3), (2, 3), (100, 100)])
async def test_a_transaction_says_how_many_confirmations_it_needs(house: ApiHouse, maturity: int, required: int) -> None:
    """Those of the chain, or of its own maturity where that is longer, in a list and alone, as its webhooks say."""
    record = await _tell(house, "bitcoin-regtest", maturity)
    async with house.client(await house.key()) as client:
        (item,) = (await client.get("/v2/transactions")).json()["items"]
        alone = (await client.get(f"/v2/transactions/{record.uid}")).json()
        assert (item["requiredConfirmation"], alone["requiredConfirmation"]) == (required, required)


async def test_an_address_without_a_chain_means_the_chains_that_write_it(house: ApiHouse) -> None:
    """The same script on two chains is two addresses: one is not found by the other's text."""
    await _tell(house, "bitcoin-regtest")
    await _tell(house, "litecoin-regtest")
    async with house.client(await house.key()) as client:
        (item,) = (await client.get("/v2/transactions", params={"address": SEGWIT})).json()["items"]
        assert (item["address"], item["hash"]) == (SEGWIT, told_utxo.TX_HASH.hex())


async def _cover(house: ApiHouse, chain: str) -> None:
    fence = await house.fetchval("select fence from chains where name = $1", chain)
    change = CoverageChange((), ())
    assert await house.services.chain_states.cover(house.services.chains[chain], fence, change, now())


async def test_coverage_tells_of_the_mempool(house: ApiHouse) -> None:
    """Coin and mempool are covered where the definition promises them; logs, traces and the like are no words there."""
    await _cover(house, "bitcoin-regtest")
    async with house.client(await house.key()) as client:
        await client.post("/v2/addresses", json={"chain": "bitcoin-regtest", "address": SEGWIT})
        for query in ({"chain": "bitcoin-regtest"}, {"chain": "bitcoin-regtest", "address": SEGWIT}, {"address": SEGWIT}):
            (item,) = (await client.get("/v2/coverage", params=query)).json()["items"]
            assert {one["capability"]: one["covered"] for one in item["items"]} == {"coin": True, "mempool": True}
            assert all(gap["mend"] is None for one in item["items"] if one["capability"] == "mempool" for gap in one["gaps"])
        (anvil,) = (await client.get("/v2/coverage", params={"chain": "anvil"})).json()["items"]
        assert "mempool" in {one["capability"] for one in anvil["items"] if not one["covered"]}
        (chain,) = [one for one in (await client.get("/v2/chains")).json()["items"] if one["name"] == "bitcoin-regtest"]
        assert chain["cursor"]["hash"] == builders.block_hash(CURSOR).hex()
        assert {one["capability"] for one in chain["coverage"]} == {"coin", "mempool"}


async def test_a_scan_of_the_past_claims_no_mempool(house: ApiHouse) -> None:
    """What blocks are read for is the coin: nobody can read the mempool of the past."""
    await _cover(house, "bitcoin-regtest")
    async with house.client(await house.key()) as client:
        wanted = {"chain": "bitcoin-regtest", "fromHeight": CURSOR - 10, "notify": False}
        answer = await client.post("/v2/scans", json=wanted)
        assert answer.status_code == HTTPStatus.CREATED, answer.text
    assert await house.fetchval("select covers from scans") == ["coin"]


def test_lost_addresses_are_named_as_people_write_them(house: ApiHouse) -> None:
    """The journal keeps scripts; what must be registered again after a restore is shown as the chain's address."""
    definition = house.services.chains["bitcoin-regtest"]
    one, two = (parse_address(definition.addresses, text) for text in (SEGWIT, OLD))
    added = addresses_added([builders.watch(one, chain=definition.name), builders.watch(two, chain=definition.name)], now())
    entries = [*added, addresses_removed(definition.name, [two], now())]
    found = losses(remember([{"action": entry.action, **entry.members} for entry in entries]), Registered({}, {}, {}))
    names = Names({definition.name: definition.addresses})
    assert [names.address(lost.chain, lost.address) for lost in found.addresses] == [SEGWIT]
