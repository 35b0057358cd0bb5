"""JSON-RPC of real bitcoind and litecoind, well and unwell: each trouble has its own name, and passes."""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import Dialect
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import (
    CutOffError,
    ForbiddenError,
    NodeStartingError,
    NodeTimeoutError,
    NodeUnreachableError,
    RateLimitedError,
    RpcError,
)
from chainbell.nodes.rpc import Rpc
from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon
from tests.fixtures_nodes import Starter

DAEMONS = pytest.mark.parametrize("daemon", [Bitcoind, Litecoind])
WAIT = 30.0


@asynccontextmanager
async def opened(url: str, *, cookie: Path | None = None, seconds: float = 20.0) -> AsyncIterator[Rpc]:
    endpoint = Endpoint("the node", url, cookie=None if cookie is None else str(cookie))
    rpc = Rpc(endpoint, timeout=seconds, dialect=Dialect.BITCOIN)
    try:
        yield rpc
    finally:
        await rpc.close()


async def gone(rpc: Rpc) -> None:
    """Ask until the node is down."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                await rpc.call("getblockcount")
            except NodeUnreachableError as error:
                if "cannot connect" in str(error):
                    return
            await asyncio.sleep(0.02)


async def answered(rpc: Rpc, trouble: list[NodeError]) -> object:
    """Ask until the node answers, and keep what it said before."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                return await rpc.call("getblockcount")
            except NodeError as error:
                trouble.append(error)


async def refused(rpc: Rpc) -> None:
    """Ask until that fails."""
    async with asyncio.timeout(WAIT):
        while True:
            await rpc.call("getblockcount")


async def crowding(session: aiohttp.ClientSession, url: str, ended: asyncio.Event) -> None:
    """Keep a thread of the node busy, or a place in its queue taken, until `ended`."""
    while not ended.is_set():
        with suppress(aiohttp.ClientError):
            async with session.post(url, json={"id": 1, "method": "waitfornewblock", "params": [200]}) as response:
                await response.read()


@DAEMONS
async def test_calls_batches_and_errors(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Results come in order; a single error is a value in `each`, and raised by `batch` and `call`; amounts are exact."""
    node = await another(daemon())
    await node.mine(2)
    async with opened(node.url) as rpc:
        hashes = await rpc.batch([("getblockhash", [height]) for height in range(3)])
        assert hashes == [await node.block_hash(height) for height in range(3)]
        there, beyond, unknown = await rpc.each([("getblockhash", [2]), ("getblockhash", [3]), ("nosuchmethod", [])])
        assert there == hashes[2]
        assert (beyond.code, beyond.reason) == (-8, "Block height out of range")
        assert unknown.code == -32601
        for asking in (rpc.call("getblockhash", [3]), rpc.batch([("getblockhash", [2]), ("getblockhash", [3])])):
            with pytest.raises(RpcError, match=r"node the node: .*-8: Block height out of range"):
                await asking
        with pytest.raises(RpcError, match="Method not found"):
            await rpc.call("nosuchmethod")
        fee = (await rpc.batch([("getmempoolinfo", [])]))[0]["minrelaytxfee"]
        assert isinstance(fee, Decimal)
        assert rpc.connections == 1


@DAEMONS
async def test_wrong_credentials(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Who is refused is told so, with what to do, and never with the password."""
    node = await another(daemon())
    wrong = node.bare_url.replace("://", "://test:not-the-password@")
    async with opened(wrong) as rpc:
        with pytest.raises(NodeUnreachableError, match="does not accept the user and the password in its URL") as caught:
            await rpc.call("getblockcount")
        assert "not-the-password" not in str(caught.value)
    async with opened(node.bare_url) as rpc:
        with pytest.raises(NodeUnreachableError, match=r"wants a user and a password.*option cookie"):
            await rpc.batch([("getblockcount", [])] * 2)


async def test_credentials_are_sent_as_they_are(another: Starter) -> None:
    """A password with characters that a URL writes otherwise, and with others than ASCII, is sent as the node has it."""
    digest = hmac.new(b"salt", "pä:ss/w@rd%".encode(), "sha256").hexdigest()
    node = await another(Bitcoind(args=(f"-rpcauth=jo e:salt${digest}",), cookie=True))
    url = node.bare_url.replace("://", "://jo%20e:p%C3%A4:ss%2Fw%40rd%25@")
    async with opened(url) as rpc:
        assert await rpc.call("getblockcount") == 0


@DAEMONS
async def test_the_cookie_is_read_anew(another: Starter, daemon: type[UtxoDaemon], tmp_path: Path) -> None:
    """A node that is started again has a new password in its cookie file: it is read again, also while connected."""
    node = await another(daemon(cookie=True))
    async with opened(node.bare_url, cookie=node.cookie_file) as rpc:
        assert await rpc.call("getblockcount") == 0
        before = node.cookie_file.read_text()
        # Litecoind ends only when nobody holds a connection to it; it refuses what is asked meanwhile, and closes it.
        await asyncio.gather(node.stop(), gone(rpc))
        await node.start()
        assert node.cookie_file.read_text() != before
        assert await rpc.call("getblockcount") == 0
        await asyncio.gather(node.stop(), gone(rpc))
        await node.start()
        assert await rpc.batch([("getblockcount", []), ("getblockhash", [0])]) == [0, await node.block_hash(0)]
    stale = tmp_path / "cookie"
    stale.write_text(before)
    async with opened(node.bare_url, cookie=stale) as rpc:
        with pytest.raises(NodeUnreachableError, match="is it the file of this very node") as caught:
            await rpc.call("getblockcount")
        assert before.partition(":")[2] not in str(caught.value)
        stale.write_text(node.cookie_file.read_text() + "\n")
        assert await rpc.call("getblockcount") == 0


async def test_a_new_cookie_is_found_by_all_who_ask_at_once(another: Starter) -> None:
    """After a node's restart nobody is told that its cookie is a wrong one, however many ask in that moment."""
    node = await another(Bitcoind(cookie=True))
    async with opened(node.bare_url, cookie=node.cookie_file) as rpc:
        for _ in range(3):
            assert await rpc.call("getblockcount") == 0
            await node.restart()
            assert await asyncio.gather(*(rpc.call("getblockcount") for _ in range(8))) == [0] * 8


async def test_a_cookie_that_cannot_be_read(tmp_path: Path) -> None:
    """A cookie file that is not there, or is none, is named, with what to do."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory"), (binary, "no text")):
        async with opened("http://127.0.0.1:1", cookie=path) as rpc:
            with pytest.raises(NodeUnreachableError, match=reason) as caught:
                await rpc.call("getblockcount")
            assert str(path) in str(caught.value)


async def test_a_cookie_that_comes_back_is_masked(tmp_path: Path) -> None:
    """What a node repeats of the cookie's content does not reach our messages."""
    secret = "0123456789abcdef" * 4
    cookie = tmp_path / "cookie"
    cookie.write_text(f"__cookie__:{secret}")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sent = next(line for line in head.decode().splitlines() if line.startswith("Authorization: Basic "))
        body = b"who is " + base64.b64decode(sent.split()[-1])
        writer.write(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cookie=cookie) as rpc:
        with pytest.raises(NodeUnreachableError, match=r"who is __cookie__:\*\*\*") as caught:
            await rpc.call("getblockcount")
        assert secret not in str(caught.value)


@DAEMONS
async def test_a_node_that_starts(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """While it is down it is unreachable, while it loads it is starting, and then it answers: never anything else."""
    node = await another(daemon())
    await node.mine(400)
    trouble: list[NodeError] = []
    async with opened(node.url) as rpc:
        # A node that checks its whole chain at the start is mostly seen doing it; else it starts once more.
        for _ in range(10):
            await node.stop()
            starting = asyncio.create_task(node.start("-checkblocks=0", "-checklevel=4"))
            assert await answered(rpc, trouble) == 400
            await starting
            if any(isinstance(error, NodeStartingError) for error in trouble):
                break
    assert {type(error) for error in trouble} - {CutOffError} == {NodeUnreachableError, NodeStartingError}
    assert all(
        "node the node: the node is starting" in str(error) for error in trouble if isinstance(error, NodeStartingError)
    )


@DAEMONS
async def test_a_full_work_queue(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Who asks while the node's queue is full is asked to slow down; what was asked before is answered."""
    node = await another(daemon(args=("-rpcworkqueue=1", "-rpcthreads=1")))
    async with aiohttp.ClientSession() as session, opened(node.url) as rpc:
        # Several that wait for a block which does not come: one is worked on, one is the queue.
        ended = asyncio.Event()
        crowd = [asyncio.create_task(crowding(session, node.url, ended)) for _ in range(4)]
        with pytest.raises(RateLimitedError, match=r"work queue is full.*rpcworkqueue"):
            await refused(rpc)
        ended.set()
        await asyncio.gather(*crowd)
        assert await rpc.call("getblockcount") == 0


async def test_a_method_that_is_not_allowed(another: Starter) -> None:
    """A node whose whitelist lacks a method refuses it in words that name the whitelist."""
    node = await another(Bitcoind())
    await node.stop()
    await node.start("-rpcwhitelist=test:getblockcount,getblockchaininfo,stop")
    async with opened(node.url) as rpc:
        assert await rpc.call("getblockcount") == 0
        with pytest.raises(ForbiddenError, match="rpcwhitelist"):
            await rpc.call("getblockhash", [0])
        batch = [("getblockcount", []), ("getblockhash", [0]), ("getblockhash", [1]), ("getmempoolinfo", [])]
        with pytest.raises(ForbiddenError, match="a batch of 4 getblockcount, getblockhash, getmempoolinfo"):
            await rpc.each(batch)


async def test_one_call_may_take_longer(another: Starter) -> None:
    """A call with its own time is not bound by the time that all others have."""
    node = await another(Bitcoind())
    async with opened(node.url, seconds=0.3) as rpc:
        with pytest.raises(NodeTimeoutError, match=r"within 0\.3 s"):
            await rpc.call("waitfornewblock", [1000])
        assert await rpc.call("waitfornewblock", [1000], seconds=20)
