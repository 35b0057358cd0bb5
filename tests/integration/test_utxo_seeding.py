"""Outputs older than a watch, on real nodes: what spends them is told, and nothing is claimed before that is so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from chainbell.api.coverage_report import coverage_report
from chainbell.api.views.balance import BalanceView
from chainbell.api.views.coverage import AddressCoverageView
from chainbell.custody.address_file import Entry
from chainbell.custody.registration import Order
from chainbell.domain.address import parse_address
from chainbell.domain.chain import BlockRef
from chainbell.domain.history import History
from chainbell.domain.seeding import NOT_READ, READ_AGAIN, Seeding, SeedingState
from chainbell.domain.utxo import Unspent
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.balances import read_balance
from chainbell.storage.database import Database
from chainbell.storage.scan_list import ScanList
from chainbell.storage.seeding import SeedStore, seeding_state
from chainbell.storage.watches import WatchStore
from chainbell.telemetry import checkpoints
from chainbell.telemetry.checkpoints import Checkpoint
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind, Coin, Litecoind, UtxoDaemon, satoshis
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, DropConnection, ErrorObject, Fault, Held, HttpStatus, LyingProxy, honest
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house

FEE = 10_000
IN_A_BLOCK = ["created", "awaiting_confirmation"]
"""What is told of something that was first seen in a block, and is not deep enough."""


class _Stores(NamedTuple):
    database: Database
    watches: WatchStore
    scans: ScanList


async def _own(node: UtxoDaemon, kind: str = "bech32m", amount: int = COIN) -> tuple[str, Coin]:
    """Pay a fresh address of the wallet, mine that, and return the address and its coin, which the wallet leaves alone."""
    address = await _script_hash(node, kind) if kind in _INNER else await node.new_address(kind)
    await node.send(address, amount)
    await node.mine()
    (coin,) = [coin for coin in await node.coins() if coin.address == address]
    await node.rpc("lockunspent", False, [{"txid": coin.txid, "vout": coin.vout}])
    return address, coin


_INNER = {"sh": "sh(pk({}))", "wsh": "wsh(multi(1,{}))"}


async def _script_hash(node: UtxoDaemon, kind: str) -> str:
    """Let the wallet have an address of a script; its keys are the wallet's own."""
    known = (await node.rpc("listdescriptors", True))["descriptors"]
    key = next(each["desc"] for each in known if each["desc"].startswith("wpkh("))[5:].partition("/")[0]
    bare = _INNER[kind].format(f"{key}/7/7")
    checksum = (await node.rpc("getdescriptorinfo", bare))["checksum"]
    descriptor = f"{bare}#{checksum}"
    (outcome,) = await node.rpc("importdescriptors", [{"desc": descriptor, "timestamp": "now"}])
    assert outcome["success"], outcome
    (address,) = await node.rpc("deriveaddresses", descriptor)
    return str(address)


async def _spend(node: UtxoDaemon, coin: Coin) -> str:
    """Spend a coin to somebody who is not watched."""
    return await node.raw_transaction([coin], [(await node.new_address(), coin.amount - FEE)])


async def _watches(home: UtxoHouse) -> list[Any]:
    return await home.fetch("select * from addresses where removed_at is null order by created_at, id")


async def _seeded(home: UtxoHouse) -> None:
    """Wait until what leaves every watched address is covered."""

    async def covered() -> bool:
        return all(row["outgoing_from"] is not None for row in await _watches(home))

    await until(covered, "every address is seeded")


async def _coverage(home: UtxoHouse, address: str) -> AddressCoverageView:
    stores = _Stores(home.database, WatchStore(home.database), ScanList(home.database))
    (item,) = (await coverage_report(stores, [home.definition], address, None)).items
    assert item.address is not None
    return item.address


async def _balance(home: UtxoHouse, address: str) -> BalanceView:
    found = await read_balance(home.database, home.definition.name, parse_address(home.definition.addresses, address))
    assert found is not None
    return BalanceView.of(found, home.definition)


async def _holds(home: UtxoHouse, address: str, amount: int) -> None:
    """Check that an address holds so much by our ledger, and by the node's set."""
    told = await home.node.rpc("scantxoutset", "start", [f"addr({address})"])
    assert satoshis(told["total_amount"]) == amount
    balance = await _balance(home, address)
    assert (balance.amount_base_units, balance.reason) == (str(amount), None)


async def _state(home: UtxoHouse) -> SeedingState | None:
    async with home.database.connection() as connection:
        return await seeding_state(connection, home.definition.name)


class _Gate:
    """Holds back what a node tells of its unspent outputs, and lets a test wait until it has told."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.asked = asyncio.Event()

    def rule(self, method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "scantxoutset" or params[0] != "start":
            return answer
        self.asked.set()
        return Held(self.release)


@asynccontextmanager
async def _behind_a_proxy(node: UtxoDaemon, url: str) -> AsyncIterator[tuple[UtxoHouse, LyingProxy]]:
    async with LyingProxy(node.url) as proxy, utxo_house(node, url, node_urls=[proxy.url]) as home:
        yield home, proxy


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32", "bech32m", "sh", "wsh"])
async def test_an_output_from_before_the_watch_is_seen_spent(bitcoind: Bitcoind, database_url: str, kind: str) -> None:
    """An address that holds coins when it is registered: what spends them later is a transfer out of it."""
    address, coin = await _own(bitcoind, kind)
    await _check_old_output_is_seen_spent(bitcoind, database_url, address, coin)


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32"])
async def test_an_output_from_before_the_watch_is_seen_spent_on_litecoin(
    another: Starter, database_url: str, kind: str
) -> None:
    """The same on litecoind, which tells no prevouts."""
    node = await another(Litecoind())
    await node.fund(2)
    address, coin = await _own(node, kind)
    await _check_old_output_is_seen_spent(node, database_url, address, coin)


async def _check_old_output_is_seen_spent(node: UtxoDaemon, url: str, address: str, coin: Coin) -> None:
    async with utxo_house(node, url) as home, following_utxo(home):
        await started(home)
        watched_from = await home.watch(address)
        await _seeded(home)
        (row,) = await _watches(home)
        assert row["outgoing_from"] == row["seeded_height"] + 1 == watched_from
        await _holds(home, address, coin.amount)
        txid = await _spend(node, coin)
        await node.mine()
        await caught_up(home)
        (record,) = await home.records()
        assert (record["type"], record["tx_hash"].hex(), int(record["amount"])) == ("TRANSFER", txid, coin.amount - FEE)
        assert (record["historical_until"], record["silent"]) == (None, False)
        await _holds(home, address, 0)
        await home.check_stories()


async def test_nothing_is_claimed_before_it_is_known(bitcoind: Bitcoind, database_url: str) -> None:
    """Coverage and balance say that what leaves is not covered yet, and why; afterwards from which block on it is."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = gate.rule
        watched_from = await home.watch(address)
        await gate.asked.wait()
        before = await _coverage(home, address)
        assert (before.watched_from, before.outgoing_from, before.outgoing_reason) == (watched_from, None, NOT_READ)
        assert (await _balance(home, address)).reason == NOT_READ
        assert (await _balance(home, address)).amount is None
        assert await _state(home) == SeedingState(1, None)
        gate.release.set()
        await _seeded(home)
        after = await _coverage(home, address)
        assert (after.outgoing_from, after.outgoing_reason) == (watched_from, None)
        assert (await _balance(home, address)).amount == "1"
        assert await _state(home) is None
        await _holds(home, address, coin.amount)


async def test_what_is_spent_while_the_node_reads_is_told_late(bitcoind: Bitcoind, database_url: str) -> None:
    """Blocks that come between the node's set and our commit are read again: what spends old outputs there rings."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = gate.rule
        watched_from = await home.watch(address)
        await gate.asked.wait()
        await bitcoind.mine()
        txid = await _spend(bitcoind, coin)
        await bitcoind.mine(3)
        await caught_up(home)
        assert await home.records() == [], "nothing reveals whose output a key path spends"
        gate.release.set()
        await _seeded(home)
        (record,) = await home.records()
        assert (record["type"], record["tx_hash"].hex(), int(record["amount"])) == ("TRANSFER", txid, coin.amount - FEE)
        assert (record["historical_until"], record["silent"]) == (None, False)
        assert await home.story(txid, "transfer") == [*IN_A_BLOCK, "success"]
        (row,) = await _watches(home)
        assert row["outgoing_from"] == watched_from
        await _holds(home, address, 0)
        await home.check_stories()
        assert (await ScanList(home.database).unfinished([home.definition.name])) == []
        assert (await _coverage(home, address)).unfinished_scan_ids == []


async def test_what_is_read_again_is_not_covered_before_it_is_read(bitcoind: Bitcoind, database_url: str) -> None:
    """While blocks are still read again nothing is claimed; a process that starts anew goes on there."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with _without_scans(home):
            await started(home)
            proxy.rule = gate.rule
            watched_from = await home.watch(address)
            await gate.asked.wait()
            txid = await _spend(bitcoind, coin)
            await bitcoind.mine(2)
            await caught_up(home)
            gate.release.set()

            async def entered() -> bool:
                return (await _watches(home))[0]["seeded_height"] is not None

            await until(entered, "the older outputs are entered")
            view = await _coverage(home, address)
            assert (view.outgoing_from, view.outgoing_reason) == (None, READ_AGAIN)
            assert (await _balance(home, address)).reason == READ_AGAIN
        proxy.rule = honest
        async with following_utxo(home):
            await _seeded(home)
            assert (await _coverage(home, address)).outgoing_from == watched_from
            assert await home.story(txid, "transfer") == IN_A_BLOCK
            await _holds(home, address, 0)
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
    address, coin = await _own(bitcoind)
    behind, told = asyncio.Event(), asyncio.Event()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        await home.watch(await bitcoind.new_address())
        await _seeded(home)
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
        await _seeded(home)
        seeded = {bytes(row["address"]): row["seeded_height"] for row in await _watches(home)}
        assert seeded[await bitcoind.script(address)] == await bitcoind.height()
        assert proxy.calls["scantxoutset"] == 2, "once for each address"
        await _holds(home, address, coin.amount)


async def test_a_process_that_ends_while_the_node_reads_asks_again(bitcoind: Bitcoind, database_url: str) -> None:
    """Nothing is kept of what was not committed: whoever starts next asks the node again."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
            proxy.rule = gate.rule
            await home.watch(address)
            await gate.asked.wait()
        gate.release.set()
        txid = await _spend(bitcoind, coin)
        await bitcoind.mine()
        proxy.rule = honest
        async with following_utxo(home):
            await _seeded(home)
            await caught_up(home)
            (row,) = await _watches(home)
            assert row["outgoing_from"] == row["seeded_height"] + 1
            await _holds(home, address, 0)
            assert await home.story(txid, "transfer") in ([], IN_A_BLOCK)


async def test_a_reorg_while_the_node_reads_has_it_asked_again(bitcoind: Bitcoind, database_url: str) -> None:
    """What was unspent at a block that left our chain is thrown away."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
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
        await _seeded(home)
        (row,) = await _watches(home)
        assert row["seeded_height"] == left + 1, "the set of the block that left is not used"
        txid = await _spend(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        assert await home.story(txid, "transfer") == IN_A_BLOCK
        await _holds(home, address, 0)


async def test_a_reorg_below_the_set_forgets_it(bitcoind: Bitcoind, database_url: str) -> None:
    """What was spent at the node's set, and is unspent on the new branch, is known again before its spend is told."""
    address, coin = await _own(bitcoind)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await started(home)
        txid = await _spend(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        await home.watch(address)
        await _seeded(home)
        await _holds(home, address, 0)
        assert await home.records() == []
        await bitcoind.reorg(1, 2, empty=True)
        await caught_up(home)
        await _seeded(home)
        (row,) = await _watches(home)
        assert row["seeded_height"] == await bitcoind.height()
        await _holds(home, address, coin.amount)
        await bitcoind.mine_only([txid])
        await caught_up(home)
        assert [name for name in await home.story(txid, "transfer") if name != "processing"] == IN_A_BLOCK
        await _holds(home, address, 0)
        await home.check_stories()


@pytest.mark.parametrize("depth", [2, 3], ids=["to the set", "below the set"])
async def test_a_reorg_before_the_blocks_are_read_again(bitcoind: Bitcoind, database_url: str, depth: int) -> None:
    """Blocks that left our chain need not be read again; a set that left with them is asked for anew."""
    address, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with _without_scans(home):
            await started(home)
            proxy.rule = gate.rule
            await home.watch(address)
            await gate.asked.wait()
            txid = await _spend(bitcoind, coin)
            await bitcoind.mine(2)
            await caught_up(home)
            gate.release.set()

            async def entered() -> bool:
                return (await _watches(home))[0]["seeded_height"] is not None

            await until(entered, "the older outputs are entered")
            gate.release.clear()
            ancestor = await bitcoind.height() - depth
            (set_at,) = [row["seeded_height"] for row in await _watches(home)]
            await bitcoind.reorg(depth)
            await caught_up(home)
            (row,) = await _watches(home)
            expected = (set_at, set_at + 1) if ancestor >= set_at else (None, None)
            assert (row["seeded_height"], row["outgoing_from"]) == expected
            gate.release.set()
        async with following_utxo(home):
            await _seeded(home)
            await _holds(home, address, 0)
            told = [name for name in await home.story(txid, "transfer") if name != "processing"]
            assert told[:2] == IN_A_BLOCK
        await home.check_stories()


async def test_thousands_of_addresses_are_read_at_once(bitcoind: Bitcoind, database_url: str) -> None:
    """A node is asked once for a whole batch, which is entered in several commits; none of its coins is missed."""
    address, coin = await _own(bitcoind)
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        script = parse_address(home.definition.addresses, address)
        scripts = [*(b"\x00\x14" + number.to_bytes(20, "big") for number in range(2_500)), script]
        registry = AddressRegistry(home.database)
        account = await registry.holding_account(home.definition.name, None)
        entries = [Entry(line, each, None, None) for line, each in enumerate(scripts, start=1)]
        await registry.register(Order(home.definition.name, account), entries, now())
        async with following_utxo(home):
            await _seeded(home)
            assert proxy.calls["scantxoutset"] == 1
            txid = await _spend(bitcoind, coin)
            await bitcoind.mine()
            await caught_up(home)
            assert await home.story(txid, "transfer") == IN_A_BLOCK


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ErrorObject(-8, 'Scan already in progress, use action "abort" or "status"'), "for somebody else"),
        (ErrorObject(-32601, "Method not found"), "Method not found"),
    ],
    ids=["busy", "unknown"],
)
async def test_a_node_that_refuses_is_asked_again(
    bitcoind: Bitcoind, database_url: str, error: ErrorObject, words: str
) -> None:
    """While no node tells what is unspent the status says why, the chain is followed, and it goes on when one does."""
    address, _ = await _own(bitcoind)
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = lambda method, _params, answer: error if method == "scantxoutset" else answer
        await home.watch(address)

        async def troubled() -> bool:
            state = await _state(home)
            return state is not None and state.trouble is not None and words in state.trouble

        await until(troubled, "the status says what keeps older outputs waiting")
        await bitcoind.mine(2)
        await caught_up(home)
        assert not await home.in_trouble(), "the chain itself is followed"
        proxy.rule = honest
        await _seeded(home)

        async def untroubled() -> bool:
            (row,) = await home.fetch("select seeding_trouble from chains")
            return row["seeding_trouble"] is None

        await until(untroubled, "the trouble is over")


async def test_another_node_is_asked_where_one_refuses(bitcoind: Bitcoind, database_url: str) -> None:
    """A provider without that method does no harm beside a node that has it."""
    address, coin = await _own(bitcoind)
    async with LyingProxy(bitcoind.url) as proxy:
        proxy.rule = lambda method, _params, answer: (
            ErrorObject(-32601, "Method not found") if method == "scantxoutset" else answer
        )
        async with utxo_house(bitcoind, database_url, node_urls=[proxy.url, bitcoind.url]) as home, following_utxo(home):
            await started(home)
            await home.watch(address)
            await _seeded(home)
            await _holds(home, address, coin.amount)
            assert await _state(home) is None


async def test_one_address_that_is_too_much_holds_up_no_other(bitcoind: Bitcoind, database_url: str) -> None:
    """Where a node fails with many it is asked for fewer; one that fails alone is passed over, and tried again later."""
    much, _ = await _own(bitcoind)
    others = [await _own(bitcoind) for _ in range(2)]
    script = (await bitcoind.script(much)).hex()

    def too_much(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        asked_for_it = method == "scantxoutset" and f"raw({script})" in params[-1]
        return ErrorObject(-1, "too much") if asked_for_it else answer

    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address in (much, *(address for address, _ in others)):
            await home.watch(address)
        proxy.rule = too_much
        async with following_utxo(home):

            async def others_seeded() -> bool:
                return [row["outgoing_from"] is None for row in await _watches(home)] == [True, False, False]

            await until(others_seeded, "the others are seeded")
            state = await _state(home)
            assert state is not None
            assert state.addresses == 1
            assert state.trouble is not None
            assert "too much" in state.trouble
            proxy.rule = honest
            await _seeded(home)
            for address, coin in others:
                await _holds(home, address, coin.amount)


@pytest.mark.parametrize("fault", [HttpStatus(502), DropConnection(), ErrorObject(-28, "Loading block index")])
async def test_an_outage_blames_no_address(bitcoind: Bitcoind, database_url: str, fault: Fault) -> None:
    """A node that is down is asked for the same again, as often as it takes: not for fewer, and none is passed over."""
    owned = [await _own(bitcoind) for _ in range(3)]
    sizes: list[int] = []

    def down(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "scantxoutset" or params[0] != "start":
            return answer
        sizes.append(len(params[1]))
        return fault if len(sizes) < 3 else answer

    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address, _ in owned:
            await home.watch(address)
        proxy.rule = down
        async with following_utxo(home):
            await _seeded(home)
    assert set(sizes) == {3}


async def test_an_address_removed_meanwhile_is_left_out(bitcoind: Bitcoind, database_url: str) -> None:
    """What is not watched any more when the node has told is not marked, and hinders nobody."""
    gone, _ = await _own(bitcoind)
    kept, coin = await _own(bitcoind)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address in (gone, kept):
            await home.watch(address)
        proxy.rule = gate.rule
        async with following_utxo(home):
            await gate.asked.wait()
            script = parse_address(home.definition.addresses, gone)
            await WatchStore(home.database).remove(home.definition.name, script, None, now())
            later, _ = await _own(bitcoind)
            await home.watch(later)
            gate.release.set()
            await _seeded(home)
            await _holds(home, kept, coin.amount)
            await _holds(home, later, COIN)
            (row,) = await home.fetch("select seeded_height from addresses where address = $1", script)
            assert row["seeded_height"] is None


async def test_only_who_follows_enters_what_is_on_our_chain(bitcoind: Bitcoind, database_url: str) -> None:
    """A block above our cursor waits, one that is not ours is refused, and so is a process that follows no more."""
    address, coin = await _own(bitcoind)
    async with utxo_house(bitcoind, database_url) as home:
        async with following_utxo(home):
            await started(home)
        await home.watch(address)
        cursor, fence = await home.cursor(), await home.fence()
        ours = bytes.fromhex(await home.cursor_hash())
        seeds = SeedStore(home.database)
        (waiting,) = await seeds.waiting(home.definition.name, 10)
        found = [Unspent(bytes(36), waiting.script, coin.amount, cursor)]

        async def enter(at: BlockRef, by: int) -> Seeding:
            return await seeds.enter(home.definition.name, by, [waiting], at, found, now())

        assert await enter(BlockRef(cursor + 1, bytes(32), ours), fence) is Seeding.EARLY
        assert await enter(BlockRef(cursor, bytes(32), bytes(32)), fence) is Seeding.FOREIGN
        assert await enter(BlockRef(cursor, ours, bytes(32)), fence + 1) is Seeding.ANOTHER_LEADS
        assert await home.fetch("select * from outputs") == []
        assert await enter(BlockRef(cursor, ours, bytes(32)), fence) is Seeding.ENTERED
        assert await seeds.waiting(home.definition.name, 10) == []


async def _past(home: UtxoHouse) -> Sequence[tuple[str, str]]:
    rows = await home.fetch(
        "select type, tx_hash from transactions where historical_until is not null order by type, tx_hash"
    )
    return [(row["type"], row["tx_hash"].hex()) for row in rows]


@pytest.mark.parametrize("seeded_first", [True, False], ids=["seeded", "unseeded"])
@pytest.mark.parametrize("kind", ["bech32", "bech32m"])
async def test_history_claims_no_coins_that_were_spent(
    bitcoind: Bitcoind, database_url: str, kind: str, *, seeded_first: bool
) -> None:
    """A scan of the past finds a deposit that was spent before the watch: its address does not hold that coin."""
    bottom = await bitcoind.height() + 1
    address, coin = await _own(bitcoind, kind)
    spent = await _spend(bitcoind, coin)
    await bitcoind.mine()
    kept = await bitcoind.send(address, 3 * COIN)
    await bitcoind.mine(3)
    gate = _Gate()
    async with _behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        if seeded_first:
            await home.watch(address)
            await _seeded(home)
            await ScanList(home.database).start(home.definition.name, History(bottom, notify=False), now())
        else:
            proxy.rule = gate.rule
            await home.watch(address, history=History(bottom, notify=False))
        await until(home.scanned, "the past is read")
        gate.release.set()
        await _seeded(home)
        deposits = [("DEPOSIT", txid) for txid in sorted((coin.txid, kept))]
        seen = [("TRANSFER", spent)] if kind == "bech32" else []
        assert await _past(home) == [*deposits, *seen], "a key path reveals nothing"
        await _holds(home, address, 3 * COIN)


async def test_an_address_registered_again_holds_what_it_holds(bitcoind: Bitcoind, database_url: str) -> None:
    """What was spent while nobody watched an address is not counted when it is watched again."""
    address, coin = await _own(bitcoind)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await started(home)
        await home.watch(address)
        await _seeded(home)
        script = parse_address(home.definition.addresses, address)
        await WatchStore(home.database).remove(home.definition.name, script, None, now())
        await _spend(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        assert await home.records() == []
        await home.watch(address)
        await _seeded(home)
        await _holds(home, address, 0)
