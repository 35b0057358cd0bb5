"""Scans of the past, on a real anvil and a real PostgreSQL: no hole and no double where history meets the tip."""

import asyncio
import random
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import orjson

from chainbell.domain.block import Block
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.following import Stale
from chainbell.domain.history import History, ScanWindow
from chainbell.nodes.evm.node import EvmNode
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.scans import ScanStore, open_scan
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry import checkpoints
from chainbell.telemetry.checkpoints import Checkpoint
from chainbell.telemetry.clock import now
from chainbell.watcher.leading import Leading
from tests.chain_truth import read_truth
from tests.house import ALICE, BOB, ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil
from tests.rpcproxy import Answer, ErrorObject, Fault, LyingProxy


async def _looked_back(home: House) -> None:
    await until(home.scanned, "every scan is finished")


async def _subscribe(home: House) -> None:
    store = EndpointStore(home.database, SecretBox(bytes(32)), [ip_network("127.0.0.0/8")])
    wanted = NewEndpoint(url="http://127.0.0.1:1/", mode=Mode.TEST, version=WebhookVersion.V2, events=())
    await store.create(wanted, now())


async def _bodies(home: House) -> list[dict[str, Any]]:
    return [orjson.loads(row["body_v2"]) for row in await home.fetch("select body_v2 from events order by position")]


async def test_the_past_of_an_address_is_found_and_marked(anvil: Anvil, database_url: str) -> None:
    """Coin and token deposits below the watch are told whole, with their fees, as `historical`, and never twice."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    payer = anvil.accounts[0]
    first = await anvil.height() + 1
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home:
        for _ in range(40):
            await anvil.send(payer, ALICE, ETHER)
        await anvil.token_transfer(token, payer, ALICE, 7)
        async with following(home):
            await started(home)
            await anvil.mine(2)
            await caught_up(home)
            await home.watch_past(ALICE, first, notify=True)
            await home.watch_past(payer, first + 20, notify=True)
            await anvil.send(payer, ALICE, ETHER)
            await anvil.mine(3)
            await caught_up(home)
            await _looked_back(home)
        truth = [
            *await read_truth(anvil.url, {ALICE}, {token}, first, 3),
            *await read_truth(anvil.url, {payer}, {token}, first + 20, 3),
        ]
        assert await home.truths() == sorted(truth)
        await home.check_stories()
        transfers = [row for row in await home.records() if row["type"] == "TRANSFER"]
        assert await home.fees() == len(transfers) == 22
        assert all(row["fee"] > 0 for row in transfers)
        tip = [row for row in await home.records() if row["historical_until"] is None]
        assert len(tip) == 2
        for body in await _bodies(home):
            assert body["data"].get("historical", False) is (body["data"]["blockHeight"] < await home.cursor() - 3)


async def test_history_rings_endpoints_only_where_it_was_asked_for(anvil: Anvil, database_url: str) -> None:
    """What a scan finds is on the feed in any case, and delivered only with `notify`."""
    first = await anvil.height() + 1
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.send(anvil.accounts[0], BOB, ETHER)
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await anvil.mine(3)
        await caught_up(home)
        await _subscribe(home)
        await home.watch_past(ALICE, first, notify=False)
        await home.watch_past(BOB, first, notify=True)
        await _looked_back(home)
        rows = await home.fetch(
            "select t.address, count(distinct e.id) as events, count(d.id) as deliveries from events e "
            "join transactions t on t.uid = e.resource_id left join deliveries d on d.event_position = e.position group by 1"
        )
        counts = {"0x" + row["address"].hex(): (row["events"], row["deliveries"]) for row in rows}
        assert counts == {ALICE: (3, 0), BOB: (3, 3)}


async def test_a_scan_matches_only_its_own_addresses(anvil: Anvil, database_url: str) -> None:
    """The past of an address for which nobody asked for it is not told."""
    first = await anvil.height() + 1
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.send(anvil.accounts[0], BOB, ETHER)
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await anvil.mine(1)
        await caught_up(home)
        await home.watch(ALICE)
        await home.watch_past(BOB, first, notify=True)
        await _looked_back(home)
        assert {"0x" + row["address"].hex() for row in await home.records()} == {BOB}


async def test_no_seam_where_history_meets_the_tip(anvil: Anvil, database_url: str) -> None:
    """Addresses registered while every block holds deposits to them: each deposit is told once, whoever saw it."""
    chance = random.Random(7)
    people = ["0x" + bytes([number]).hex() * 20 for number in range(1, 13)]
    first = await anvil.height() + 1
    async with house(anvil, database_url) as home, following(home):
        await started(home)

        async def pay() -> None:
            while True:
                await anvil.send(anvil.accounts[0], chance.choice(people), ETHER // 1000)

        paying = asyncio.create_task(pay())
        for number, address in enumerate(people):
            since = await anvil.height() + 3

            async def mined(height: int = since) -> bool:
                return await anvil.height() >= height

            await until(mined, "some more blocks were mined")
            await home.watch_past(address, first, notify=number % 2 == 0)
        paying.cancel()
        await asyncio.wait([paying])
        await anvil.mine(3)
        await caught_up(home)
        await _looked_back(home)
        assert await home.truths() == await read_truth(anvil.url, set(people), set(), first, 3)
        await home.check_stories()
        watched_from = {row["address"]: row["watched_from"] for row in await home.fetch("select * from addresses")}
        for row in await home.records():
            assert (row["historical_until"] is not None) == (row["block_height"] < watched_from[row["address"]])


async def test_a_scan_over_a_reorg(anvil: Anvil, database_url: str) -> None:
    """Blocks read before a reorg are not committed after it; both branches end as the chain has them, told once."""
    first = await anvil.height() + 1
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            for _ in range(30):
                await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await caught_up(home)
        await home.watch_past(ALICE, first, notify=True)
        scans, tracker = ScanStore(home.database), home.tracker()
        window = await scans.next_window("anvil", 16)
        assert window is not None
        node = await home.pool.current()
        read_before = await node.blocks_from(window.lowest, window.highest)
        before = await anvil.block_hash(window.highest - 4)
        await anvil.reorg(6)
        assert await anvil.block_hash(window.highest - 4) != before
        await anvil.send(anvil.accounts[1], ALICE, 5)
        follower = asyncio.create_task(home.follower().run())
        await caught_up(home)
        assert isinstance(await tracker.look_back(await home.fence(), window, read_before, now()), Stale)
        follower.cancel()
        await asyncio.wait([follower])
        async with following(home):
            await anvil.mine(3)
            await caught_up(home)
            await _looked_back(home)
        assert await home.truths() == await read_truth(anvil.url, {ALICE}, set(), first, 3)
        await home.check_stories()


async def test_history_that_comes_again_at_the_tip_is_history_no_more(anvil: Anvil, database_url: str) -> None:
    """A deposit that a silent scan found, orphaned and included again above the watch, rings from then on."""
    first = await anvil.height() + 1
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await _subscribe(home)
        raw = await anvil.raw(await anvil.send(anvil.accounts[0], ALICE, ETHER))
        await caught_up(home)
        await home.watch_past(ALICE, first, notify=False)
        await _looked_back(home)
        await anvil.reorg(1)
        await anvil.mine(2)
        await caught_up(home)
        assert (await _bodies(home))[-1]["data"]["historical"] is True
        assert await home.fetch("select 1 from deliveries") == []
        await anvil.resend(raw)
        await anvil.mine(3)
        await caught_up(home)
        told = {body["sequence"]: body for body in await _bodies(home) if not body["type"].endswith("confirmation")}
        assert [body["type"].rpartition(".")[2] for body in told.values()] == ["created", "pending", "success"]
        assert ["historical" in body["data"] for body in told.values()] == [True, True, False]
        assert len(await home.fetch("select 1 from deliveries")) == 2  # confirmations go to who names them


async def test_a_reorg_below_a_scan_leaves_the_rest_to_the_follower(anvil: Anvil, database_url: str) -> None:
    """A scan whose blocks were all taken back has nothing left to read, and the follower tells what is there now."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await anvil.mine(5)
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await caught_up(home)
        await home.watch_past(ALICE, await anvil.height(), notify=True)
        await anvil.reorg(3)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        follower = asyncio.create_task(home.follower().run())
        await caught_up(home)
        assert await home.scanned()
        follower.cancel()
        await asyncio.wait([follower])
        (row,) = await home.records()
        assert row["historical_until"] is None


async def test_a_node_without_old_blocks_delays_the_scan_alone(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str
) -> None:
    """The tip is followed on, the scan says what it waits for, and goes on when a node has the blocks."""
    first = await anvil.height() + 1
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.mine(20)
    pruned_below = await anvil.height()

    def without_history(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        old = method == "eth_getBlockByNumber" and params[1] is True and int(params[0], 16) < pruned_below
        return ErrorObject(4444, "pruned history unavailable") if old else answer

    async with house(anvil, database_url, node_urls=[lying_proxy.url]) as home, following(home):
        await started(home)
        lying_proxy.rule = without_history
        await home.watch_past(ALICE, first, notify=True)

        async def says_why() -> bool:
            (row,) = await home.fetch("select trouble from scans")
            return row["trouble"] is not None and "pruned history unavailable" in row["trouble"]

        await until(says_why, "the scan says what it waits for")
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await caught_up(home)
        assert len(await home.records()) == 1
        lying_proxy.rule = lambda _method, _params, answer: answer
        await _looked_back(home)
        assert len(await home.records()) == 2


async def test_scans_that_meet_go_on_as_one(anvil: Anvil, database_url: str) -> None:
    """A later scan reads down to where an earlier one stands; from there on both take the same windows."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await anvil.mine(40)
            await caught_up(home)
        scans, node, tracker = ScanStore(home.database), await home.pool.current(), home.tracker()
        await home.watch_past(ALICE, 1, notify=True)
        windows = []
        while window := await scans.next_window("anvil", 16):
            windows.append((window.highest, window.lowest, len(window.scan_ids)))
            blocks = await node.blocks_from(window.lowest, window.highest)
            await tracker.look_back(await home.fence(), window, blocks, now())
            if len(windows) == 1:
                await home.watch_past(BOB, 20, notify=True)
        height = await home.cursor()
        assert windows[:2] == [(height, height - 15, 1), (height, height - 15, 1)]
        assert windows[2:] == [(height - 16, 20, 2), (19, 4, 1), (3, 1, 1)]


async def test_a_scan_of_the_whole_chain_tells_what_is_missing_alone(anvil: Anvil, database_url: str) -> None:
    """A scan without an account finds what any watched address lacks, and touches nothing that is told."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    payer = anvil.accounts[0]
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        first = await home.cursor()
        await home.watch(ALICE)
        await anvil.send(payer, ALICE, ETHER)
        await anvil.token_transfer(token, payer, ALICE, 5)
        await anvil.mine(3)
        await caught_up(home)
        assert len(await home.records()) == 1
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home, following(home):
        await anvil.mine(1)
        await caught_up(home)
        async with home.database.transaction() as connection:
            assert await open_scan(connection, "anvil", None, [], History(first, notify=True), now())
        await _looked_back(home)
        assert await home.truths() == await read_truth(anvil.url, {ALICE}, {token}, first, 3)
        (told, found) = sorted(await home.records(), key=lambda row: bytes(row["asset"]))
        assert (told["historical_until"], found["historical_until"]) == (None, first + 1)
        await home.check_stories()


async def test_a_scan_cut_off_in_the_middle_goes_on(anvil: Anvil, database_url: str) -> None:
    """Connections lost inside of its commits delay a scan, and nothing is lost or told twice."""
    first = await anvil.height() + 1
    for _ in range(60):
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await anvil.mine(3)
        await caught_up(home)
        cuts = asyncio.Queue[Checkpoint]()
        checkpoints.listen(lambda point: cuts.put_nowait(point) if point is Checkpoint.SCAN_READ else None)
        try:
            await home.watch_past(ALICE, first, notify=True)
            for _ in range(2):
                await asyncio.wait_for(cuts.get(), 20)
                await home.cut_connections()
            await _looked_back(home)
        finally:
            checkpoints.listen(lambda _point: None)
        assert await home.truths() == await read_truth(anvil.url, {ALICE}, set(), first, 3)
        await home.check_stories()


async def test_newer_scans_never_starve_older_ones(anvil: Anvil, database_url: str) -> None:
    """While new scans begin at the tip again and again, the oldest goes down all the same."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await anvil.mine(300)
            await caught_up(home)
        leading, fence = Leading(), await home.fence()
        scanner, tracker, node = home.scanner(leading), home.tracker(), await home.pool.current()
        await home.watch_past(ALICE, 1, notify=True)
        for number in range(60):
            await home.watch_past(f"0x{number:040x}", 1, notify=True)
            for _ in range(2):
                window = await scanner._next_window()
                if window is not None:
                    blocks = await node.blocks_from(window.lowest, window.highest)
                    assert not isinstance(await tracker.look_back(fence, window, blocks, now()), Stale)
        (oldest,) = await home.fetch("select finished_at from scans order by created_at, id limit 1")
        assert oldest["finished_at"] is not None


async def test_a_process_that_lost_the_chain_finishes_nobodys_scan(anvil: Anvil, database_url: str) -> None:
    """A scan read by who slept, under an older definition, is thrown away; who leads now finds the token's deposit."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    first = await anvil.height() + 1
    await anvil.token_transfer(token, anvil.accounts[0], ALICE, 5)
    await anvil.mine(4)
    async with house(anvil, database_url) as old, house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as new:
        async with following(old):
            await started(old)
            await anvil.mine(1)
            await caught_up(old)
        before, node = await old.fence(), await old.pool.current()
        node.list_tokens(())
        follower = asyncio.create_task(new.follower().run())

        async def covered() -> bool:
            return ("token", token, True) in await new.coverage()

        await until(covered, "the token is covered")
        follower.cancel()
        await asyncio.wait([follower])
        await new.watch_past(ALICE, first, notify=True)
        window = await ScanStore(old.database).next_window("anvil", 16)
        assert window is not None
        blocks = await node.blocks_from(window.lowest, window.highest)
        assert isinstance(await old.tracker().look_back(before, window, blocks, now()), Stale)
        async with following(new):
            await _looked_back(new)
        assert [row["amount"] for row in await new.records()] == [5]


async def test_a_chain_that_stopped_finishes_no_scan(anvil: Anvil, database_url: str) -> None:
    """What was read before a reorg that is too deep is not told after it: nothing succeeds on a branch that was left."""
    first = await anvil.height() + 1
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.mine(12)
    async with house(anvil, database_url, reorg_limit=4) as home:
        follower = home.follower()
        scanner = home.scanner(follower.leading)
        read, was_read, may_go_on = scanner._read, asyncio.Event(), asyncio.Event()

        async def slow(window: ScanWindow) -> tuple[EvmNode, Sequence[Block]] | None:
            blocks = await read(window)
            was_read.set()
            await may_go_on.wait()
            return blocks

        scanner._read = slow  # type: ignore[method-assign] # a node that takes its time
        task = asyncio.create_task(follower.run())
        await started(home)
        await anvil.mine(1)
        await caught_up(home)
        await home.watch_past(ALICE, first, notify=True)
        fence, window = await follower.leading.wait(), await scanner._next_window()
        assert window is not None
        going_on = asyncio.create_task(scanner._go_on(fence, follower.leading.stretch, window))
        await was_read.wait()
        await anvil.reorg(13)

        async def halted() -> bool:
            (row,) = await home.fetch("select halted from chains")
            return bool(row["halted"])

        await until(halted, "the chain is halted")
        may_go_on.set()
        await going_on
        assert await home.told() == []
        task.cancel()
        await asyncio.wait([task])


async def test_what_was_read_before_the_tokens_changed_is_read_again(anvil: Anvil, database_url: str) -> None:
    """A scan commits nothing that it read in an earlier stretch of leading: it may lack a token that counts as covered."""
    first = await anvil.height() + 1
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.mine(3)
    async with house(anvil, database_url) as home:
        follower = home.follower()
        scanner = home.scanner(follower.leading)
        task = asyncio.create_task(follower.run())
        await started(home)
        await anvil.mine(1)
        await caught_up(home)
        await home.watch_past(ALICE, first, notify=True)
        fence, window = await follower.leading.wait(), await scanner._next_window()
        assert window is not None
        earlier = follower.leading.stretch
        follower.leading.end()
        follower.leading.begin(fence)
        assert await scanner._go_on(fence, earlier, window)
        assert await home.told() == []
        assert await scanner._next_window() == window
        assert await scanner._go_on(fence, follower.leading.stretch, window)
        assert await home.told() != []
        task.cancel()
        await asyncio.wait([task])
