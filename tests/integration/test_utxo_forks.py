"""Reorgs of the Bitcoin family on real daemons: true forks of two nodes, and blocks that one gives up and takes again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chainbell.app.deep_reorg import accept, propose
from chainbell.app.services import Services
from chainbell.config.node_url import NodeUrl
from chainbell.config.settings import Settings
from chainbell.nodes.backoff import Backoff
from tests.bitcoin import COIN, Bitcoind, Litecoind, UtxoDaemon
from tests.builders_delivery import BOX
from tests.fixtures_nodes import Starter
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house
from tests.utxo_verdict import check_balances, check_stories

LIMIT = 12
REQUIRED = 3
FEE = 20_000
PATIENT = Backoff(first=0.05, cap=0.2)


@asynccontextmanager
async def at_home(node: UtxoDaemon, url: str, **changes: Any) -> AsyncIterator[UtxoHouse]:
    """Follow a node's chain from its tip on; in the end balances and stories must be right."""
    async with utxo_house(node, url, backoff=PATIENT, **changes) as home:
        async with following_utxo(home):
            await started(home)
            yield home
            await caught_up(home)
            await check_balances(home)
        await check_stories(home)


async def steps(home: UtxoHouse, txid: str, type_: str = "deposit") -> list[str]:
    """Return what was told of a record but for its growing depth."""
    return [name for name in await home.story(txid, type_) if name != "confirmation"]


async def ends(home: UtxoHouse, txid: str, *names: str) -> None:
    """Wait until the last steps of a deposit are these."""
    found: list[str] = []

    async def is_so() -> bool:
        found[:] = await steps(home, txid)
        return found[-len(names) :] == [*names]

    try:
        await until(is_so, f"the story of {txid} ends with {names}")
    except BaseException as error:
        error.add_note(f"told of it: {found}")
        raise


async def coinbase_of(node: UtxoDaemon, block_hash: str) -> str:
    return str((await node.block(block_hash))["tx"][0]["txid"])


class Fork:
    """Two nodes that share a chain, part, and meet again; the second one's branch wins.

    `both` is mined in both branches, `one` in the one that loses, and of `twice` the other branch spends the coin elsewhere.
    """

    both: str
    one: str
    twice: str
    rival: str

    def __init__(self, first: Bitcoind, second: Bitcoind) -> None:
        self.first, self.second = first, second

    async def pay(self, home: UtxoHouse) -> None:
        """Part, and pay three watched addresses."""
        first = self.first
        watched = [await home.watched_address() for _ in range(3)]
        self.both = await first.send(watched[0], COIN)
        await self.second.has_transaction(self.both)
        await first.disconnect(self.second)
        self.one = await first.send(watched[1], COIN)
        coin = (await first.coins(minimum_depth=1))[0]
        rival = await first.raw_transaction([coin], [(await first.new_address(), coin.amount - 2 * FEE)], send=False)
        self.twice = await first.raw_transaction([coin], [(watched[2], coin.amount - FEE)])
        self.rival = await self.second.send_raw(rival)
        for txid in (self.both, self.one, self.twice):
            await home.tells(txid, "created", "pending")

    async def meet(self, depth: int) -> None:
        """Mine the other branch, one block longer, and connect the nodes again."""
        await self.second.mine(depth + 1)
        await self.first.connect(self.second)


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("depth", [1, REQUIRED, LIMIT])
async def test_a_true_fork(bitcoind: Bitcoind, another: Starter, database_url: str, depth: int, down: bool) -> None:
    """What both branches hold goes on, what one holds waits again, and what the other branch spends is replaced for good."""
    second = await another(Bitcoind())
    await second.connect(bitcoind)
    fork = Fork(bitcoind, second)
    async with utxo_house(bitcoind, database_url, backoff=PATIENT, reorg_limit=LIMIT, drop_after_seconds=60) as home:
        async with following_utxo(home):
            await started(home)
            await fork.pay(home)
            await bitcoind.mine(depth)
            await caught_up(home)
            if not down:
                await fork.meet(depth)
                await caught_up(home)
        if down:
            await fork.meet(depth)
        async with following_utxo(home):
            await caught_up(home)
            seen = ["created", "pending", "awaiting_confirmation", *(["success"] if depth >= REQUIRED else [])]
            back = "reverted" if depth >= REQUIRED else "pending"
            await ends(home, fork.one, *([back, "pending"] if back == "reverted" else [back]))
            assert (await steps(home, fork.both))[: len(seen) + 2] == [*seen, back, "awaiting_confirmation"]
            if depth + 1 < REQUIRED:
                body = await home.last_body(fork.twice)
                assert (body["status"], body["final"]) == ("PENDING", False)
                (row,) = await home.fetch("select conflict_tx_hash from transactions where conflict_tx_hash is not null")
                assert row["conflict_tx_hash"].hex() == fork.rival
            await bitcoind.mine(REQUIRED)
            await caught_up(home)
            assert (await steps(home, fork.both)) == [*seen, back, "awaiting_confirmation", "success"]
            assert (await steps(home, fork.twice)) == [*seen, back, "replaced"]
            told = await home.last_body(fork.twice)
            assert (told["final"], told["replacedBy"]) == (True, fork.rival)
            assert (await steps(home, fork.one))[-2:] == ["awaiting_confirmation", "success"]
            await check_balances(home)
        await check_stories(home)


async def test_a_conflict_is_taken_back(bitcoind: Bitcoind, another: Starter, database_url: str) -> None:
    """What a block replaced for good is open again when that block is orphaned, and goes the way of its own block."""
    second = await another(Bitcoind())
    await second.connect(bitcoind)
    fork = Fork(bitcoind, second)
    async with at_home(bitcoind, database_url, reorg_limit=LIMIT, drop_after_seconds=60) as home:
        await fork.pay(home)
        raw, split = await bitcoind.raw(fork.twice), await bitcoind.height()
        old = (await bitcoind.mine(REQUIRED - 1))[0]
        await caught_up(home)
        await fork.meet(REQUIRED - 1)
        await caught_up(home)
        seen = ["created", "pending", "awaiting_confirmation", "pending", "replaced"]
        assert await steps(home, fork.twice) == seen
        assert (await home.last_body(fork.twice))["final"] is True
        await bitcoind.disconnect(second)
        await bitcoind.rpc("invalidateblock", old)
        await bitcoind.invalidate(await bitcoind.block_hash(split + 1))
        for _ in range(REQUIRED + 1):
            await bitcoind.mine_only()
        await caught_up(home)
        await ends(home, fork.twice, *seen, "pending", "replaced")  # what took its input is in the mempool
        assert (await home.last_body(fork.twice))["final"] is False
        await bitcoind.mine_only([raw])
        await bitcoind.mine(REQUIRED)
        await caught_up(home)
        ended = ["pending", "replaced", "awaiting_confirmation", "success"]
        assert await steps(home, fork.twice) == [*seen, *ended]


async def _halted(home: UtxoHouse) -> bool:
    (row,) = await home.fetch("select halted from chains")
    return bool(row["halted"])


async def test_a_fork_below_the_limit_waits_for_an_operator(bitcoind: Bitcoind, another: Starter, database_url: str) -> None:
    """Nothing is taken back by itself; `accept-reorg` follows, and then everything goes the way of the other branch."""
    second = await another(Bitcoind())
    await second.connect(bitcoind)
    fork = Fork(bitcoind, second)
    async with at_home(bitcoind, database_url, reorg_limit=LIMIT, drop_after_seconds=60) as home:
        ours = await home.watched_address()
        await fork.pay(home)
        coinbase = await coinbase_of(bitcoind, (await bitcoind.mine(1, ours))[0])
        await bitcoind.mine(LIMIT)
        await caught_up(home)
        before = await home.told()
        await fork.meet(LIMIT + 1)
        await until(lambda: _halted(home), "the chain is halted")
        assert await home.told() == before
        settings = Settings(nodes={home.definition.name: (NodeUrl.parse(bitcoind.url),)}, screening="off")
        services = Services.on(home.database, home.url, BOX, settings)
        proposal = await propose(services, home.definition)
        assert proposal.depth == LIMIT + 1
        assert await accept(services, proposal) == 4
        await caught_up(home)
        await bitcoind.mine(REQUIRED)
        await caught_up(home)
        assert not await _halted(home)
        assert (await steps(home, fork.both))[-3:] == ["reverted", "awaiting_confirmation", "success"]
        assert (await steps(home, fork.one))[-2:] == ["awaiting_confirmation", "success"]
        assert (await steps(home, fork.twice))[-2:] == ["reverted", "replaced"]
        body = await home.last_body(coinbase)
        assert (body["status"], body["final"]) == ("DROPPED", True)


async def test_a_coinbase_matures(bitcoind: Bitcoind, database_url: str) -> None:
    """No success before 100 confirmations, whatever is required; taken back it is final, at whatever status."""
    async with at_home(bitcoind, database_url) as home:
        ours = await home.watched_address()
        txid = await coinbase_of(bitcoind, (await bitcoind.mine(1, ours))[0])
        await bitcoind.mine(98)
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation"]
        body = await home.last_body(txid)
        assert (body["confirmation"], body["requiredConfirmation"]) == (99, 100)
        young = await coinbase_of(bitcoind, (await bitcoind.mine(1, ours))[0])
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation", "success"]
        await bitcoind.reorg(100)
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation", "success", "reverted"]
        assert await steps(home, young) == ["created", "awaiting_confirmation", "dropped"]
        for gone in (txid, young):
            assert (await home.last_body(gone))["final"] is True


async def test_a_peg_out_matures(another: Starter, database_url: str) -> None:
    """What comes out of Litecoin's extension block waits for 6 confirmations; orphaned, it is dropped, or returns."""
    node = await another(Litecoind())
    await node.fund(3)
    await node.activate_mweb(2 * COIN)
    await node.peg_in(2 * COIN)
    async with at_home(node, database_url) as home:
        ours = await home.watched_address()
        txid, _ = await node.peg_out(ours, COIN // 2)
        await node.mine(4)
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation"]
        body = await home.last_body(txid)
        assert (body["confirmation"], body["requiredConfirmation"], body["senderAddress"]) == (5, 6, None)
        await node.mine()
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation", "success"]
        young, _ = await node.peg_out(ours, COIN // 4)
        await node.mine(REQUIRED)
        await caught_up(home)
        await node.reorg(REQUIRED + 1)
        await caught_up(home)
        seen = ["created", "awaiting_confirmation", "dropped"]
        assert await steps(home, young) == [*seen, "awaiting_confirmation"]  # the new block's HogEx is the same again
        assert (await home.last_body(young))["final"] is False
        await node.invalidate(await node.block_hash(await node.height() - REQUIRED - 1))
        await node.send(await node.new_address("mweb"), COIN)  # now it is another one
        await node.mine(REQUIRED + 3)
        await caught_up(home)
        assert await steps(home, young) == [*seen, "awaiting_confirmation", "dropped"]
        assert (await home.last_body(young))["final"] is True
        (again,) = await home.fetch("select * from transactions where amount = $1 and block_hash is not null", COIN // 4)
        assert (again["status"], again["tx_hash"].hex() == young) == ("SUCCESS", False)


async def test_the_same_block_comes_back(bitcoind: Bitcoind, database_url: str) -> None:
    """A block that the node refused and takes again brings all back under the same ids, its coinbase as well."""
    async with at_home(bitcoind, database_url, drop_after_seconds=60) as home:
        ours = await home.watched_address()
        paid = await bitcoind.send(ours, COIN)
        await home.tells(paid, "created", "pending")
        (block, *_) = [*await bitcoind.mine(1, ours), *await bitcoind.mine(1)]
        coinbase = await coinbase_of(bitcoind, block)
        await caught_up(home)
        uids = {row["uid"] for row in await home.records()}
        await bitcoind.invalidate(block)
        await bitcoind.mine_only()
        await caught_up(home)
        assert await steps(home, coinbase) == ["created", "awaiting_confirmation", "dropped"]
        assert (await home.last_body(coinbase))["final"] is True
        await ends(home, paid, "created", "pending", "awaiting_confirmation", "pending")
        await bitcoind.reconsider(block)
        await bitcoind.mine()
        await caught_up(home)
        assert await steps(home, coinbase) == ["created", "awaiting_confirmation", "dropped", "awaiting_confirmation"]
        assert (await home.last_body(coinbase))["final"] is False
        assert (await steps(home, paid))[-3:] == ["pending", "awaiting_confirmation", "success"]
        assert (await home.last_body(paid))["blockHash"] == block
        assert {row["uid"] for row in await home.records()} == uids


async def test_a_node_that_deleted_what_we_need_stops_the_chain(another: Starter, database_url: str) -> None:
    """The chain says so and stands still; a node that has the blocks leads it on, and nothing was skipped."""
    pruned, whole = await another(Bitcoind(prune=1, args=["-fastprune"])), await another(Bitcoind())
    await whole.fund(2)
    await pruned.connect(whole)
    async with utxo_house(pruned, database_url, backoff=PATIENT) as home:
        async with following_utxo(home):
            await started(home)
            ours = await whole.new_address()
            await home.watch(ours)
        cursor = await home.cursor()
        txid = await whole.send(ours, COIN)
        await whole.mine(1_000)
        await pruned.synced(whole)
        assert await pruned.prune_below(700) > cursor
        async with following_utxo(home):
            await until(home.in_trouble, "the chain waits")
            (row,) = await home.fetch("select trouble from chains")
            assert f"pruned block {cursor + 1}" in row["trouble"]
        assert (await home.cursor(), await home.told()) == (cursor, [])
    async with at_home(whole, database_url) as home:
        await caught_up(home)
        assert await steps(home, txid) == ["created", "awaiting_confirmation", "success"]


async def test_two_nodes_of_two_branches(bitcoind: Bitcoind, another: Starter, database_url: str) -> None:
    """The node that we follow leads; when it fails, the other one's longer branch is a reorg, and it is told once."""
    second = await another(Bitcoind())
    await second.connect(bitcoind)
    fork = Fork(bitcoind, second)
    async with at_home(bitcoind, database_url, others=[second], drop_after_seconds=60) as home:
        await fork.pay(home)
        await bitcoind.mine(2)
        await caught_up(home)
        await second.mine(4)
        tip = await second.block_hash()
        assert await home.cursor_hash() == await bitcoind.block_hash() != tip
        await bitcoind.kill()

        async def has_followed() -> bool:
            return await home.cursor_hash() == tip

        await until(has_followed, "the cursor is on the other branch")
        await ends(home, fork.both, "pending", "awaiting_confirmation", "success")
        await ends(home, fork.twice, "pending", "replaced")
        await bitcoind.start()
        await bitcoind.connect(second)
        await bitcoind.mine(REQUIRED)
        await bitcoind.synced(second)
        await caught_up(home)
        assert (await home.told()).count("deposit.replaced") == 1
        assert (await home.story(fork.both)).count("success") == 1
