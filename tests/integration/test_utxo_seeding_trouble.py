"""Outputs older than a watch where something is in the way: sizes, refusals, outages, and addresses that come and go."""

from collections.abc import Sequence
from typing import Any

import pytest

from chainbell.custody.address_file import Entry
from chainbell.custody.registration import Order
from chainbell.domain.address import parse_address
from chainbell.domain.chain import BlockRef
from chainbell.domain.history import History
from chainbell.domain.seeding import Seeding
from chainbell.domain.utxo import Unspent
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.scan_list import ScanList
from chainbell.storage.seeding import SeedStore
from chainbell.storage.watches import WatchStore
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind
from tests.rpcproxy import Answer, DropConnection, ErrorObject, Fault, HttpStatus, LyingProxy, honest
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, seeded, started, until, utxo_house
from tests.utxo_seeding import IN_A_BLOCK, Gate, behind_a_proxy, holds, old_output, spend_away, state_of, watches


async def test_thousands_of_addresses_are_read_at_once(bitcoind: Bitcoind, database_url: str) -> None:
    """A node is asked once for a whole batch, which is entered in several commits; none of its coins is missed."""
    address, coin = await old_output(bitcoind)
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        script = parse_address(home.definition.addresses, address)
        scripts = [*(b"\x00\x14" + number.to_bytes(20, "big") for number in range(2_500)), script]
        registry = AddressRegistry(home.database)
        account = await registry.holding_account(home.definition.name, None)
        entries = [Entry(line, each, None, None) for line, each in enumerate(scripts, start=1)]
        await registry.register(Order(home.definition.name, account), entries, now())
        async with following_utxo(home):
            await seeded(home)
            assert proxy.calls["scantxoutset"] == 1
            txid = await spend_away(bitcoind, coin)
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
    address, _ = await old_output(bitcoind)
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        proxy.rule = lambda method, _params, answer: error if method == "scantxoutset" else answer
        await home.watch(address)

        async def troubled() -> bool:
            state = await state_of(home)
            return state is not None and state.trouble is not None and words in state.trouble

        await until(troubled, "the status says what keeps older outputs waiting")
        await bitcoind.mine(2)
        await caught_up(home)
        assert not await home.in_trouble(), "the chain itself is followed"
        proxy.rule = honest
        await seeded(home)

        async def untroubled() -> bool:
            (row,) = await home.fetch("select seeding_trouble from chains")
            return row["seeding_trouble"] is None

        await until(untroubled, "the trouble is over")


async def test_another_node_is_asked_where_one_refuses(bitcoind: Bitcoind, database_url: str) -> None:
    """A provider without that method does no harm beside a node that has it."""
    address, coin = await old_output(bitcoind)
    async with LyingProxy(bitcoind.url) as proxy:
        proxy.rule = lambda method, _params, answer: (
            ErrorObject(-32601, "Method not found") if method == "scantxoutset" else answer
        )
        async with utxo_house(bitcoind, database_url, node_urls=[proxy.url, bitcoind.url]) as home, following_utxo(home):
            await started(home)
            await home.watch(address)
            await seeded(home)
            await holds(home, address, coin.amount)
            assert await state_of(home) is None


async def test_one_address_that_is_too_much_holds_up_no_other(bitcoind: Bitcoind, database_url: str) -> None:
    """Where a node fails with many it is asked for fewer; one that fails alone is passed over, and tried again later."""
    much, _ = await old_output(bitcoind)
    others = [await old_output(bitcoind) for _ in range(2)]
    script = (await bitcoind.script(much)).hex()

    def too_much(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        asked_for_it = method == "scantxoutset" and f"raw({script})" in params[-1]
        return ErrorObject(-1, "too much") if asked_for_it else answer

    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address in (much, *(address for address, _ in others)):
            await home.watch(address)
        proxy.rule = too_much
        async with following_utxo(home):

            async def others_seeded() -> bool:
                return [row["outgoing_from"] is None for row in await watches(home)] == [True, False, False]

            await until(others_seeded, "the others are seeded")
            state = await state_of(home)
            assert state is not None
            assert state.addresses == 1
            assert state.trouble is not None
            assert "too much" in state.trouble
            proxy.rule = honest
            await seeded(home)
            for address, coin in others:
                await holds(home, address, coin.amount)


@pytest.mark.parametrize("fault", [HttpStatus(502), DropConnection(), ErrorObject(-28, "Loading block index")])
async def test_an_outage_blames_no_address(bitcoind: Bitcoind, database_url: str, fault: Fault) -> None:
    """A node that is down is asked for the same again, as often as it takes: not for fewer, and none is passed over."""
    owned = [await old_output(bitcoind) for _ in range(3)]
    sizes: list[int] = []

    def down(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "scantxoutset" or params[0] != "start":
            return answer
        sizes.append(len(params[1]))
        return fault if len(sizes) < 3 else answer

    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address, _ in owned:
            await home.watch(address)
        proxy.rule = down
        async with following_utxo(home):
            await seeded(home)
    assert set(sizes) == {3}


async def test_an_address_removed_meanwhile_is_left_out(bitcoind: Bitcoind, database_url: str) -> None:
    """What is not watched any more when the node has told is not marked, and hinders nobody."""
    gone, _ = await old_output(bitcoind)
    kept, coin = await old_output(bitcoind)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy):
        async with following_utxo(home):
            await started(home)
        for address in (gone, kept):
            await home.watch(address)
        proxy.rule = gate.rule
        async with following_utxo(home):
            await gate.asked.wait()
            script = parse_address(home.definition.addresses, gone)
            await WatchStore(home.database).remove(home.definition.name, script, None, now())
            later, _ = await old_output(bitcoind)
            await home.watch(later)
            gate.release.set()
            await seeded(home)
            await holds(home, kept, coin.amount)
            await holds(home, later, COIN)
            (row,) = await home.fetch("select seeded_height from addresses where address = $1", script)
            assert row["seeded_height"] is None


async def test_only_who_follows_enters_what_is_on_our_chain(bitcoind: Bitcoind, database_url: str) -> None:
    """A block above our cursor waits, one that is not ours is refused, and so is a process that follows no more."""
    address, coin = await old_output(bitcoind)
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
    address, coin = await old_output(bitcoind, kind)
    spent = await spend_away(bitcoind, coin)
    await bitcoind.mine()
    kept = await bitcoind.send(address, 3 * COIN)
    await bitcoind.mine(3)
    gate = Gate()
    async with behind_a_proxy(bitcoind, database_url) as (home, proxy), following_utxo(home):
        await started(home)
        if seeded_first:
            await home.watch(address)
            await seeded(home)
            await ScanList(home.database).start(home.definition.name, History(bottom, notify=False), now())
        else:
            proxy.rule = gate.rule
            await home.watch(address, history=History(bottom, notify=False))
        await until(home.scanned, "the past is read")
        gate.release.set()
        await seeded(home)
        deposits = [("DEPOSIT", txid) for txid in sorted((coin.txid, kept))]
        seen = [("TRANSFER", spent)] if kind == "bech32" else []
        assert await _past(home) == [*deposits, *seen], "a key path reveals nothing"
        await holds(home, address, 3 * COIN)


async def test_an_address_registered_again_holds_what_it_holds(bitcoind: Bitcoind, database_url: str) -> None:
    """What was spent while nobody watched an address is not counted when it is watched again."""
    address, coin = await old_output(bitcoind)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await started(home)
        await home.watch(address)
        await seeded(home)
        script = parse_address(home.definition.addresses, address)
        await WatchStore(home.database).remove(home.definition.name, script, None, now())
        await spend_away(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        assert await home.records() == []
        await home.watch(address)
        await seeded(home)
        await holds(home, address, 0)
