"""Several nodes of one chain: the first healthy one of the right chain is used, and no other is ever read."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from chainbell.domain.chain import BlockCheck, ChainDefinition
from chainbell.domain.node import NodeState
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import BadAnswerError, NodeTimeoutError, NoUsableNodeError, RateLimitedError, WrongChainError
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.open_nodes import open_evm_nodes
from chainbell.nodes.pool import LOOK_SECONDS, NodePool, Surroundings
from chainbell.nodes.rpc import Rpc
from tests.nodes import Anvil
from tests.rpcproxy import Answer, DropConnection, HttpStatus, LyingProxy, SlowBody, honest

NOBODY = "http://127.0.0.1:1"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = ("--timestamp", str(2**31))
"""Another genesis than that of an anvil started in the same second."""
LOOKED_AT = 16
"""Blocks, one more than nodes of this chain may differ in."""
QUICK = Backoff(first=0.01, cap=0.05)


@dataclass
class Clock:
    """A clock that a test moves."""

    seconds: float = 0.0
    chance: float = 0.999

    def surroundings(self) -> Surroundings:
        return Surroundings(lambda: START + timedelta(seconds=self.seconds), lambda: self.seconds, lambda: self.chance)


def definition_with(**changes: object) -> ChainDefinition:
    return ChainDefinition.model_validate(
        {
            "name": "anvil",
            "kind": "evm",
            "caip2": "eip155:31337",
            "wire_name": "ANVIL",
            "mode": "test",
            "native": {"symbol": "ETH", "decimals": 18},
            "block_seconds": 1,
            "required_confirmations": 3,
            "reorg_limit": 64,
            "drop_after_seconds": 600,
            "poll_seconds": 1,
            "checks": ["gas", "bloom"],
            "capabilities": ["coin", "logs"],
        }
        | changes
    )


DEFINITION = definition_with()


@asynccontextmanager
async def pool_of(
    *urls: str,
    clock: Clock | None = None,
    definition: ChainDefinition = DEFINITION,
    genesis: bytes | None = None,
) -> AsyncIterator[NodePool[EvmNode]]:
    nodes = [
        EvmNode(Rpc(Endpoint(f"node {n}", url), timeout=10), checks=frozenset(BlockCheck)) for n, url in enumerate(urls)
    ]
    pool = NodePool(definition, nodes, (clock or Clock()).surroundings(), genesis_hash=genesis)
    try:
        yield pool
    finally:
        await pool.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def states(pool: NodePool[EvmNode]) -> list[NodeState]:
    return [status.state for status in pool.statuses()]


async def test_the_first_healthy_node_is_used(anvil: Anvil) -> None:
    """A dead first node is passed over, with its reason kept, and is used again when it is back."""
    clock = Clock()
    async with LyingProxy(anvil.url) as first, pool_of(first.url, anvil.url, clock=clock) as pool:
        assert (await pool.current()).name == "node 0"
        first.rule = lambda _m, _p, _a: DropConnection()
        node = await pool.current()
        with pytest.raises(Exception, match="node 0") as caught:
            await node.tip()
        assert isinstance(caught.value, Exception)
        pool.report_failure(node, BadAnswerError("it broke"))
        assert (await pool.current()).name == "node 1"
        assert states(pool) == [NodeState.FAILING, NodeState.HEALTHY]
        assert pool.statuses()[0].reason == "it broke"
        first.rule = honest
        clock.seconds = 1.5
        await pool.current()
        await until(lambda: states(pool)[0] is NodeState.HEALTHY)
        assert (await pool.current()).name == "node 0"
        assert pool.statuses()[0].reason is None


async def test_a_stalled_first_node_delays_nothing(anvil: Anvil) -> None:
    """While a healthy node works, one that hangs is tried beside it, not before it."""
    clock = Clock()
    async with LyingProxy(anvil.url) as first, pool_of(first.url, anvil.url, clock=clock) as pool:
        first.rule = lambda _m, _p, _a: DropConnection()
        assert (await pool.current()).name == "node 1"
        first.rule = lambda _m, _p, _a: SlowBody()
        clock.seconds = 5
        async with asyncio.timeout(2):
            assert (await pool.current()).name == "node 1"


async def test_none_usable_says_why_and_when(anvil: Anvil) -> None:
    """Without a usable node the error tells of each why, and when one will be tried again; later it is."""
    clock = Clock(chance=0.0)
    async with LyingProxy(anvil.url) as proxy, pool_of(proxy.url, NOBODY, clock=clock) as pool:
        proxy.rule = lambda _m, _p, _a: HttpStatus(429, retry_after=30)
        with pytest.raises(NoUsableNodeError, match=r"chain anvil has no usable node.*asks to wait 30 s.*connect") as caught:
            await pool.current()
        assert caught.value.retry_in == 0.5
        proxy.rule = honest
        clock.seconds = 29
        with pytest.raises(NoUsableNodeError):
            await pool.current()
        clock.seconds = 30
        assert (await pool.current()).name == "node 0"


async def test_a_chain_without_nodes() -> None:
    """A chain without nodes says so."""
    async with pool_of() as pool:
        with pytest.raises(NoUsableNodeError, match="has no node"):
            await pool.current()


async def test_a_node_of_another_chain_is_never_read(anvil: Anvil) -> None:
    """A wrong chain id is refused loudly, before anything else was asked, until the node is put right."""
    clock = Clock()
    async with Anvil(chain_id=1) as other, LyingProxy(other.url) as proxy, pool_of(proxy.url, clock=clock) as pool:
        with capture_logs() as logs, pytest.raises(NoUsableNodeError, match=r"expected chain id 31337 .*found chain id 1 "):
            await pool.current()
        assert states(pool) == [NodeState.WRONG_CHAIN]
        assert [entry["log_level"] for entry in logs] == ["error"]
        assert set(proxy.calls) == {"eth_chainId", "eth_getBlockByNumber"}
        assert proxy.calls.total() == 2
        proxy.upstream = anvil.url
        with pytest.raises(NoUsableNodeError):
            await pool.current()
        assert proxy.calls.total() == 2
        clock.seconds = 61
        assert (await pool.current()).name == "node 0"


async def test_another_genesis_is_refused(anvil: Anvil) -> None:
    """The genesis of the definition, and the one stored at first start, are both demanded."""
    genesis = bytes.fromhex((await anvil.block_hash(0))[2:])
    wrong = bytes(32)
    for defined, stored in ((wrong, None), (None, wrong), (genesis, wrong)):
        definition = definition_with(genesis_hash=defined)
        async with pool_of(anvil.url, definition=definition, genesis=stored) as pool:
            with pytest.raises(NoUsableNodeError, match="genesis"):
                await pool.current()
    async with pool_of(anvil.url, definition=definition_with(genesis_hash=genesis), genesis=genesis) as pool:
        await pool.current()


async def test_the_first_genesis_binds_the_others(anvil: Anvil) -> None:
    """Where nothing is known of a genesis, that of the first node binds all others, and is there to be stored."""
    async with Anvil(args=LATER) as other, pool_of(anvil.url, other.url) as pool:
        assert pool.genesis_hash is None
        await pool.current()
        await until(lambda: NodeState.UNTRIED not in states(pool))
        assert sorted(states(pool)) == sorted([NodeState.HEALTHY, NodeState.WRONG_CHAIN])
        assert pool.genesis_hash is not None


async def test_a_swapped_node_is_dropped(anvil: Anvil) -> None:
    """A node that became one of another chain is refused from the first answer on."""
    clock = Clock()
    async with LyingProxy(anvil.url) as proxy, Anvil(args=LATER) as other, pool_of(proxy.url, clock=clock) as pool:
        node = await pool.current()
        await node.tip()
        proxy.rule = lambda _m, _p, _a: DropConnection()
        with pytest.raises(Exception, match="node 0"):
            await node.tip()
        proxy.rule, proxy.upstream = honest, other.url
        with pytest.raises(WrongChainError) as caught:
            await node.tip()
        pool.report_failure(node, caught.value)
        assert states(pool) == [NodeState.WRONG_CHAIN]
        with pytest.raises(NoUsableNodeError, match="become another one"):
            await pool.current()


async def test_reports_of_one_failure_count_once(anvil: Anvil) -> None:
    """Several readers that report the same failure do not make the wait longer."""
    async with pool_of(anvil.url) as pool:
        node = await pool.current()
        for _ in range(5):
            pool.report_failure(node, NodeTimeoutError("slow"))
        with pytest.raises(NoUsableNodeError) as caught:
            await pool.current()
        assert caught.value.retry_in <= 1


async def test_rate_limits_are_honoured(anvil: Anvil) -> None:
    """A node that asked for a wait is not asked before."""
    clock = Clock()
    async with LyingProxy(anvil.url) as proxy, pool_of(proxy.url, clock=clock) as pool:
        node = await pool.current()
        pool.report_failure(node, RateLimitedError("slow", 20))
        proxy.calls.clear()
        for clock.seconds in (1.0, 10.0, 19.9):
            with pytest.raises(NoUsableNodeError):
                await pool.current()
        assert not proxy.calls
        clock.seconds = 20
        await pool.current()


async def test_an_opened_pool_reads_its_definitions_tokens(anvil: Anvil) -> None:
    """A pool opened from a definition reads the transfers of its tokens, and others when told."""
    token = await anvil.deploy("Token", "Tether", "USDT", 6, 10**9)
    contract = bytes.fromhex(token[2:])
    definition = definition_with(tokens=[{"symbol": "USDT", "contract": contract, "decimals": 6}])
    await anvil.receipt(await anvil.token_transfer(token, anvil.accounts[0], anvil.accounts[1], 5))
    pool = NodePool(definition, open_evm_nodes(definition, [Endpoint("node", anvil.url)]), Clock().surroundings())
    node = await pool.current()
    (block,) = await node.blocks_from(2, 2)
    assert [movement.asset for movement in block.movements] == [contract]
    pool.list_tokens([])
    (block,) = await node.blocks_from(2, 2)
    assert not block.movements
    await pool.close()


@pytest.mark.parametrize(
    ("wrong", "lacking"),
    [
        (None, "coin, logs"),
        ([], "coin, logs"),
        ("no logs", "logs"),
    ],
)
async def test_a_node_proves_what_is_promised_before_it_is_used(anvil: Anvil, wrong: object, lacking: str) -> None:
    """One that cannot give its tip whole, with receipts and logs, never becomes healthy; its reason names what it lacks."""
    clock = Clock()
    token = await anvil.deploy("Token", "Tether", "USDT", 6, 10**9)
    await anvil.token_transfer(token, anvil.accounts[0], anvil.accounts[1], 5)
    await anvil.mine(2)  # nothing is proved on an empty tip: the blocks below it are read too

    def lie(asked: str, _params: object, answer: Answer) -> Answer:
        if asked != "eth_getBlockReceipts" or not answer["result"]:
            return answer
        return answer | {"result": [one | {"logs": []} for one in answer["result"]] if wrong == "no logs" else wrong}

    async with LyingProxy(anvil.url, rule=lie) as proxy, pool_of(proxy.url, anvil.url, clock=clock) as pool:
        for clock.seconds in range(0, 200, 61):
            assert (await pool.current()).name == "node 1"
            await until(lambda: states(pool)[0] is not NodeState.UNTRIED)
            assert states(pool) == [NodeState.LACKING, NodeState.HEALTHY]
            assert str(pool.statuses()[0].reason).endswith(f"promised to show: {lacking}")
        assert [node.name for node in pool.usable()] == ["node 1"]
        proxy.rule = honest
        clock.seconds += 61
        await pool.current()
        await until(lambda: states(pool)[0] is NodeState.HEALTHY)
        assert [node.name for node in pool.usable()] == ["node 0", "node 1"]
        assert "promised to show" in str(pool.statuses()[0].last_failure)


async def test_the_node_that_is_ahead_is_used_within_a_bounded_time(anvil: Anvil) -> None:
    """Of two healthy nodes that differ by too much the one behind rests, and is not used again before it caught up."""
    clock = Clock()
    async with LyingProxy(anvil.url) as proxy, pool_of(proxy.url, anvil.url, clock=clock) as pool:
        await pool.current()
        await until(lambda: states(pool) == [NodeState.HEALTHY] * 2)
        stuck = await anvil.block()

        def lag(asked: str, params: list[Any], answer: Answer) -> Answer:
            return answer | {"result": stuck} if asked == "eth_getBlockByNumber" and params[0] == "latest" else answer

        proxy.rule = lag
        await anvil.mine(LOOKED_AT)
        clock.seconds = LOOK_SECONDS - 0.1
        assert (await pool.current()).name == "node 0"
        clock.seconds = LOOK_SECONDS
        await pool.current()
        await until(lambda: states(pool)[0] is NodeState.LAGGING)
        assert (await pool.current()).name == "node 1"
        expected = f"node node 0: its tip 0 lies {LOOKED_AT} blocks behind that of node 1 ({LOOKED_AT})"
        assert pool.statuses()[0].reason == expected
        clock.seconds += 61
        asked = proxy.calls["eth_chainId"]
        assert (await pool.current()).name == "node 1"
        await until(lambda: proxy.calls["eth_chainId"] > asked and pool._slots[0].probe.done())  # type: ignore[union-attr]
        assert states(pool)[0] is NodeState.LAGGING
        proxy.rule = honest
        clock.seconds += 61
        await pool.current()
        await until(lambda: states(pool)[0] is NodeState.HEALTHY)
        assert (await pool.current()).name == "node 0"
        tip = pool.statuses()[0].tip
        assert tip is not None
        assert tip.height == LOOKED_AT


async def test_new_heads_wake_us(anvil: Anvil) -> None:
    """Each new block, and each reorg, wakes whoever waits for the websocket's hint."""
    wake = asyncio.Event()
    hints = HeadHints(Endpoint("node", anvil.url, anvil.ws_url), wake, lambda: 0.0, QUICK)
    listening = asyncio.create_task(hints.run())
    async with asyncio.timeout(20):
        await wake.wait()
        assert (hints.trouble, hints.messages) == (None, 0)
        for step in (anvil.mine, anvil.mine, lambda: anvil.reorg(1)):
            wake.clear()
            await step()
            await wake.wait()
    assert hints.messages >= 3
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_lost_hints_are_looked_for_again(anvil: Anvil) -> None:
    """A websocket that is refused or cut is tried again for ever; only cancelling ends it."""
    tries = itertools.count()
    connected = asyncio.Event()

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next(tries)
        connected.set()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = Endpoint("node", anvil.url, f"ws://127.0.0.1:{port}")
    hints = HeadHints(endpoint, asyncio.Event(), lambda: 0.0, QUICK)
    listening = asyncio.create_task(hints.run())
    async with asyncio.timeout(20):
        for _ in range(3):
            connected.clear()
            await connected.wait()
    assert not listening.done()
    assert hints.trouble in {"ClientOSError", "ServerDisconnectedError"}
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    server.close()
    await server.wait_closed()


def test_hints_need_a_websocket() -> None:
    """A node without a websocket has no hints to give: asking for them is a mistake of ours."""
    with pytest.raises(ValueError, match="no websocket"):
        HeadHints(Endpoint("node", NOBODY), asyncio.Event(), lambda: 0.0)
