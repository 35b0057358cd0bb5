"""Outputs older than a watch, on real nodes: what spends them is told, and nothing is claimed before that is so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chainbell.domain.seeding import NOT_READ, READ_AGAIN, SeedingState
from chainbell.storage.scan_list import ScanList
from chainbell.telemetry import checkpoints
from chainbell.telemetry.checkpoints import Checkpoint
from tests.bitcoin import Bitcoind, Coin, Litecoind, UtxoDaemon
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Held, honest
from tests.utxo_house import FEE, UtxoHouse, caught_up, following_utxo, seeded, started, until, utxo_house
from tests.utxo_seeding import (
    IN_A_BLOCK,
    Gate,
    balance_of,
    behind_a_proxy,
    coverage,
    holds,
    old_output,
    spend_away,
    state_of,
    watches,
)


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32", "bech32m", "sh", "wsh"])
async def test_an_output_from_before_the_watch_is_seen_spent(bitcoind: Bitcoind, database_url: str, kind: str) -> None:
    """An address that holds coins when it is registered: what spends them later is a transfer out of it."""
    address, coin = await old_output(bitcoind, kind)
    await _check_old_output_is_seen_spent(bitcoind, database_url, address, coin)


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32"])
async def test_an_output_from_before_the_watch_is_seen_spent_on_litecoin(
    another: Starter, database_url: str, kind: str
) -> None:
    """The same on litecoind, which tells no prevouts."""
    node = await another(Litecoind())
    await node.fund(2)
    address, coin = await old_output(node, kind)
    await _check_old_output_is_seen_spent(node, database_url, address, coin)


async def _check_old_output_is_seen_spent(node: UtxoDaemon, url: str, address: str, coin: Coin) -> None:
    async with utxo_house(node, url) as home, following_utxo(home):
        await started(home)
        watched_from = await home.watch(address)
        await seeded(home)
        (row,) = await watches(home)
        assert row["outgoing_from"] == row["seeded_height"] + 1 == watched_from
        await holds(home, address, coin.amount)
        txid = await spend_away(node, coin)
        await node.mine()
        await caught_up(home)
        (record,) = await home.records()
        assert (record["type"], record["tx_hash"].hex(), int(record["amount"])) == ("TRANSFER", txid, coin.amount - FEE)
        assert (record["historical_until"], record["silent"]) == (None, False)
        await holds(home, address, 0)
        await home.check_stories()


async def test_nothing_is_claimed_before_it_is_known(bitcoind: Bitcoind, database_url: str) -> None:
    """Coverage and balance say that what leaves is not covered yet, and why; afterwards from which block on it is."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = gate.rule
        watched_from = await home.watch(address)
        await gate.asked.wait()
        before = await coverage(home, address)
        assert (before.watched_from, before.outgoing_from, before.outgoing_reason) == (watched_from, None, NOT_READ)
        assert (await balance_of(home, address)).reason == NOT_READ
        assert (await balance_of(home, address)).amount is None
        assert await state_of(home) == SeedingState(1, None)
        gate.release.set()
        await seeded(home)
        after = await coverage(home, address)
        assert (after.outgoing_from, after.outgoing_reason) == (watched_from, None)
        assert (await balance_of(home, address)).amount == "1"
        assert await state_of(home) is None
        await holds(home, address, coin.amount)


async def test_what_is_spent_while_the_node_reads_is_told_late(bitcoind: Bitcoind, database_url: str) -> None:
    """Blocks that come between the node's set and our commit are read again: what spends old outputs there rings."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = gate.rule
        watched_from = await home.watch(address)
        await gate.asked.wait()
        await bitcoind.mine()
        txid = await spend_away(bitcoind, coin)
        await bitcoind.mine(3)
        await caught_up(home)
        assert await home.records() == [], "nothing reveals whose output a key path spends"
        gate.release.set()
        await seeded(home)
        (record,) = await home.records()
        assert (record["type"], record["tx_hash"].hex(), int(record["amount"])) == ("TRANSFER", txid, coin.amount - FEE)
        assert (record["historical_until"], record["silent"]) == (None, False)
        assert await home.story(txid, "transfer") == [*IN_A_BLOCK, "success"]
        (row,) = await watches(home)
        assert row["outgoing_from"] == watched_from
        await holds(home, address, 0)
        await home.check_stories()
        assert (await ScanList(home.database).unfinished([home.definition.name])) == []
        assert (await coverage(home, address)).unfinished_scan_ids == []


async def test_what_is_read_again_is_not_covered_before_it_is_read(bitcoind: Bitcoind, database_url: str) -> None:
    """While blocks are still read again nothing is claimed; a process that starts anew goes on there."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with _without_scans(home):
            await started(home)
            proxy.rule = gate.rule
            watched_from = await home.watch(address)
            await gate.asked.wait()
            txid = await spend_away(bitcoind, coin)
            await bitcoind.mine(2)
            await caught_up(home)
            gate.release.set()

            async def entered() -> bool:
                return (await watches(home))[0]["seeded_height"] is not None

            await until(entered, "the older outputs are entered")
            view = await coverage(home, address)
            assert (view.outgoing_from, view.outgoing_reason) == (None, READ_AGAIN)
            assert (await balance_of(home, address)).reason == READ_AGAIN
        proxy.rule = honest
        async with following_utxo(home):
            await seeded(home)
            assert (await coverage(home, address)).outgoing_from == watched_from
            assert await home.story(txid, "transfer") == IN_A_BLOCK
            await holds(home, address, 0)
        await home.check_stories()


@asynccontextmanager
async def _without_scans(home: UtxoHouse) -> AsyncIterator[None]:
    """Follow the chain meanwhile, and seed, and let scans wait."""
    parts = [part for part in home.parts() if "BackScanner" not in getattr(part, "__qualname__", "")]
    tasks = [asyncio.ensure_future(part()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_set_above_our_cursor_waits_for_it(bitcoind: Bitcoind, database_url: str) -> None:
    """A node that is ahead of us need not be asked again: what it told is entered once our cursor is there."""
    address, coin = await old_output(bitcoind)
    behind, told = asyncio.Event(), asyncio.Event()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        await home.watch(await bitcoind.new_address())
        await seeded(home)
        proxy.rule = lambda method, _params, answer: Held(behind) if method == "getblock" else answer
        await bitcoind.mine()
        checkpoints.listen(lambda point: told.set() if point is Checkpoint.SEED_READ else None)
        try:
            await home.watch(address)
            await asyncio.wait_for(told.wait(), 10)
        finally:
            checkpoints.listen(lambda _point: None)
        assert await home.cursor() == await bitcoind.height() - 1
        behind.set()
        await seeded(home)
        heights = {bytes(row["address"]): row["seeded_height"] for row in await watches(home)}
        assert heights[await bitcoind.script(address)] == await bitcoind.height()
        assert proxy.calls["scantxoutset"] == 2, "once for each address"
        await holds(home, address, coin.amount)


async def test_a_process_that_ends_while_the_node_reads_asks_again(bitcoind: Bitcoind, database_url: str) -> None:
    """Nothing is kept of what was not committed: whoever starts next asks the node again."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
            proxy.rule = gate.rule
            await home.watch(address)
            await gate.asked.wait()
        gate.release.set()
        txid = await spend_away(bitcoind, coin)
        await bitcoind.mine()
        proxy.rule = honest
        async with following_utxo(home):
            await seeded(home)
            await caught_up(home)
            (row,) = await watches(home)
            assert row["outgoing_from"] == row["seeded_height"] + 1
            await holds(home, address, 0)
            assert await home.story(txid, "transfer") in ([], IN_A_BLOCK)


async def test_a_reorg_while_the_node_reads_has_it_asked_again(bitcoind: Bitcoind, database_url: str) -> None:
    """What was unspent at a block that left our chain is thrown away."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        await bitcoind.mine()
        await caught_up(home)
        proxy.rule = gate.rule
        await home.watch(address)
        await gate.asked.wait()
        left = await bitcoind.height()
        await bitcoind.reorg(1, 2)
        await caught_up(home)
        proxy.rule = honest
        gate.release.set()
        await seeded(home)
        (row,) = await watches(home)
        assert row["seeded_height"] == left + 1, "the set of the block that left is not used"
        txid = await spend_away(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        assert await home.story(txid, "transfer") == IN_A_BLOCK
        await holds(home, address, 0)


async def test_a_reorg_below_the_set_forgets_it(bitcoind: Bitcoind, database_url: str) -> None:
    """What was spent at the node's set, and is unspent on the new branch, is known again before its spend is told."""
    address, coin = await old_output(bitcoind)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await started(home)
        txid = await spend_away(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        await home.watch(address)
        await seeded(home)
        await holds(home, address, 0)
        assert await home.records() == []
        await bitcoind.reorg(1, 2, empty=True)
        await caught_up(home)
        await seeded(home)
        (row,) = await watches(home)
        assert row["seeded_height"] == await bitcoind.height()
        await holds(home, address, coin.amount)
        await bitcoind.mine_only([txid])
        await caught_up(home)
        assert [name for name in await home.story(txid, "transfer") if name != "processing"] == IN_A_BLOCK
        await holds(home, address, 0)
        await home.check_stories()


@pytest.mark.parametrize("depth", [2, 3], ids=["to the set", "below the set"])
async def test_a_reorg_before_the_blocks_are_read_again(bitcoind: Bitcoind, database_url: str, depth: int) -> None:
    """Blocks that left our chain need not be read again; a set that left with them is asked for anew."""
    address, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with _without_scans(home):
            await started(home)
            proxy.rule = gate.rule
            await home.watch(address)
            await gate.asked.wait()
            txid = await spend_away(bitcoind, coin)
            await bitcoind.mine(2)
            await caught_up(home)
            gate.release.set()

            async def entered() -> bool:
                return (await watches(home))[0]["seeded_height"] is not None

            await until(entered, "the older outputs are entered")
            gate.release.clear()
            ancestor = await bitcoind.height() - depth
            (set_at,) = [row["seeded_height"] for row in await watches(home)]
            await bitcoind.reorg(depth)
            await caught_up(home)
            (row,) = await watches(home)
            expected = (set_at, set_at + 1) if ancestor >= set_at else (None, None)
            assert (row["seeded_height"], row["outgoing_from"]) == expected
            gate.release.set()
        async with following_utxo(home):
            await seeded(home)
            await holds(home, address, 0)
            told = [name for name in await home.story(txid, "transfer") if name != "processing"]
            assert told[:2] == IN_A_BLOCK
        await home.check_stories()
