"""What waits in a mempool: told, and replaced, on real daemons and a real PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import pytest

from chainbell.domain.address import parse_address
from chainbell.domain.errors import UnavailableError
from chainbell.domain.following import Outcome, Stale
from chainbell.domain.transaction import TransactionEvent
from chainbell.domain.utxo import Lacking, MempoolView
from chainbell.storage.ledger import LedgerCommit
from chainbell.storage.watches import WatchStore
from chainbell.telemetry.clock import now
from chainbell.tracker.service import Tracker
from chainbell.watcher import mempool
from tests.bitcoin import COIN, Bitcoind, Coin, UtxoDaemon
from tests.rpcproxy import Answer, ErrorObject, LyingProxy
from tests.utxo_house import (
    FEE,
    WAITS,
    UtxoHouse,
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

FINAL = 0xFFFFFFFF
"""The sequence number of an input that does not signal replacement."""


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


async def test_a_large_pool_is_told_in_portions(
    daemon: UtxoDaemon, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parents before children, and nothing counts as absent because it comes with a later portion."""
    monkeypatch.setattr(mempool, "TRANSACTIONS_PER_COMMIT", 2)
    async with utxo_house(daemon, database_url, drop_after_seconds=1) as home:
        async with following_utxo(home):
            await started(home)
            address = await home.watched_address()
        paid = []
        for coin in await daemon.coins():
            first = await pay(daemon, coin, (address, COIN), (await abroad(daemon), coin.amount - COIN - FEE))
            paid += [first, await pay(daemon, (first, 1), (address, coin.amount - COIN - 2 * FEE))]
        async with following_utxo(home):
            for txid in paid:
                await home.tells(txid, *WAITS)
            await evaluated(home, 1.2)
            assert await home.stories() == {txid: [*WAITS] for txid in paid}


async def test_a_commit_that_is_thrown_away_loses_nothing(
    bitcoind: Bitcoind, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrived counts as known only once it is committed, and is not read from the node again until then."""
    original, thrown = Tracker.observe, 0

    async def stale(self: Tracker, fence: int, view: MempoolView, at: Any) -> Outcome | Lacking:
        nonlocal thrown
        if view.arrived and thrown < 3:
            thrown += 1
            return Stale("a test throws it away")
        return await original(self, fence, view, at)

    async with LyingProxy(bitcoind.url) as proxy:
        async with at_home(bitcoind, database_url, node_urls=[proxy.url]) as home:
            address = await home.watched_address()
            monkeypatch.setattr(Tracker, "observe", stale)
            txid = await bitcoind.send(address, COIN)
            await home.tells(txid, *WAITS)
            assert thrown == 3
            # Its own bytes once, and those of what it spends where the unspent outputs do not tell.
            assert proxy.calls["getrawtransaction"] <= 2


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


async def test_what_leaves_a_watched_address_is_processing(daemon: UtxoDaemon, database_url: str) -> None:
    """A transfer is told from the mempool as well, and replaced by the one that takes its input, which pays another."""
    async with at_home(daemon, database_url) as home:
        address = await home.watched_address()
        paid = await daemon.raw_transaction([(await daemon.coins())[0]], [(address, COIN)])
        await daemon.mine(3)
        await caught_up(home)
        first = await pay(daemon, (paid, 0), (await abroad(daemon), COIN - FEE))
        await home.tells(first, "created", "processing", type_="transfer")
        second = await pay(daemon, (paid, 0), (await abroad(daemon), COIN - 5 * FEE))
        await home.tells(first, "created", "processing", "replaced", type_="transfer")
        await home.tells(second, "created", "processing", type_="transfer")
        told = await home.last_body(second, "transfer")
        assert (told["replaces"], told["amountBaseUnits"], told["senderAddress"]) == (first, str(COIN - 5 * FEE), address)


async def test_what_is_tracked_is_told_to_the_end(bitcoind: Bitcoind, database_url: str) -> None:
    """A watch that is removed stops new matches; what waits is replaced as if it were watched still."""
    async with at_home(bitcoind, database_url) as home:
        address = await home.watched_address()
        coin = (await bitcoind.coins())[0]
        first = await pay(bitcoind, coin, (address, coin.amount - FEE))
        await home.tells(first, *WAITS)
        script = parse_address(home.definition.addresses, address)
        await WatchStore(home.database).remove(home.definition.name, script, None, now())
        second = await pay(bitcoind, coin, (address, coin.amount - 5 * FEE))
        await home.tells(first, *WAITS, "replaced")
        assert (await home.last_body(first))["replacedBy"] == second
        assert list(await home.stories()) == [first]


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


async def test_a_grandparent_that_waits_again_takes_its_grandchild_along(bitcoind: Bitcoind, database_url: str) -> None:
    """A reorg makes an ancestor wait that had a block when what comes from it was seen; its double-spend ends them all."""
    async with at_home(bitcoind, database_url, drop_after_seconds=600) as home:
        coin = (await bitcoind.coins())[0]
        grandparent = await pay(bitcoind, coin, (await abroad(bitcoind), coin.amount - FEE))
        (block,) = await bitcoind.mine()
        await caught_up(home)
        address = await home.watched_address()
        parent = await pay(bitcoind, (grandparent, 0), (await abroad(bitcoind), coin.amount - 2 * FEE))
        child = await pay(bitcoind, (parent, 0), (address, coin.amount - 3 * FEE))
        await home.tells(child, *WAITS)
        await bitcoind.invalidate(block)
        for _ in range(2):
            await bitcoind.mine_only()
        await caught_up(home)
        assert set(await bitcoind.mempool()) == {grandparent, parent, child}
        await evaluated(home, 1)
        taker = await pay(bitcoind, coin, (await abroad(bitcoind), coin.amount - 80 * FEE))
        assert await bitcoind.mempool() == [taker]
        await bitcoind.mine(3)
        await home.tells(child, *WAITS, "replaced")


# Trouble --------------------------------------------------------------------------------------------------------------


async def test_what_is_seen_is_saved_with_its_events_or_not_at_all(
    bitcoind: Bitcoind, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events cannot be written, nothing is: seen again, it is told from the beginning."""
    failures: list[int] = []
    publish = LedgerCommit.publish

    async def fail_once(self: LedgerCommit, events: Sequence[TransactionEvent]) -> None:
        if events and not failures:
            failures.append(len(events))
            message = "a test has the feed fail"
            raise UnavailableError(message)
        await publish(self, events)

    monkeypatch.setattr(LedgerCommit, "publish", fail_once)
    async with at_home(bitcoind, database_url) as home:
        txid = await bitcoind.send(await home.watched_address(), COIN)
        await home.tells(txid, *WAITS)
    assert failures


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
