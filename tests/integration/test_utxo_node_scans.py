"""Scans of a real node's unspent outputs that are too large, in the way, cancelled or cut off."""

import asyncio
from typing import Any

import pytest

from chainbell.domain.errors import NodeError, TooMuchAskedError
from chainbell.nodes.answers import Dialect
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import (
    BadAnswerError,
    BatchTooLargeError,
    CutOffError,
    NodeStartingError,
    NodeUnreachableError,
    RpcError,
    ScanBusyError,
)
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.utxo.blocks import Format
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.nodes.utxo.unspents import UnspentScanner
from tests.bitcoin import Bitcoind
from tests.rpcproxy import Answer, DropConnection, ErrorObject, Fault, HttpStatus, LyingProxy, NotJson, TruncatedBody
from tests.utxo_reading import reading

WAIT = 30.0


async def test_another_scan_is_in_the_way(bitcoind: Bitcoind) -> None:
    """A node that scans for somebody else says so in words."""
    fault: dict[str, Answer | Fault] = {}

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        return fault.get(method, answer)

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        # The words of bitcoind's rpc/blockchain.cpp: a scan of a chain this small is over before a second one begins.
        fault["scantxoutset"] = ErrorObject(-8, 'Scan already in progress, use action "abort" or "status"')
        with pytest.raises(ScanBusyError, match=r"node the node scans .* for somebody else"):
            await reader.unspents([b"\x51"])


async def test_a_scan_has_a_limit_of_its_own(bitcoind: Bitcoind) -> None:
    """What is unspent may be larger than any other answer, for one script most; beyond its limit less is to be asked."""
    address, other = await bitcoind.new_address(), await bitcoind.new_address()
    for _ in range(6):
        await bitcoind.send(address, 5_000_000)
    await bitcoind.mine()
    scripts = [await bitcoind.script(each) for each in (address, other)]
    rpc = Rpc(Endpoint("the node", bitcoind.url), timeout=20, max_bytes=1_000, dialect=Dialect.BITCOIN)
    node = UtxoNode(rpc, Format())
    try:
        with pytest.raises(BatchTooLargeError, match="more than 1000 bytes"):
            await rpc.call("getblock", [await bitcoind.block_hash(await bitcoind.height()), 2])
        assert len((await node.unspents(scripts)).unspents) == 6
        scanner = UnspentScanner("the node", rpc.call, node.header, most_bytes=1_000, most_bytes_of_one=2**20)
        with pytest.raises(TooMuchAskedError, match="more than 1000 bytes"):
            await scanner.scan(scripts)
        assert len((await scanner.scan(scripts[:1])).unspents) == 6
    finally:
        await rpc.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (ErrorObject(-7, "Out of memory"), TooMuchAskedError),
        (ErrorObject(-1, "response size exceeded"), TooMuchAskedError),
        (HttpStatus(413), TooMuchAskedError),
        (ErrorObject(-32601, "Method not found"), RpcError),
        (ErrorObject(-28, "Loading block index"), NodeStartingError),
        (HttpStatus(502), NodeUnreachableError),
        (HttpStatus(504), CutOffError),
        (DropConnection(), CutOffError),
    ],
)
async def test_what_less_may_heal(bitcoind: Bitcoind, fault: Fault, kind: type[NodeError]) -> None:
    """A scan fails as too much where a smaller one may not; not where the node is down, or has no such method."""
    async with LyingProxy(bitcoind.url) as proxy, reading(proxy.url) as reader:
        proxy.rule = lambda method, _params, answer: fault if method == "scantxoutset" else answer
        with pytest.raises(kind) as caught:
            await reader.unspents([b"\x51", b"\x52"])
        assert type(caught.value) is kind


async def test_a_cancelled_scan_is_aborted(bitcoind: Bitcoind) -> None:
    """Whoever stops waiting for a scan has the node stop it."""
    asked = asyncio.Event()
    actions: list[str] = []

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method == "scantxoutset":
            actions.append(params[0])
            asked.set()
        return answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        scan = asyncio.create_task(reader.unspents([b"\x51"]))
        async with asyncio.timeout(WAIT):
            await asked.wait()
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        assert actions == ["start", "abort"]


@pytest.mark.parametrize("cut", [DropConnection(), HttpStatus(504), HttpStatus(502), TruncatedBody(), NotJson()])
async def test_a_scan_whose_answer_is_lost_is_aborted(bitcoind: Bitcoind, cut: Fault) -> None:
    """Where a request ends before its scan, the scan is ended too: it is neither begun twice, nor in our own way after."""
    busy = ErrorObject(-8, 'Scan already in progress, use action "abort" or "status"')
    actions: list[str] = []
    running = False

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        # A scan of a chain this small is over at once: it goes on for as long as nobody ends it.
        nonlocal running
        if method != "scantxoutset":
            return answer
        actions.append(params[0])
        if params[0] == "abort":
            running = False
            return answer
        if running:
            return busy
        running = len(actions) == 1
        return cut if running else answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        await reader.tip()
        with pytest.raises((NodeUnreachableError, BadAnswerError)) as caught:
            await reader.unspents([b"\x51"])
        assert "somebody else" not in str(caught.value)
        assert actions == ["start", "abort"]
        assert (await reader.unspents([b"\x51"])).unspents == ()
        assert actions == ["start", "abort", "start"]


async def test_a_proxy_that_waits_for_no_scan_is_suspected(bitcoind: Bitcoind) -> None:
    """Once is an accident; each time is a proxy that cuts what takes long: the error says so, and what to raise."""
    fault: Fault | None = DropConnection()

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        return fault if fault is not None and method == "scantxoutset" and params[0] == "start" else answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        with pytest.raises(CutOffError) as first:
            await reader.unspents([b"\x51"])
        assert "proxy" not in str(first.value)
        for times, cut in ((2, DropConnection()), (3, HttpStatus(504))):
            fault = cut
            with pytest.raises(CutOffError, match=rf"{times} times in a row.*a proxy, may cut.*3600 s.*proxy_read_timeout"):
                await reader.unspents([b"\x51"])
        fault = None
        assert (await reader.unspents([b"\x51"])).unspents == ()
        fault = DropConnection()
        with pytest.raises(CutOffError) as again:
            await reader.unspents([b"\x51"])
        assert "proxy" not in str(again.value)


@pytest.mark.parametrize(
    "fault", [HttpStatus(429), ErrorObject(-28, "Loading"), ErrorObject(-8, "Scan already in progress")]
)
async def test_a_scan_that_never_began_ends_no_other(bitcoind: Bitcoind, fault: Fault) -> None:
    """A node that did not begin our scan may be at one for somebody else, which is left alone."""
    actions: list[str] = []

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method == "scantxoutset":
            actions.append(params[0])
            return fault
        return answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        with pytest.raises(NodeError):
            await reader.unspents([b"\x51"])
        assert actions == ["start"]
