"""What waits in a mempool: told, replaced, dropped and brought back, on real daemons and a real PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chainbell.domain.following import Committed, Outcome, Stale
from chainbell.domain.utxo import Lacking, MempoolView
from chainbell.storage.chains import ChainStates
from chainbell.telemetry.clock import now
from chainbell.tracker.service import Tracker
from chainbell.watcher import mempool
from tests.bitcoin import COIN, Bitcoind, Coin, Litecoind, UtxoDaemon
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, ErrorObject, LyingProxy
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house

DAEMONS = [Bitcoind, Litecoind]
FINAL = 0xFFFFFFFF
"""The sequence number of an input that does not signal replacement."""
FEE = 20_000
WAITS = ("created", "pending")


@pytest.fixture(params=DAEMONS, ids=["bitcoind", "litecoind"])
async def daemon(request: pytest.FixtureRequest, another: Starter) -> UtxoDaemon:
    """Run a node of each kind with six mature coins of 50."""
    kind: type[UtxoDaemon] = request.param
    node = await another(kind())
    await node.fund(6)
    return node


@asynccontextmanager
async def at_home(node: UtxoDaemon, url: str, **changes: Any) -> AsyncIterator[UtxoHouse]:
    """Follow a node's chain from its tip on."""
    async with utxo_house(node, url, **changes) as home, following_utxo(home):
        await started(home)
        yield home


async def pay(
    node: UtxoDaemon, coin: Coin | tuple[str, int], *outputs: tuple[str, int], sequence: int | None = None, send: bool = True
) -> str:
    """Spend a coin into these outputs; the txid, or the bytes if it shall not be sent."""
    options: dict[str, Any] = {} if sequence is None else {"sequence": sequence}
    return await node.raw_transaction([coin], outputs, send=send, **options)


async def abroad(node: UtxoDaemon) -> str:
    """Return an address of the node's wallet that nobody watches."""
    return await node.new_address()


async def evaluated(home: UtxoHouse, seconds: float) -> None:
    """Wait until views of the mempool were committed for so long: what can be dropped by then is dropped."""
    deadline = time.monotonic() + seconds
    seen = 0
    original = Tracker.observe

    async def counting(self: Tracker, fence: int, view: MempoolView, at: Any) -> Outcome | Lacking:
        nonlocal seen
        outcome = await original(self, fence, view, at)
        seen += isinstance(outcome, Committed) and view.loaded and time.monotonic() >= deadline
        return outcome

    async def twice() -> bool:
        return seen >= 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "observe", counting)
        await until(twice, f"mempools were told for {seconds} s", seconds + 20)


# Arrival --------------------------------------------------------------------------------------------------------------


async def test_a_payment_is_pending_within_a_second(daemon: UtxoDaemon, database_url: str) -> None:
    """By polling alone, at the definition's own pace; then it goes the way of its block."""
    async with at_home(daemon, database_url, poll_seconds=0.2) as home:
        address = await home.watched_address()
        txid = await daemon.send(address, COIN)
        await home.tells(txid, *WAITS, seconds=1)
        await daemon.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation")
        await daemon.mine(2)
        await caught_up(home)
        assert (await home.story(txid))[-1] == "success"
        await home.check_stories()


async def test_a_hint_shortens_the_wait(bitcoind: Bitcoind, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the next poll is far away, what the node publishes brings the deposit at once."""
    monkeypatch.setattr(mempool, "POLL_SECONDS", 30.0)
    async with at_home(bitcoind, database_url, poll_seconds=30.0, zmq=(bitcoind.zmq_url,)) as home:
        address = await home.watched_address()
        first = await bitcoind.send(address, COIN)
        await home.tells(first, *WAITS)  # the hints are connected by then
        second = await bitcoind.send(address, COIN)
        await home.tells(second, *WAITS, seconds=2)


async def test_two_outputs_to_one_address_are_two_deposits(daemon: UtxoDaemon, database_url: str) -> None:
    """Each has its own record, told in one commit, and names who paid."""
    async with at_home(daemon, database_url) as home:
        address = await home.watched_address()
        coin = (await daemon.coins())[0]
        txid = await pay(
            daemon, coin, (address, COIN), (address, COIN), (await abroad(daemon), coin.amount - 2 * COIN - FEE)
        )
        await home.tells(txid, *WAITS, *WAITS)
        assert [
            (row["position"], row["amount"]) for row in await home.fetch("select * from transactions order by position")
        ] == [
            (0, COIN),
            (1, COIN),
        ]
        assert (await home.last_body(txid))["senderAddress"] == coin.address


async def test_a_pool_that_is_there_already_is_read(daemon: UtxoDaemon, database_url: str) -> None:
    """What came while nobody looked, and what replaced something meanwhile, is told at the next start."""
    async with utxo_house(daemon, database_url) as home:
        async with following_utxo(home):
            await started(home)
            address = await home.watched_address()
            coin, other = (await daemon.coins())[:2]
            first = await pay(daemon, coin, (address, coin.amount - FEE))
            await home.tells(first, *WAITS)
        second = await pay(daemon, coin, (address, coin.amount - 5 * FEE))
        quiet = await pay(daemon, other, (address, other.amount - FEE))
        async with following_utxo(home):
            await home.tells(second, *WAITS)
            await home.tells(quiet, *WAITS)
            await home.tells(first, *WAITS, "replaced")
            await home.check_stories()


async def test_an_idle_mempool_writes_nothing(
    bitcoind: Bitcoind, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing comes or goes the node is polled, and the database is asked only now and then."""
    looks, commits = 0, 0
    original = Tracker.observe

    async def counting(self: Tracker, fence: int, view: MempoolView, at: Any) -> Outcome | Lacking:
        nonlocal commits
        commits += 1
        return await original(self, fence, view, at)

    monkeypatch.setattr(Tracker, "observe", counting)
    async with LyingProxy(bitcoind.url) as proxy:
        async with at_home(bitcoind, database_url, node_urls=[proxy.url], drop_after_seconds=600) as home:
            txid = await bitcoind.send(await home.watched_address(), COIN)
            await home.tells(txid, *WAITS)
            looks, commits = proxy.calls["getrawmempool"], 0

            async def looked_often() -> bool:
                return proxy.calls["getrawmempool"] >= looks + 20

            await until(looked_often, "the mempool was polled twenty times")
            assert commits <= 2


# Replacement ----------------------------------------------------------------------------------------------------------


async def test_full_replacement_without_signalling(bitcoind: Bitcoind, database_url: str) -> None:
    """A conflict is known by what it spends, whatever its inputs signal."""
    async with at_home(bitcoind, database_url) as home:
        address = await home.watched_address()
        coin = (await bitcoind.coins())[0]
        first = await pay(bitcoind, coin, (address, coin.amount - FEE), sequence=FINAL)
        await home.tells(first, *WAITS)
        second = await pay(bitcoind, coin, (address, coin.amount - 5 * FEE), sequence=FINAL)
        await home.tells(first, *WAITS, "replaced")
        await home.tells(second, *WAITS)


async def test_a_bump_names_what_it_replaces_and_the_other_way_round(daemon: UtxoDaemon, database_url: str) -> None:
    """A deposit of the new txid and `replaced` of the old one are told in one commit, and none of them is final."""
    async with at_home(daemon, database_url) as home:
        address = await home.watched_address()
        first = await daemon.send(address, COIN, fee_rate=20)
        await home.tells(first, *WAITS)
        second = await daemon.bump(first, fee_rate=60)
        await home.tells(second, *WAITS)
        old, new = await home.last_body(first), await home.last_body(second)
        assert (old["status"], old["replacedBy"], old["final"]) == ("REPLACED", second, False)
        assert (new["status"], new["replaces"], new["final"]) == ("PENDING", first, False)
        third = await daemon.bump(second, fee_rate=200)
        await home.tells(third, *WAITS)
        assert (await home.last_body(third))["replaces"] == second
        assert (await home.last_body(second))["replacedBy"] == third
        assert (await home.last_body(first))["replacedBy"] == second
        at = {row["txid"]: row["xact"] for row in await _commits(home)}
        assert at[f"{second} pending"] == at[f"{first} replaced"]
        await daemon.mine(3)
        await home.tells(first, *WAITS, "replaced", "replaced")
        assert (await home.last_body(first))["replacedBy"] == third
        assert (await home.last_body(first))["final"] is True
        assert (await home.last_body(third))["status"] == "SUCCESS"
        await home.check_stories()


async def _commits(home: UtxoHouse) -> list[Any]:
    return await home.fetch(
        "select encode(t.tx_hash, 'hex') || ' ' || split_part(e.type, '.', 3) as txid, e.xmin::text as xact "
        "from events e join transactions t on t.uid = e.resource_id"
    )


async def test_a_bump_that_pays_elsewhere_replaces(daemon: UtxoDaemon, database_url: str) -> None:
    """What took the inputs is named although it is none of ours; when its block is deep that is final."""
    async with at_home(daemon, database_url) as home:
        address = await home.watched_address()
        coin = (await daemon.coins())[0]
        first = await pay(daemon, coin, (address, coin.amount - FEE))
        await home.tells(first, *WAITS)
        second = await pay(daemon, coin, (await abroad(daemon), coin.amount - 5 * FEE))
        await home.tells(first, *WAITS, "replaced")
        told = await home.last_body(first)
        assert (told["replacedBy"], told["final"]) == (second, False)
        assert list(await home.stories()) == [first]
        await daemon.mine(3)
        await home.tells(first, *WAITS, "replaced", "replaced")
        told = await home.last_body(first)
        assert (told["replacedBy"], told["final"]) == (second, True)


async def test_three_that_wait_fall_together(daemon: UtxoDaemon, database_url: str) -> None:
    """When the first of a chain is replaced, those that spend its outputs are replaced by the same."""
    async with at_home(daemon, database_url) as home:
        coin = (await daemon.coins())[0]
        chain: list[str] = []
        link: Coin | tuple[str, int] = coin
        amount = coin.amount
        for _ in range(3):
            address, onward = await home.watched_address(), await abroad(daemon)
            amount -= COIN + FEE
            chain.append(await pay(daemon, link, (address, COIN), (onward, amount)))
            link = (chain[-1], 1)
        for txid in chain:
            await home.tells(txid, *WAITS)
        taker = await pay(daemon, coin, (await abroad(daemon), coin.amount - 50 * FEE))
        for txid in chain:
            await home.tells(txid, *WAITS, "replaced")
            assert (await home.last_body(txid))["replacedBy"] == taker


async def test_a_parent_that_is_none_of_ours_takes_its_children_along(daemon: UtxoDaemon, database_url: str) -> None:
    """The replaced parent paid nobody whom we watch; its grandchild that does is replaced all the same, at once."""
    async with at_home(daemon, database_url, drop_after_seconds=600) as home:
        coin = (await daemon.coins())[0]
        grandparent = await pay(daemon, coin, (await abroad(daemon), coin.amount - FEE))
        parent = await pay(daemon, (grandparent, 0), (await abroad(daemon), coin.amount - 2 * FEE))
        await evaluated(home, 0)
        address = await home.watched_address()
        child = await pay(daemon, (parent, 0), (address, coin.amount - 3 * FEE))
        await home.tells(child, *WAITS)
        taker = await pay(daemon, coin, (await abroad(daemon), coin.amount - 50 * FEE))
        await home.tells(child, *WAITS, "replaced")
        assert (await home.last_body(child))["replacedBy"] == taker


async def test_a_block_that_confirms_a_conflict_settles_it(daemon: UtxoDaemon, database_url: str) -> None:
    """Until that block is deep the deposit keeps its status and names the conflict; then it is replaced for good."""
    async with at_home(daemon, database_url, drop_after_seconds=1) as home:
        address = await home.watched_address()
        coin = (await daemon.coins())[0]
        txid = await pay(daemon, coin, (address, coin.amount - FEE))
        await home.tells(txid, *WAITS)
        rival = await pay(daemon, coin, (await abroad(daemon), coin.amount - 5 * FEE), send=False)
        await daemon.mine_only([rival])
        await caught_up(home)
        (record,) = await home.records()
        assert (record["status"], record["conflict_height"]) == ("PENDING", await daemon.height())
        await evaluated(home, 1.5)
        await home.tells(txid, *WAITS)
        await daemon.mine(2)
        await home.tells(txid, *WAITS, "replaced")
        told = await home.last_body(txid)
        assert told["final"] is True
        assert told["replacedBy"] == record["conflict_tx_hash"].hex()


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
    """However long the restart takes, what it shows again was never away."""
    async with at_home(daemon, database_url, drop_after_seconds=1) as home:
        txid = await daemon.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
        await daemon.stop()
        await asyncio.to_thread(time.sleep, 1.2)  # longer than drop_after
        await daemon.start()
        await evaluated(home, 1.2)
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
        assert isinstance(await home.tracker().retract(fence, tip, ancestor, now(), cursor.name), Committed)
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


# Trouble --------------------------------------------------------------------------------------------------------------


async def test_a_node_that_cannot_show_its_mempool_stops_nothing(bitcoind: Bitcoind, database_url: str) -> None:
    """Errors delay what waits, blocks are told meanwhile where the node gives them, and it goes on when it is well again."""
    async with LyingProxy(bitcoind.url) as proxy:
        async with at_home(bitcoind, database_url, node_urls=[proxy.url]) as home:
            address = await home.watched_address()

            def broken(method: str, _params: list[Any], answer: Answer) -> Answer | ErrorObject:
                return ErrorObject(-32603, "out of order") if method == "getrawmempool" else answer

            proxy.rule = broken
            txid = await bitcoind.send(address, COIN)
            await bitcoind.mine()
            await home.tells(txid, "created", "awaiting_confirmation")
            proxy.rule = lambda _method, _params, answer: answer
            second = await bitcoind.send(address, COIN)
            await home.tells(second, *WAITS)
