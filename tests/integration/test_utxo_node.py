"""The adapter of Bitcoin's nodes against real ones: what it reads is what the node says, and trouble is told in words."""

import asyncio
import random
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from chainbell.config.chains import load_chains
from chainbell.domain.chain import BlockRef, Capability, ChainDefinition
from chainbell.domain.errors import NodeBehindError, NodeError
from chainbell.domain.node import NodeState, Tip
from chainbell.domain.utxo import Lacking, Making, UtxoBlock
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import (
    BadAnswerError,
    LacksCapabilityError,
    NoUsableNodeError,
    PrunedError,
    RpcError,
    WrongChainError,
)
from chainbell.nodes.open_nodes import open_utxo_nodes
from chainbell.nodes.pool import NodePool, Surroundings
from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, ErrorObject, Fault, LyingProxy
from tests.utxo_reading import reading

DAEMONS = pytest.mark.parametrize("daemon", [Bitcoind, Litecoind])
PROMISED = frozenset({Capability.COIN, Capability.MEMPOOL})
WAIT = 30.0


def definition_of(daemon: type[UtxoDaemon]) -> ChainDefinition:
    return load_chains()["bitcoin-regtest" if daemon is Bitcoind else "litecoin-regtest"]


def surroundings() -> Surroundings:
    return Surroundings(lambda: datetime.now(UTC), time.monotonic, random.random)


async def paid(daemon: UtxoDaemon, script: bytes, amount: int) -> str:
    """Pay from a coinbase, so that no other coin of the wallet is touched; the txid."""
    source = max(await daemon.coins(minimum_depth=1), key=lambda coin: coin.amount)
    change = source.amount - amount - 20_000
    return await daemon.raw_transaction([source], [(script, amount), (await daemon.new_address(), change)])


@DAEMONS
async def test_tip_headers_and_blocks(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Tip, headers and blocks are the node's own; a list ends before the first height that the node has not."""
    node = await another(daemon())
    await node.fund(2)
    txid = await node.send(await node.new_address(), 12_345)
    await node.mine()
    async with reading(node.url) as reader:
        tips: list[Tip] = []
        reader.tell_tips(tips.append)
        tip = await reader.tip()
        newest = await node.block()
        assert (tip.height, tip.hash.hex(), tip.parent_hash.hex()) == (103, newest["hash"], newest["previousblockhash"])
        assert await reader.tip() == tip
        assert tips == [Tip(103, datetime.fromtimestamp(newest["time"], UTC))] * 2
        headers = await reader.headers(0, 200)
        assert len(headers) == 104
        assert headers[-1] == tip
        assert all(child.parent_hash == parent.hash for parent, child in pairwise(headers))
        assert headers[0].parent_hash == bytes(32)
        blocks = await reader.blocks_from(0, 200)
        assert [block.ref for block in blocks] == headers
        assert [each.hash.hex() for each in blocks[-1].transactions] == [each["txid"] for each in newest["tx"]]
        assert blocks[-1].transactions[0].making is Making.COINBASE
        assert txid in [each.hash.hex() for each in blocks[-1].transactions]
        assert await reader.headers(104, 110) == []
        assert await reader.blocks_from(104, 110) == []
        assert await reader.finalized() is None
        assert (await reader.identify()).genesis_hash == headers[0].hash


@DAEMONS
async def test_a_header_by_hash(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """A block is found by its hash, on the best chain or off it; one that the node never saw is not."""
    node = await another(daemon())
    await node.mine(3)
    async with reading(node.url) as reader:
        orphan = await reader.tip()
        await node.reorg(2)
        tip = await reader.tip()
        assert (tip.height, tip.hash == orphan.hash) == (4, False)
        assert await reader.header(orphan.hash) == orphan
        assert await reader.header(tip.hash) == tip
        assert await reader.header(bytes(31) + b"\7") is None


@DAEMONS
async def test_a_node_proves_itself(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """A development chain proves itself, also with nothing but its first block, and with an old tip."""
    node = await another(daemon())
    definition = definition_of(daemon)
    async with reading(node.url) as reader:
        assert (await node.rpc("getblockchaininfo"))["initialblockdownload"] is True
        await reader.prove(PROMISED)
    pool = NodePool(definition, open_utxo_nodes(definition, [Endpoint("the node", node.url)]), surroundings())
    assert (await (await pool.current()).tip()).height == 0
    assert pool.genesis_hash == definition.genesis_hash
    await pool.close()


@DAEMONS
async def test_a_node_of_another_chain(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """A node is held to its genesis: the other coin's is refused, in words, and never read."""
    node = await another(daemon())
    other = definition_of(Litecoind if daemon is Bitcoind else Bitcoind)
    pool = NodePool(other, open_utxo_nodes(other, [Endpoint("the node", node.url)]), surroundings())
    with pytest.raises(NoUsableNodeError, match=f"expected genesis {(other.genesis_hash or b'').hex()}") as caught:
        await pool.current()
    assert await node.block_hash(0) in str(caught.value)
    assert pool.statuses()[0].state is NodeState.WRONG_CHAIN
    await pool.close()


async def test_a_node_that_becomes_another_one(another: Starter) -> None:
    """What comes over a new connection counts only when the genesis is the same still."""
    one, two = await another(Bitcoind()), await another(Litecoind())
    async with LyingProxy(one.url) as proxy, reading(proxy.url) as reader:
        reader.accept(await reader.identify())
        await reader.confirm()
        await reader.tip()
        proxy.upstream = two.url
        await reader.close()
        with pytest.raises(WrongChainError, match="has become another one"):
            await reader.tip()


async def test_a_node_that_syncs_is_refused(another: Starter) -> None:
    """A node that has headers and not their blocks says so, with how far it is; once it has them it is used."""
    source, node = await another(Bitcoind()), await another(Bitcoind())
    hashes = await source.mine(5)
    for height in range(1, 6):
        header = (await source.raw_block(height))[:80].hex()
        await node.rpc("submitheader", header)
    async with reading(node.url) as reader:
        with pytest.raises(NodeBehindError, match=r"node the node: it is syncing, at block 0 of 5"):
            await reader.prove(PROMISED)
        # Announced, and known by their headers: they are no blocks of its chain yet.
        assert await reader.header(bytes.fromhex(hashes[4])) is not None
        assert await reader.blocks_from(1, 5) == []
        for height in range(1, 6):
            await node.rpc("submitblock", (await source.raw_block(height)).hex())
        await reader.prove(PROMISED)
        assert (await reader.tip()).height == 5


@pytest.mark.parametrize(
    ("error", "empty"),
    [
        (ErrorObject(-5, "Block not found"), True),
        (ErrorObject(-1, "Block not available (not fully downloaded)"), True),
        (ErrorObject(-1, "Block not found on disk"), False),
        (ErrorObject(-32603, "out of memory"), False),
    ],
)
async def test_a_block_that_is_announced_and_not_found(bitcoind: Bitcoind, error: ErrorObject, empty: bool) -> None:
    """A list ends where a block is not there yet; where a disk has lost one that is the node's trouble."""
    missing = await bitcoind.block_hash(107)

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        return error if method == "getblock" and params[0] == missing else answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        blocks = await reader.blocks_from(103, 110) if error.code != -32603 else []
        assert [block.ref.height for block in blocks] == ([103, 104, 105, 106] if error.code != -32603 else [])
        if empty:
            assert await reader.blocks_from(107, 110) == []
        else:
            with pytest.raises(RpcError, match=error.message):
                await reader.blocks_from(107, 110)


async def test_a_lying_node_is_refused(bitcoind: Bitcoind) -> None:
    """A block other than the one asked for, a cut one, and one with a changed byte are refused, whichever it is."""
    other, raw = await bitcoind.raw_block(105), await bitcoind.raw_block(106)
    for lie, words in (
        (other, "asked for block"),
        (raw[:-1], "malformed"),
        (raw[:81] + b"\7" + raw[82:], "merkle root"),
        (b"", "malformed"),
    ):

        def rule(method: str, params: list[Any], answer: Answer, lie: bytes = lie) -> Answer | Fault:
            return {**answer, "result": lie.hex()} if method == "getblock" else answer

        async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
            with pytest.raises(BadAnswerError, match=f"node the node: .*{words}"):
                await reader.blocks_from(106, 106)
            with pytest.raises(LacksCapabilityError, match="promised to show: coin"):
                await reader.prove(PROMISED)


async def test_a_pruned_node_is_told_and_nothing_skipped(another: Starter) -> None:
    """A block that the node has deleted is an error that says what to do; those that it has are read."""
    node = await another(Bitcoind(prune=1, args=("-fastprune",)))
    address = await node.new_address()
    for _ in range(6):
        await node.mine(100, address)
    first = await node.rpc("pruneblockchain", 300) + 1
    assert first > 1
    async with reading(node.url) as reader:
        await reader.prove(PROMISED)
        assert len(await reader.headers(0, 600)) == 601
        with pytest.raises(PrunedError, match=r"node the node has pruned block 1, .*-reindex"):
            await reader.blocks_from(1, 600)
        for heights in ((first - 1, first), (first - 2, first + 5)):
            with pytest.raises(PrunedError, match="nothing is skipped"):
                await reader.blocks_from(*heights)
        blocks = await reader.blocks_from(first, 600)
        assert [block.ref.height for block in blocks] == [*range(first, 601)]
        ref = (await reader.headers(1, 1))[0]
        gone = UtxoBlock(ref, datetime.now(UTC), ())
        with pytest.raises(PrunedError):
            await reader.complete([gone], Lacking(frozenset(), revealed=True))


@DAEMONS
async def test_unspent_outputs_of_scripts(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Every unspent output of the scripts is told, old and new, with its block; spent and waiting ones are not."""
    node = await another(daemon())
    await node.fund(3)
    one, never = b"\x00\x14" + bytes(20), b"\x00\x14" + bytes([7]) * 20
    address = await node.new_address()
    two = await node.script(address)
    old = await paid(node, one, 20_000_001)
    await node.mine(3)
    passing = await paid(node, two, 70_000)
    await node.mine()
    coin = next(each for each in await node.coins() if each.txid == passing and each.address == address)
    await node.raw_transaction([coin], [(one, 60_000)])
    await node.mine()
    waiting = await paid(node, two, 50_000)
    async with reading(node.url) as reader:
        found = await reader.unspents([one, two, never])
        assert found.at == await reader.tip()
        by_amount = {each.amount: each for each in found.unspents}
        assert set(by_amount) == {20_000_001, 60_000}
        assert (by_amount[20_000_001].height, by_amount[60_000].height) == (104, 108)
        assert by_amount[20_000_001].outpoint[:32][::-1].hex() == old
        assert {each.script for each in found.unspents} == {one}
        assert waiting not in {each.outpoint[:32][::-1].hex() for each in found.unspents}
        assert (await reader.unspents([])).unspents == ()


@pytest.mark.parametrize("lacking", ["getmempoolinfo", "getrawmempool", "gettxout", "getrawtransaction", "getblock"])
async def test_a_node_that_may_not_be_asked_everything_says_what(another: Starter, lacking: str) -> None:
    """A node whose whitelist lacks what is needed proves nothing, and says which method that is; with all it is read."""
    node = await another(Bitcoind())
    await node.fund()
    needed = {
        *("getblockchaininfo", "getblockhash", "getbestblockhash", "getblockheader", "getblock"),
        *("getmempoolinfo", "getrawmempool", "gettxout", "getrawtransaction"),
    }
    for refused in (lacking, None):
        await node.restart(f"-rpcwhitelist=test:getblockcount,stop,{','.join(sorted(needed - {refused}))}")
        async with reading(node.url) as reader:
            await reader.identify()
            if refused is None:
                await reader.prove(PROMISED)
                continue
            with pytest.raises(LacksCapabilityError, match=rf"rpcwhitelist \(asked for {refused}\)\. So it lacks"):
                await reader.prove(PROMISED)
            if refused != "getblock":
                await reader.prove({Capability.COIN})


async def test_both_chains_of_a_fork(another: Starter) -> None:
    """Two connected nodes that parted and meet again: each shows its own chain, and after that the longer one."""
    one, two = await another(Bitcoind()), await another(Bitcoind())
    await one.mine(2)
    await one.connect(two)
    await one.disconnect(two)
    await one.mine(1)
    await two.mine(2)
    async with reading(one.url) as first, reading(two.url) as second:
        shorter, longer = await first.tip(), await second.tip()
        assert (shorter.height, longer.height) == (3, 4)
        assert await second.header(shorter.hash) is None
        await one.connect(two)
        assert await first.tip() == longer
        assert [ref.hash for ref in await first.headers(3, 4)] == [longer.parent_hash, longer.hash]
        known: BlockRef | None = await first.header(shorter.hash)
        assert known == shorter


@DAEMONS
async def test_a_node_that_restarts_is_used_again(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """While a node is down and while it loads it is failing, with the reason; once it answers it is healthy again."""
    node = await another(daemon())
    await node.mine(400)
    clock = 0.0
    around = Surroundings(lambda: datetime.now(UTC), lambda: clock, lambda: 0.5)
    definition = definition_of(daemon)
    pool = NodePool(definition, open_utxo_nodes(definition, [Endpoint("the node", node.url)]), around)
    reader = await pool.current()
    await reader.close()
    await node.stop()
    reasons: list[str] = []
    with pytest.raises(NodeError) as caught:
        await reader.tip()
    pool.report_failure(reader, NodeError(str(caught.value)))
    starting = asyncio.create_task(node.start("-checkblocks=0", "-checklevel=4"))
    async with asyncio.timeout(WAIT):
        while True:
            clock += 1000.0
            try:
                reader = await pool.current()
            except NoUsableNodeError:
                reasons.append(str(pool.statuses()[0].reason))
                assert pool.statuses()[0].state is NodeState.FAILING
            else:
                break
    await starting
    assert (await reader.tip()).height == 400
    assert pool.statuses()[0].state is NodeState.HEALTHY
    assert any("cannot connect" in reason for reason in reasons)
    assert any("the node is starting" in reason for reason in reasons)
    await pool.close()
