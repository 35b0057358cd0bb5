"""A process that sends webhooks: ``python -m bench.sending MODE JSON``.

``deliver`` is Chainbell's worker as ``chainbell run --role delivery`` joins it, logging included. ``bare`` is a plain
`httpx.AsyncClient` over the same transport, which signs the same bodies and sends as many at a time; ``transport`` does the
same straight through the transport, as our own sender does. Each begins when it is told to.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from typing import TypeAlias

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from bench.profiling import profiled
from chainbell.delivery.sender import HttpSender
from chainbell.delivery.signature import sign
from chainbell.delivery.worker import DeliveryWorker, Pace
from chainbell.domain.delivery import WebhookVersion
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from chainbell.telemetry.log import configure_logging

BOX = SecretBox(bytes(range(32)))
LOOPBACK = [ip_network("127.0.0.0/8")]
CONCURRENCY = Pace().concurrency
_OK = 204
_JSON = {"content-type": "application/json"}
_SENT = "select id, body_v2 from events where position >= $1 order by position"

Post: TypeAlias = Callable[[dict[str, str], bytes], Awaitable[int]]
"""Sends a body with headers, and returns the status."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to send: what is due, or for the bare clients the events from a position on, so many times."""

    dsn: str
    url: str = ""
    secret: str = ""
    position: int = 0
    times: int = 1


class SendingProcess:
    """A process that waits for its start signal."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def begin(self) -> None:
        """Let it send."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"\n")

    async def line(self) -> str:
        """Return the next line that it says. Raises `RuntimeError` when it ended instead."""
        said = b"" if self._process.stdout is None else await self._process.stdout.readline()
        if not said:
            message = f"a process that should send ended with {await self._process.wait()}"
            raise RuntimeError(message)
        return said.decode().strip()

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.returncode is not None


@asynccontextmanager
async def sending_process(mode: str, task: Task) -> AsyncIterator[SendingProcess]:
    """Start a process; when this begins it is ready to send. It is ended in order at the end."""
    command = (sys.executable, "-m", "bench.sending", mode, json.dumps(asdict(task)))
    pipe, silence = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=silence)
    try:
        sending = SendingProcess(process)
        await sending.line()
        yield sending
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _deliver(task: Task) -> None:
    configure_logging("info", "json")
    async with Database.open(task.dsn) as database, HttpSender(LOOPBACK) as sender:
        store = PostgresDeliveryStore(database, BOX)
        worker = DeliveryWorker(store, sender, wake=asyncio.Event(), jitter=random.random)
        await _told_to_begin()
        with profiled("deliver"):
            await worker.run()


async def _send(mode: str, task: Task) -> None:
    async with Database.open(task.dsn) as database, database.connection() as connection:
        rows = await connection.fetch(_SENT, task.position)
    bodies = [(row["id"], row["body_v2"]) for row in rows] * task.times
    async with _client(mode, task.url) as post:
        await _told_to_begin()
        began = time.perf_counter()
        with profiled(mode):
            waiting = iter(bodies)
            await asyncio.gather(*(_send_some(post, waiting, task.secret) for _ in range(CONCURRENCY)))
        print(len(bodies) / (time.perf_counter() - began), flush=True)


async def _send_some(post: Post, waiting: Iterable[tuple[str, bytes]], secret: str) -> None:
    for event_id, body in waiting:
        headers = sign([secret], event_id, now(), body, WebhookVersion.V2) | _JSON
        status = await post(headers, body)
        if status != _OK:
            message = f"the receiver answered {status}"
            raise RuntimeError(message)


@asynccontextmanager
async def _client(mode: str, url: str) -> AsyncIterator[Post]:
    transport = AiohttpTransport(client=_session)
    async with httpx.AsyncClient(transport=transport) as client:

        async def through_client(headers: dict[str, str], body: bytes) -> int:
            return (await client.post(url, headers=headers, content=body)).status_code

        async def through_transport(headers: dict[str, str], body: bytes) -> int:
            response = await transport.handle_async_request(httpx.Request("POST", url, headers=headers, content=body))
            await response.aread()
            await response.aclose()
            return response.status_code

        yield through_client if mode == "bare" else through_transport


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


async def _told_to_begin() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    _task = Task(**json.loads(sys.argv[2]))
    asyncio.run(_deliver(_task) if sys.argv[1] == "deliver" else _send(sys.argv[1], _task))
