"""JSON-RPC against a node that breaks, stalls and refuses: each fault has its own name, and nothing is half taken."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from chainbell.domain.errors import NodeError
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import (
    BadAnswerError,
    BatchTooLargeError,
    CutOffError,
    NodeTimeoutError,
    NodeUnreachableError,
    RateLimitedError,
    RpcError,
)
from chainbell.nodes.rpc import Request, Rpc
from tests.nodes import Anvil
from tests.rpcproxy import (
    Answer,
    BatchLimit,
    DropConnection,
    DroppedEntry,
    ErrorObject,
    Fault,
    HttpStatus,
    LyingProxy,
    NotJson,
    ShuffledBatch,
    SlowBody,
    TruncatedBody,
)

KEY = "0123456789abcdef0123456789abcdef"


@asynccontextmanager
async def opened(url: str, *, seconds: float = 20.0, max_bytes: int = 2**24, rps: float | None = None) -> AsyncIterator[Rpc]:
    secret_url = url.replace("http://", f"http://joe:{KEY}@") + f"/v3/{KEY}?apikey={KEY}"
    endpoint = Endpoint("http://***@node/***", secret_url, rps=rps)
    rpc = Rpc(endpoint, timeout=seconds, max_bytes=max_bytes)
    try:
        yield rpc
    finally:
        await rpc.close()


@pytest_asyncio.fixture
async def rpc(lying_proxy: LyingProxy) -> AsyncIterator[Rpc]:
    async with opened(lying_proxy.url) as opened_rpc:
        yield opened_rpc


def always(fault: Fault) -> Callable[[str, list[Any], Answer], Fault]:
    return lambda _method, _params, _answer: fault


def heights(count: int) -> list[Request]:
    return [("eth_getBlockByNumber", [hex(height), False]) for height in range(count)]


def numbers(results: list[Any]) -> list[int]:
    return [int(block["number"], 16) for block in results]


async def test_calls_and_batches_are_answered(rpc: Rpc, anvil: Anvil) -> None:
    """A call gives its result, a batch all of them in the order asked, over one connection."""
    await anvil.mine(3)
    assert await rpc.call("eth_chainId") == hex(anvil.chain_id)
    assert numbers(await rpc.batch(heights(4))) == [0, 1, 2, 3]
    assert await rpc.batch([]) == []
    assert rpc.connections == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (HttpStatus(429), RateLimitedError),
        (HttpStatus(503, retry_after=3), RateLimitedError),
        (HttpStatus(500), NodeUnreachableError),
        (HttpStatus(502), NodeUnreachableError),
        (HttpStatus(401), NodeUnreachableError),
        (HttpStatus(307), NodeUnreachableError),
        (DropConnection(), CutOffError),
        (HttpStatus(504), CutOffError),
        (HttpStatus(524), CutOffError),
        (TruncatedBody(), BadAnswerError),
        (TruncatedBody(keep=0), BadAnswerError),
        (NotJson(), BadAnswerError),
        (NotJson(body=""), BadAnswerError),
        (DroppedEntry(), BadAnswerError),
        (ErrorObject(-32601, "Method not found"), RpcError),
        (ErrorObject(429, "slow down"), RateLimitedError),
    ],
)
async def test_faults_have_names(
    rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil, fault: Fault, expected: type[NodeError]
) -> None:
    """Each fault is its own error for a call and for a batch, names the node without its secrets, and passes."""
    await anvil.mine(2)
    lying_proxy.rule = always(fault)
    for ask in (rpc.call("eth_chainId"), rpc.batch(heights(2))):
        with pytest.raises(NodeError) as caught:
            await ask
        assert type(caught.value) is expected
        assert "node http://***@node/***: " in str(caught.value)
        assert KEY not in str(caught.value)
    lying_proxy.rule = lambda _method, _params, answer: answer
    assert await rpc.call("eth_chainId") == hex(anvil.chain_id)


async def test_a_node_that_repeats_our_key_is_masked(rpc: Rpc, lying_proxy: LyingProxy) -> None:
    """A key that the node itself puts into its error does not reach our messages."""
    lying_proxy.rule = always(ErrorObject(-32000, f"project {KEY} not found"))
    with pytest.raises(RpcError) as caught:
        await rpc.call("eth_chainId")
    assert KEY not in str(caught.value) + caught.value.reason


async def test_nobody_there() -> None:
    """A node that is not running is unreachable, and the message says why."""
    async with opened("http://127.0.0.1:1") as rpc:
        with pytest.raises(NodeUnreachableError, match="onnect"):
            await rpc.call("eth_chainId")


async def test_retry_after_is_kept(rpc: Rpc, lying_proxy: LyingProxy) -> None:
    """What a node wishes with its 429 is kept for whoever waits."""
    lying_proxy.rule = always(HttpStatus(429, retry_after=7))
    with pytest.raises(RateLimitedError) as caught:
        await rpc.batch(heights(3))
    assert caught.value.retry_after == 7
    assert lying_proxy.batches == [3]


async def test_a_trickling_body_is_bounded_in_total(lying_proxy: LyingProxy) -> None:
    """A body that arrives byte by byte for ever ends at the total timeout, without any retry."""
    lying_proxy.rule = always(SlowBody(interval=0.02))
    async with opened(lying_proxy.url, seconds=0.5) as rpc:
        start = time.monotonic()
        with pytest.raises(NodeTimeoutError, match=r"within 0\.5 s"):
            await rpc.call("eth_chainId")
        assert time.monotonic() - start < 3
    assert lying_proxy.calls["eth_chainId"] == 1


async def test_a_timed_out_batch_is_smaller_next_time(lying_proxy: LyingProxy) -> None:
    """A batch that takes too long is an error, and the next one asks for less at once."""
    lying_proxy.rule = always(SlowBody(interval=0.02))
    async with opened(lying_proxy.url, seconds=0.3) as rpc:
        with pytest.raises(NodeTimeoutError):
            await rpc.batch(heights(8))
        assert rpc.batch_size("eth_getBlockByNumber") == 4


async def test_a_shuffled_batch_is_put_in_order(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """The entries of a batch may come in any order."""
    await anvil.mine(9)
    lying_proxy.rule = always(ShuffledBatch())
    assert numbers(await rpc.batch(heights(10))) == list(range(10))


async def test_a_missing_entry_refuses_the_batch(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """A batch with an entry too few is refused whole: nothing is shifted into the gap."""
    await anvil.mine(4)
    lying_proxy.rule = lambda _method, params, answer: DroppedEntry() if params[0] == "0x2" else answer
    with pytest.raises(BadAnswerError, match="asked 5, got 4"):
        await rpc.batch(heights(5))


async def test_one_error_fails_the_batch(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """An error for one request is raised; the others' results are not given."""
    await anvil.mine(4)
    lying_proxy.rule = lambda _method, params, answer: ErrorObject(-32000, "pruned") if params[0] == "0x2" else answer
    with pytest.raises(RpcError, match="pruned"):
        await rpc.batch(heights(5))


@pytest.mark.parametrize("answer", ["413", "error"])
@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_batches_adapt_to_a_limit(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil, answer: Any, limit: int) -> None:
    """A limit is found by few refusals and then kept to; a limit of 1 means one by one."""
    await anvil.mine(40)
    lying_proxy.batch_limit = BatchLimit(limit, answer)
    for _ in range(3):
        assert numbers(await rpc.batch(heights(41))) == list(range(41))
    assert sum(size > limit for size in lying_proxy.batches) <= 9
    assert rpc.batch_size("eth_getBlockByNumber") <= limit


async def test_a_node_without_batches(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """A node that refuses every batch is asked one by one."""
    await anvil.mine(5)
    lying_proxy.batch_limit = BatchLimit(0)
    assert numbers(await rpc.batch(heights(6))) == list(range(6))
    assert rpc.batch_size("eth_getBlockByNumber") == 1


async def test_too_large_answers_are_asked_for_in_parts(lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """Our own limit of bytes splits a batch; one answer alone above it is an error, and is not read to its end."""
    await anvil.mine(15)
    async with opened(lying_proxy.url, max_bytes=6000) as rpc:
        assert numbers(await rpc.batch(heights(16))) == list(range(16))
        assert 1 <= rpc.batch_size("eth_getBlockByNumber") < 16
    async with opened(lying_proxy.url, max_bytes=100) as rpc:
        with pytest.raises(BatchTooLargeError, match="more than 100 bytes"):
            await rpc.batch(heights(1))


async def test_a_connection_closed_while_idle_is_no_failure() -> None:
    """A server that closes a kept-alive connection just as it is used again is asked once more, over a new one."""
    answered: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        number = json.loads(await reader.readexactly(length))["id"]
        answered.append(number)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "result": "0x1"}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as rpc:
        assert [await rpc.call("eth_chainId") for _ in range(3)] == ["0x1"] * 3
        assert rpc.connections == 3
    assert answered == [0, 1, 2]
    server.close()
    await server.wait_closed()


async def test_cancelling_leaves_the_endpoint_usable(rpc: Rpc, lying_proxy: LyingProxy, anvil: Anvil) -> None:
    """A call that is given up in the middle does not disturb the next one."""
    lying_proxy.rule = always(SlowBody())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await rpc.call("eth_chainId")
    lying_proxy.rule = lambda _method, _params, answer: answer
    assert await rpc.call("eth_chainId") == hex(anvil.chain_id)


async def test_a_urls_rate_holds_for_polls_and_bulk_reads_together(anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """Batches are no larger than a second's worth, and all that is asked, batched or not, takes its time together."""
    async with opened(lying_proxy.url, rps=40) as rpc:
        began = time.monotonic()
        found, *polls = await asyncio.gather(rpc.batch(heights(1) * 90), *(rpc.call("eth_chainId") for _ in range(10)))
        assert time.monotonic() - began >= (100 - 40) / 40 - 0.05
        assert numbers(found) == [0] * 90
        assert polls == [hex(anvil.chain_id)] * 10
        assert max(lying_proxy.batches) <= 40
        assert lying_proxy.calls.total() == 100


async def test_a_refused_request_counts_against_the_rate_too(lying_proxy: LyingProxy) -> None:
    """A node that says 429 in spite of our rate is heard as ever; what it refused was asked, and is paid for."""
    lying_proxy.rule = always(HttpStatus(429, retry_after=7))
    async with opened(lying_proxy.url, rps=2) as rpc:
        began = time.monotonic()
        for _ in range(4):
            with pytest.raises(RateLimitedError) as caught:
                await rpc.call("eth_chainId")
            assert caught.value.retry_after == 7
        assert time.monotonic() - began >= 0.95
