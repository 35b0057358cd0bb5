"""What leaves a mempool, and what a reorg takes back: dropped only after a while, on real daemons and a real PostgreSQL."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chainbell.domain.following import Committed, Stale
from chainbell.storage.chains import ChainStates
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind, UtxoDaemon
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, LyingProxy
from tests.utxo_house import (
    FEE,
    WAITS,
    abroad,
    at_home,
    caught_up,
    evaluated,
    following_utxo,
    pay,
    started,
    until,
    utxo_house,
)

# Absence --------------------------------------------------------------------------------------------------------------


async def test_what_is_evicted_is_dropped_after_a_while_and_may_return(daemon: UtxoDaemon, database_url: str) -> None:
    """Not before `drop_after`, not as final, and a return is told as pending again under the same uid."""
    async with at_home(daemon, database_url, drop_after_seconds=2) as home:
        address = await home.watched_address()
        coin = (await daemon.coins())[0]
        txid = await pay(daemon, coin, (address, coin.amount - FEE))
        raw = await daemon.raw(txid)
        await home.tells(txid, *WAITS)
        gone = time.monotonic()
        await daemon.lose_mempool()
        await home.tells(txid, *WAITS, "dropped")
        assert time.monotonic() - gone >= 2
        assert (await home.last_body(txid))["final"] is False
        await daemon.send_raw(raw)
        await home.tells(txid, *WAITS, "dropped", "pending")
        await daemon.mine()
        await home.tells(txid, *WAITS, "dropped", "pending", "awaiting_confirmation")
        await home.check_stories()


async def test_a_node_that_restarts_and_loads_its_pool_drops_nothing(daemon: UtxoDaemon, database_url: str) -> None:
    """What it shows again after its start was never away."""
    async with at_home(daemon, database_url, drop_after_seconds=1) as home:
        txid = await daemon.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        await daemon.restart()
        await evaluated(home, 1.5)
        assert await home.story(txid) == [*WAITS]


async def test_absence_means_nothing_while_the_pool_is_loaded(bitcoind: Bitcoind, database_url: str) -> None:
    """A node that says that it has not loaded its mempool may show an empty one for as long as it likes."""
    async with LyingProxy(bitcoind.url) as proxy:
        async with at_home(bitcoind, database_url, node_urls=[proxy.url], drop_after_seconds=1) as home:
            txid = await bitcoind.send(await home.watched_address(), COIN)
            await home.tells(txid, *WAITS)
            loading = True

            def still_loading(method: str, _params: list[Any], answer: Answer) -> Answer:
                if method == "getmempoolinfo":
                    return answer | {"result": answer["result"] | {"loaded": not loading}}
                return answer | {"result": []} if method == "getrawmempool" else answer

            proxy.rule = still_loading
            asked = proxy.calls["getrawmempool"]
            deadline = time.monotonic() + 1.5

            async def long_enough() -> bool:
                return proxy.calls["getrawmempool"] > asked + 10 and time.monotonic() > deadline

            await until(long_enough, "it was asked for longer than drop_after")
            assert await home.story(txid) == [*WAITS]
            loading = False
            await home.tells(txid, *WAITS, "dropped")


async def test_a_node_that_never_showed_it_says_nothing_of_its_absence(another: Starter, database_url: str) -> None:
    """After a fail-over to a node with another pool what the first one showed stays, for as long as it takes."""
    first, second = await another(Bitcoind()), await another(Bitcoind())
    await first.fund(2)
    await first.connect(second)
    await first.disconnect(second)
    async with at_home(first, database_url, others=[second], drop_after_seconds=1) as home:
        txid = await first.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        await first.stop()
        await evaluated(home, 2)
        assert await home.story(txid) == [*WAITS]


async def test_who_knows_only_the_header_of_a_block_never_showed_what_is_in_it(another: Starter, database_url: str) -> None:
    """A node of another branch says nothing of the absence of what was in a branch that it heard of, and never followed."""
    first, second = await another(Bitcoind()), await another(Bitcoind())
    await first.fund(2)
    await first.connect(second)
    await first.disconnect(second)
    async with at_home(first, database_url, others=[second], drop_after_seconds=1) as home:
        txid = await first.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        (block,) = await first.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation")
        await second.rpc("submitheader", await first.rpc("getblockheader", block, False))
        await second.mine(2)
        await first.stop()
        await home.tells(txid, *WAITS, "awaiting_confirmation", "pending")
        await evaluated(home, 2)
        assert await home.story(txid) == [*WAITS, "awaiting_confirmation", "pending"]


async def test_a_node_is_the_same_whatever_it_is_called(bitcoind: Bitcoind, database_url: str) -> None:
    """What was pending is dropped also where its node has another name, and another rank, since a restart."""
    async with utxo_house(bitcoind, database_url, drop_after_seconds=1) as home, following_utxo(home):
        await started(home)
        txid = await bitcoind.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
    await bitcoind.lose_mempool()
    urls = ["http://127.0.0.1:9", bitcoind.url]
    async with utxo_house(bitcoind, database_url, node_urls=urls, drop_after_seconds=1) as home, following_utxo(home):
        await home.tells(txid, *WAITS, "dropped")


async def test_a_view_counts_only_at_our_cursor(bitcoind: Bitcoind, database_url: str) -> None:
    """A mempool without what was just mined is no news before we have that block; nor is that of another's lease."""
    async with utxo_house(bitcoind, database_url, drop_after_seconds=1) as home:
        async with following_utxo(home):
            await started(home)
            txid = await bitcoind.send(await home.watched_address(), COIN)
            await home.tells(txid, *WAITS)
        tracker, fence = home.tracker(), await home.fence()
        node = await home.pool.current()
        at_cursor = replace(await node.mempool([]), arrived=())
        await bitcoind.mine()
        ahead = await node.mempool([])
        for minutes in (0, 10):
            outcome = await tracker.observe(fence, ahead, now() + timedelta(minutes=minutes))
            assert isinstance(outcome, Stale)
        assert isinstance(await tracker.observe(fence - 1, at_cursor, now()), Stale)
        assert await home.story(txid) == [*WAITS]
        assert isinstance(await tracker.observe(fence, at_cursor, now()), Committed)


async def test_what_is_away_and_back_is_away_anew(bitcoind: Bitcoind, database_url: str) -> None:
    """Only an absence that lasted counts: one sight in between begins it anew."""
    async with utxo_house(bitcoind, database_url, drop_after_seconds=60) as home:
        async with following_utxo(home):
            await started(home)
            txid = await bitcoind.send(await home.watched_address(), COIN)
            await home.tells(txid, *WAITS)
        tracker, fence, began = home.tracker(), await home.fence(), now()
        there = replace(await (await home.pool.current()).mempool([]), arrived=())
        away = replace(there, present=frozenset())
        for second, view in [(0, away), (50, away), (55, there), (70, away), (125, away)]:
            assert await tracker.observe(fence, view, began + timedelta(seconds=second)) == Committed(0)
        assert await tracker.observe(fence, away, began + timedelta(seconds=131)) == Committed(1)
        assert await home.story(txid) == [*WAITS, "dropped"]


async def test_what_waits_long_is_listed_until_it_is_dropped(bitcoind: Bitcoind, database_url: str) -> None:
    """The status lists what waits for a block for longer than `drop_after`; what was dropped waits no more."""
    async with at_home(bitcoind, database_url, drop_after_seconds=1) as home:
        txid = await bitcoind.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        (record,) = await home.records()

        async def listed() -> tuple[str, ...]:
            later = now() + timedelta(seconds=60)
            (status,) = await ChainStates(home.database).statuses([home.definition], later)
            return status.stranded

        assert await listed() == (record["uid"],)
        await bitcoind.lose_mempool()
        await home.tells(txid, *WAITS, "dropped")
        assert await listed() == ()


# Reorgs ---------------------------------------------------------------------------------------------------------------


async def test_an_orphan_waits_and_is_mined_again(daemon: UtxoDaemon, database_url: str) -> None:
    """A reorg gives it back to the mempool: pending, never dropped, then the next block's."""
    async with at_home(daemon, database_url, drop_after_seconds=1) as home:
        txid = await daemon.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        await daemon.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation")
        await daemon.reorg(1, empty=True)
        await home.tells(txid, *WAITS, "awaiting_confirmation", "pending")
        await evaluated(home, 1.5)
        await daemon.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation", "pending", "awaiting_confirmation")


async def test_an_orphan_that_never_comes_back_is_dropped(daemon: UtxoDaemon, database_url: str) -> None:
    """The node that knows the block which was taken back has shown what was in it: its mempool may be asked."""
    async with at_home(daemon, database_url, drop_after_seconds=1) as home:
        coin = (await daemon.coins())[0]
        raw = await pay(daemon, coin, (await home.watched_address(), coin.amount - FEE), send=False)
        txid = (await daemon.rpc("decoderawtransaction", raw))["txid"]
        await daemon.mine_only([raw])
        await home.tells(txid, "created", "awaiting_confirmation")
        await daemon.reorg(1, empty=True)
        await home.tells(txid, "created", "awaiting_confirmation", "pending")
        await daemon.lose_mempool()
        await home.tells(txid, "created", "awaiting_confirmation", "pending", "dropped")
        await daemon.send_raw(raw)
        await home.tells(txid, "created", "awaiting_confirmation", "pending", "dropped", "pending")


async def test_an_absence_before_a_block_does_not_count_after_it(bitcoind: Bitcoind, database_url: str) -> None:
    """Evicted for a while, then mined all the same, then taken back: the clock begins anew."""
    async with utxo_house(bitcoind, database_url, drop_after_seconds=60) as home:
        coin = (await bitcoind.coins())[0]
        async with following_utxo(home):
            await started(home)
            raw = await pay(bitcoind, coin, (await home.watched_address(), coin.amount - FEE), send=False)
            txid = await bitcoind.send_raw(raw)
            await home.tells(txid, *WAITS)
        tracker, node, began = home.tracker(), await home.pool.current(), now()
        away = replace(await node.mempool([]), arrived=(), present=frozenset())
        assert await tracker.observe(await home.fence(), away, began) == Committed(0)
        async with following_utxo(home):
            await bitcoind.mine()
            await home.tells(txid, *WAITS, "awaiting_confirmation")
        tip = await node.tip()
        await bitcoind.reorg(1, blocks=0)
        fence, ancestor = await home.fence(), await node.tip()
        assert await tracker.retract(fence, tip, ancestor, began, None) == Committed(1)
        away = replace(away, tip=ancestor.hash)
        assert await tracker.observe(fence, away, began + timedelta(seconds=61)) == Committed(0)
        assert await tracker.observe(fence, away, began + timedelta(seconds=122)) == Committed(1)
        assert (await home.story(txid))[-2:] == ["pending", "dropped"]


async def test_a_double_spend_in_the_new_branch_replaces(daemon: UtxoDaemon, database_url: str) -> None:
    """What the old branch had is pending after the reorg, in conflict, and replaced when the rival's block is deep."""
    async with at_home(daemon, database_url) as home:
        coin = (await daemon.coins())[0]
        rival = await pay(daemon, coin, (await abroad(daemon), coin.amount - 5 * FEE), send=False)
        txid = await pay(daemon, coin, (await home.watched_address(), coin.amount - FEE))
        await home.tells(txid, *WAITS)
        (block,) = await daemon.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation")
        await daemon.invalidate(block)
        await daemon.mine_only([rival])
        await daemon.mine(1)
        await home.tells(txid, *WAITS, "awaiting_confirmation", "pending")
        await caught_up(home)
        assert (await home.records())[0]["conflict_hash"] is not None
        await daemon.mine(1)
        await home.tells(txid, *WAITS, "awaiting_confirmation", "pending", "replaced")
        assert (await home.last_body(txid))["final"] is True
        await home.check_stories()


async def test_a_success_taken_back_waits_again(daemon: UtxoDaemon, database_url: str) -> None:
    """A reorg deeper than required reverts it; its mempool shows it, so that it is pending, and a block has it again."""
    async with at_home(daemon, database_url) as home:
        txid = await daemon.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        await daemon.mine(3)
        await home.tells(txid, *WAITS, "awaiting_confirmation", "success")
        await daemon.reorg(3, empty=True)
        await home.tells(txid, *WAITS, "awaiting_confirmation", "success", "reverted", "pending")
        await daemon.mine(3)
        await caught_up(home)
        assert (await home.story(txid))[-1] == "success"
        await home.check_stories()


async def test_a_success_that_never_left_the_looked_at_pool_waits_again(bitcoind: Bitcoind, database_url: str) -> None:
    """Mined, reverted and back in the mempool between two looks: the next view brings it back although it did not arrive."""
    async with utxo_house(bitcoind, database_url) as home:
        async with following_utxo(home):
            await started(home)
            txid = await bitcoind.send(await home.watched_address(), COIN)
            await home.tells(txid, *WAITS)
            await bitcoind.mine(3)
            await home.tells(txid, *WAITS, "awaiting_confirmation", "success")
        fence, cursor = await home.fence(), (await home.pool.current())
        tip = await cursor.tip()
        await bitcoind.reorg(3, blocks=0)
        ancestor = await cursor.tip()
        assert isinstance(await home.tracker().retract(fence, tip, ancestor, now(), cursor.place), Committed)
        view = replace(await cursor.mempool([]), arrived=())
        assert await home.tracker().observe(fence, view, now()) == Committed(1)
        assert (await home.story(txid))[-2:] == ["reverted", "pending"]


async def test_a_conflict_that_is_taken_back_gives_the_place_back(bitcoind: Bitcoind, database_url: str) -> None:
    """Replaced for good, then the rival's block is orphaned and the rival with it: ours waits, and is mined after all."""
    async with at_home(bitcoind, database_url, drop_after_seconds=600) as home:
        coin = (await bitcoind.coins())[0]
        rival = await pay(bitcoind, coin, (await abroad(bitcoind), coin.amount - 5 * FEE), send=False)
        txid = await pay(bitcoind, coin, (await home.watched_address(), coin.amount - FEE))
        raw = await bitcoind.raw(txid)
        await home.tells(txid, *WAITS)
        await bitcoind.mine_only([rival])
        await bitcoind.mine(2)
        await home.tells(txid, *WAITS, "replaced")
        await bitcoind.invalidate(await bitcoind.block_hash(await bitcoind.height() - 2))
        await bitcoind.mine_only([raw])
        await bitcoind.mine(5)
        await caught_up(home)
        story = await home.story(txid)
        assert story[:4] == [*WAITS, "replaced", "pending"]
        assert story[-2:] == ["awaiting_confirmation", "success"]
        assert await home.stories() == {txid: story}
