import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from chainbell import __version__
from chainbell.delivery.outcome import Failure
from chainbell.delivery.resolver import ThreadResolver
from chainbell.delivery.sender import RESPONSE_LIMIT, HttpSender
from tests.receivers import LOOPBACK, Got, Receiver, receiving, status

SHORT = timedelta(seconds=0.4)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(LOOPBACK) as sender:
        yield sender


class Resolver(AbstractResolver):
    """Gives the next address of a list at each look-up."""

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        answer = self.answers.pop(0)
        if not answer:
            message = "Name or service not known"
            raise socket.gaierror(socket.EAI_NONAME, message)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=6, flags=0)
            for address in ([answer] if isinstance(answer, str) else answer)
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def test_posts_the_bytes_and_headers_as_they_are(receiver: Receiver, sender: HttpSender) -> None:
    """The body arrives unchanged, with our user agent, as JSON, and the answer is kept."""
    receiver.answers["/hook"] = status(201)
    attempt = await sender.post(f"{receiver.url}/hook", {"webhook-id": "evt_1"}, b'{"a": "\xc3\xa9"}')
    assert (attempt.status, attempt.failure, attempt.response) == (201, None, b"answer 201")
    assert attempt.duration > timedelta()
    got = receiver.got[0]
    assert (got.body, got.event_id) == (b'{"a": "\xc3\xa9"}', "evt_1")
    assert got.headers["user-agent"] == f"Chainbell/{__version__}"
    assert got.headers["content-type"] == "application/json"


async def test_does_not_follow_redirects(receiver: Receiver, sender: HttpSender) -> None:
    """A redirect is an answer like any other: its target is never asked."""
    receiver.answers["/old"] = status(307, location=f"{receiver.url}/new")
    attempt = await sender.post(f"{receiver.url}/old", {}, b"{}")
    assert attempt.status == 307
    assert [got.path for got in receiver.got] == ["/old"]


async def test_keeps_no_cookies(receiver: Receiver, sender: HttpSender) -> None:
    """What a receiver sets is not sent back to it."""
    receiver.answers["/hook"] = status(200, set_cookie="session=1")
    for _ in range(2):
        await sender.post(f"{receiver.url}/hook", {}, b"{}")
    assert all("cookie" not in got.headers for got in receiver.got)


async def test_tells_what_the_receiver_asks_for(receiver: Receiver, sender: HttpSender) -> None:
    """Retry-After is passed on as it came."""
    receiver.answers["/hook"] = status(429, retry_after="17")
    assert (await sender.post(f"{receiver.url}/hook", {}, b"{}")).retry_after == "17"


async def test_reads_no_more_than_16_kb_and_never_unpacks(receiver: Receiver, sender: HttpSender) -> None:
    """Of 50 MB in 48 kB of gzip only the first 16 KB are read, as they came."""
    bomb = gzip.compress(bytes(50_000_000))

    async def explode(_request: web.Request, _got: Got) -> web.Response:
        return web.Response(body=bomb, headers={"content-encoding": "gzip"})

    receiver.answers["/hook"] = explode
    attempt = await sender.post(f"{receiver.url}/hook", {}, b"{}")
    assert (attempt.status, attempt.failure) == (200, None)
    assert attempt.response == bomb[:RESPONSE_LIMIT]


async def test_an_endless_answer_is_cut_off(receiver: Receiver, sender: HttpSender) -> None:
    """An answer without end costs its first 16 KB; the receiver sees the connection closed."""
    closed = asyncio.Event()

    async def flood(request: web.Request, _got: Got) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(4096))
        finally:
            closed.set()

    receiver.answers["/hook"] = flood
    attempt = await sender.post(f"{receiver.url}/hook", {}, b"{}")
    assert (attempt.status, attempt.failure, len(attempt.response)) == (200, None, RESPONSE_LIMIT)
    async with asyncio.timeout(10):
        await closed.wait()


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx"], ids=["silence", "drip"])
async def test_the_timeout_is_total(begin: bytes) -> None:
    """Neither silence nor a body that drips a byte now and then holds us longer than the timeout."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"{}")
            writer.write(begin)
            while begin:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with HttpSender(LOOPBACK, timeout=SHORT) as sender:
        attempt = await sender.post(f"http://127.0.0.1:{port}/", {}, b"{}")
    server.close()
    assert attempt.failure is Failure.TIMEOUT
    assert attempt.status == (200 if begin else None)
    assert timedelta(seconds=0.35) < attempt.duration < timedelta(seconds=5)
    assert "0.4 s" in str(attempt.detail)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut off",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_a_transport_failure(answer: bytes, sender: HttpSender) -> None:
    """Hanging up, garbage and half an answer are failures, never exceptions and never a success."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    attempt = await sender.post(f"http://127.0.0.1:{port}/", {}, b"{}")
    server.close()
    assert attempt.failure is Failure.TRANSPORT
    assert attempt.detail


async def test_nobody_there_is_a_transport_failure(sender: HttpSender) -> None:
    """A refused connection is told as one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        attempt = await sender.post(f"http://127.0.0.1:{taken.getsockname()[1]}/", {}, b"{}")
    assert (attempt.status, attempt.failure) == (None, Failure.TRANSPORT)
    assert "Cannot connect" in str(attempt.detail)


async def test_a_name_without_an_address_is_a_transport_failure() -> None:
    """DNS failures are retried like every failure of the network."""
    async with HttpSender(LOOPBACK, resolver=Resolver([])) as sender:
        attempt = await sender.post("http://receiver.example/", {}, b"{}")
    assert attempt.failure is Failure.TRANSPORT


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0", "localhost"])
async def test_internal_addresses_are_refused_however_they_are_written(receiver: Receiver, host: str) -> None:
    """No spelling of a loopback address gets through unless its network is opened; nothing arrives."""
    port = receiver.url.rpartition(":")[2]
    async with HttpSender([ip_network("10.0.0.0/8")]) as sender:
        attempt = await sender.post(f"http://{host}:{port}/", {}, b"{}")
    assert attempt.status is None
    assert attempt.failure in {Failure.TARGET_REFUSED, Failure.TRANSPORT}
    assert receiver.got == []


async def test_a_refused_target_is_told_as_one_without_its_address(receiver: Receiver) -> None:
    """The attempt says what the matter is, and does not tell what a name inside of the network resolves to."""
    port = receiver.url.rpartition(":")[2]
    async with HttpSender(resolver=Resolver(["10.11.12.13", "127.0.0.1"])) as sender:
        attempt = await sender.post(f"http://receiver.example:{port}/", {}, b"{}")
    assert attempt.failure is Failure.TARGET_REFUSED
    assert "CHAINBELL_ALLOWED_NETWORKS" in str(attempt.detail)
    assert "10.11" not in str(attempt.detail)


async def test_a_name_that_changes_its_address_is_checked_at_each_connect(receiver: Receiver) -> None:
    """DNS rebinding: allowed the first time, internal the second, and the second is refused."""
    port = receiver.url.rpartition(":")[2]
    receiver.answers["/"] = status(200, connection="close")
    resolver = Resolver("127.0.0.2", "127.0.0.1")
    async with HttpSender([ip_network("127.0.0.2/32")], resolver=resolver) as sender:
        server = await asyncio.start_server(_answer_once, "127.0.0.2", 0)
        own = server.sockets[0].getsockname()[1]
        first = await sender.post(f"http://receiver.example:{own}/", {}, b"{}")
        second = await sender.post(f"http://receiver.example:{port}/", {}, b"{}")
        server.close()
    assert first.status == 200
    assert second.failure is Failure.TARGET_REFUSED
    assert receiver.got == []


async def _answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_an_address_that_is_refused_does_not_spoil_the_next(receiver: Receiver) -> None:
    """Of several addresses the allowed one is used, and what was refused for one POST says nothing of another."""
    port = receiver.url.rpartition(":")[2]
    resolver = Resolver(["10.0.0.1", "127.0.0.1"], [])
    async with HttpSender(LOOPBACK, resolver=resolver) as sender:
        good = await sender.post(f"http://receiver.example:{port}/", {}, b"{}")
        lost = await sender.post("http://other.example/", {}, b"{}")
    assert (good.status, good.failure) == (204, None)
    assert lost.failure is Failure.TRANSPORT


async def test_a_slow_receiver_holds_up_no_other(receiver: Receiver, sender: HttpSender) -> None:
    """One hundred POSTs that hang leave the way free for one that does not."""
    release = asyncio.Event()

    async def hang(_request: web.Request, _got: Got) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answers["/slow"] = hang
    slow = [asyncio.create_task(sender.post(f"{receiver.url}/slow", {}, b"{}")) for _ in range(100)]
    await receiver.wait_for(100)
    assert (await sender.post(f"{receiver.url}/fast", {}, b"{}")).status == 204
    release.set()
    assert {attempt.status for attempt in await asyncio.gather(*slow)} == {200}


async def test_resolves_names_by_the_system() -> None:
    """The resolver that is used by default knows this machine."""
    resolver = ThreadResolver()
    found = await resolver.resolve("localhost", 80)
    await resolver.close()
    assert {entry["host"] for entry in found} & {"127.0.0.1", "::1"}
    assert all(entry["port"] == 80 for entry in found)
