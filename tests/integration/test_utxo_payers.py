"""Who pays is known by whatever tells it: our ledger, what was told before, the past; and by a node only then."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from chainbell.domain.address import parse_address
from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError
from chainbell.domain.history import History
from chainbell.domain.utxo import Prevout, UtxoBlock, UtxoTransaction, outpoint
from chainbell.storage.balances import read_balance
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind
from tests.rpcproxy import Answer, LyingProxy, honest
from tests.utxo_house import (
    FEE,
    UtxoHouse,
    abroad,
    at_home,
    caught_up,
    evaluated,
    following_utxo,
    own,
    pay,
    seeded,
    started,
    told,
    until,
    utxo_house,
)
from tests.utxo_seeding import Gate, behind_a_proxy

PAID_OUT = [("TRANSFER", 0, "SUCCESS", FEE)]


@asynccontextmanager
async def unseeded(node: Bitcoind, url: str) -> AsyncIterator[tuple[UtxoHouse, Gate]]:
    """Open a house whose node answers no scan for older outputs before its gate is released."""
    gate = Gate()
    async with behind_a_proxy(node, url) as (home, proxy):
        proxy.rule = gate.rule
        try:
            yield home, gate
        finally:
            proxy.rule = honest
            gate.release.set()


# A payer whose older outputs are not known -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bech32m", "bech32"])
async def test_change_of_an_unseeded_payer_is_no_deposit(bitcoind: Bitcoind, database_url: str, kind: str) -> None:
    """What it spends was told by the node once, and is known when the block comes, and when another process looks."""
    payer, change = await bitcoind.new_address(kind), await bitcoind.new_address(kind)
    coin = await own(bitcoind, payer, 2 * COIN)
    async with unseeded(bitcoind, database_url) as (home, _gate):
        async with following_utxo(home):
            await started(home)
            await home.watch(payer)
            await home.watch(change, change=True)
            txid = await pay(bitcoind, coin, (await abroad(bitcoind), COIN), (change, COIN - FEE))
            await home.tells(txid, "created", "processing", type_="transfer")
        async with following_utxo(home):
            await evaluated(home, 1)
            assert [record[0] for record in await told(home, txid)] == ["TRANSFER"]
            await bitcoind.mine(3)
            await caught_up(home)
            assert await told(home, txid) == PAID_OUT


@pytest.mark.parametrize("kind", ["bech32m", "bech32"])
async def test_change_of_an_unseeded_payer_is_none_after_a_reorg(bitcoind: Bitcoind, database_url: str, kind: str) -> None:
    """Also where it was never seen to wait, and its outputs were read meanwhile."""
    payer, change = await bitcoind.new_address(kind), await bitcoind.new_address(kind)
    coin = await own(bitcoind, payer, 2 * COIN)
    async with unseeded(bitcoind, database_url) as (home, gate), following_utxo(home):
        await started(home)
        await home.watch(payer)
        await home.watch(change, change=True)
        raw = await pay(bitcoind, coin, (await abroad(bitcoind), COIN), (change, COIN - FEE), send=False)
        txid = (await bitcoind.rpc("decoderawtransaction", raw))["txid"]
        block = await bitcoind.mine_only([raw])
        await caught_up(home)
        before = await told(home, txid)
        gate.release.set()
        await seeded(home)
        await bitcoind.invalidate(block)
        await bitcoind.mine(3)
        await caught_up(home)
        assert [record[0] for record in await told(home, txid)] == [record[0] for record in before] == ["TRANSFER"]


# A payer of several inputs, looked for by one of them ------------------------------------------------------------------


async def test_a_transfer_is_found_in_the_past_by_any_address_that_it_spends_from(
    bitcoind: Bitcoind, database_url: str
) -> None:
    """It bears the first of them, whose own past nobody asked for: what that one spent alone stays untold."""
    one, two = await bitcoind.new_address(), await bitcoind.new_address()
    alone, second = [await own(bitcoind, address) for address in (one, two)]
    before = await pay(bitcoind, alone, (one, COIN - FEE))
    both = await bitcoind.raw_transaction([(before, 0), second], [(await abroad(bitcoind), 2 * COIN - 2 * FEE)])
    await bitcoind.mine(4)
    async with at_home(bitcoind, database_url) as home:
        await home.watch(one)
        await seeded(home)
        await home.watch(two, history=History(0, notify=True))
        await seeded(home)
        await until(home.scanned, "the past was read")
        assert await told(home, both) == PAID_OUT
        assert await told(home, before) == []
        rows = await home.fetch("select amount, tx_hash from fees")
        assert [(int(row["amount"]), row["tx_hash"].hex()) for row in rows] == [(FEE, both)]


async def test_addresses_of_one_account_that_are_seeded_one_after_the_other(bitcoind: Bitcoind, database_url: str) -> None:
    """What spends from both meanwhile is told, or not said to be covered: no key shows in it, and one output is known."""
    one, two = await bitcoind.new_address("bech32m"), await bitcoind.new_address("bech32m")
    first, second = await own(bitcoind, one), await own(bitcoind, two)
    async with unseeded(bitcoind, database_url) as (home, gate), following_utxo(home):
        await started(home)
        await home.watch(one)
        await gate.asked.wait()
        await home.watch(two)
        txid = await bitcoind.raw_transaction([second, first], [(await abroad(bitcoind), 2 * COIN - FEE)])
        await bitcoind.mine(3)
        await caught_up(home)
        gate.release.set()
        await seeded(home)
        await until(home.scanned, "the past was read")
        assert await told(home, txid) == PAID_OUT


async def test_a_spend_that_is_due_rings_whoever_finds_it(bitcoind: Bitcoind, database_url: str) -> None:
    """A silent look at another address's past comes upon what a watch reached down to already: that is no history."""
    one, two = await bitcoind.new_address("bech32m"), await bitcoind.new_address("bech32")
    first, second = await own(bitcoind, one), await own(bitcoind, two)
    async with unseeded(bitcoind, database_url) as (home, gate), following_utxo(home):
        await started(home)
        await home.watch(one)
        await gate.asked.wait()
        raw = await bitcoind.raw_transaction([first, second], [(await abroad(bitcoind), 2 * COIN - FEE)], send=False)
        await bitcoind.mine_only([raw])
        await bitcoind.mine(3)
        await caught_up(home)
        assert await home.told() == []
        await home.watch(two, history=History(0, notify=False))
        await until(home.scanned, "the past was read")
        gate.release.set()
        await seeded(home)
        await until(home.scanned, "the past was read")
        rows = await home.fetch("select silent, historical_until from transactions where type = 'TRANSFER' order by 1")
        assert [tuple(row) for row in rows] == [(False, None)]


# A node that says something else ---------------------------------------------------------------------------------------


async def test_our_own_ledger_counts_for_more_than_the_word_of_a_node(bitcoind: Bitcoind, database_url: str) -> None:
    """What a checked block paid us is ours, whatever a node says of it when it is spent."""
    async with LyingProxy(bitcoind.url) as proxy, at_home(bitcoind, database_url, node_urls=[proxy.url]) as home:
        address = await home.watched_address()
        await seeded(home)
        coin = await own(bitcoind, address)
        foreign = next(coin for coin in await bitcoind.coins() if coin.address != address)
        await caught_up(home)

        def rule(method: str, params: list[Any], answer: Answer) -> Answer:
            if method == "getrawtransaction" and len(params) > 2 and isinstance(answer.get("result"), dict):
                for each in answer["result"]["vin"]:
                    if (each.get("txid"), each.get("vout")) == (coin.txid, coin.vout) and "prevout" in each:
                        each["prevout"]["scriptPubKey"]["hex"] = "0014" + "11" * 20
            return answer

        proxy.rule = rule
        outputs = [(await abroad(bitcoind), coin.amount + foreign.amount - FEE)]
        raw = await bitcoind.raw_transaction([coin, foreign], outputs, send=False)
        txid = (await bitcoind.rpc("decoderawtransaction", raw))["txid"]
        await bitcoind.mine_only([raw])
        await caught_up(home)
        script = parse_address(home.definition.addresses, address)
        balance = await read_balance(home.database, home.definition.name, script)
        assert balance is not None
        assert balance.amount == 0
        assert [record[0] for record in await told(home, txid)] == ["TRANSFER"]


async def test_an_owner_who_registers_while_it_waits_is_told_by_the_block(bitcoind: Bitcoind, database_url: str) -> None:
    """What a waiting transaction spends was told by the node when it came: no other output of the newcomer is known yet."""
    one, two = await bitcoind.new_address("bech32m"), await bitcoind.new_address("bech32m")
    first, second = await own(bitcoind, one), await own(bitcoind, two)
    async with unseeded(bitcoind, database_url) as (home, _gate), following_utxo(home):
        await started(home)
        await home.watch(one)
        outputs = [(await abroad(bitcoind), COIN), (await home.watched_address(), COIN - FEE)]
        txid = await bitcoind.raw_transaction([first, second], outputs)
        await home.tells(txid, "created", "processing", type_="transfer")
        (other,) = await home.fetch("insert into accounts (mode, name) values ('test', 'other') returning id")
        await home.watch(two, account=str(other["id"]))
        await bitcoind.mine(3)
        await caught_up(home)
        assert [record[0] for record in await told(home, txid)] == ["DEPOSIT", "TRANSFER", "TRANSFER"]


async def test_one_transaction_in_two_blocks_of_a_commit_is_refused(bitcoind: Bitcoind, database_url: str) -> None:
    """No chain holds it twice: the node is to blame, and another can be asked."""
    async with utxo_house(bitcoind, database_url) as home:
        async with following_utxo(home):
            await started(home)
            script = parse_address(home.definition.addresses, await home.watched_address())
        (row,) = await home.fetch("select cursor_height, cursor_hash, fence from chains")
        height, known = row["cursor_height"], Prevout(b"\x51", 5)
        one = UtxoTransaction(b"\x01" * 32, (outpoint(b"\x02" * 32, 0),), (script,), (4,), prevouts=(known,))
        refs = [BlockRef(height + 1, b"\xa1" * 32, row["cursor_hash"]), BlockRef(height + 2, b"\xa2" * 32, b"\xa1" * 32)]
        blocks = [UtxoBlock(ref, datetime.now(UTC), (one,)) for ref in refs]
        with pytest.raises(NodeError, match="hold one transaction"):
            await home.tracker().advance(row["fence"], blocks, None, now())
