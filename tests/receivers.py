"""A real HTTP server that answers as a test tells it to, and remembers what it got."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

from aiohttp import web

LOOPBACK = (ip_network("127.0.0.0/8"),)
PATIENCE = 20.0


@dataclass
class Got:
    path: str
    headers: dict[str, str]
    body: bytes
    event_id: str


Answer = Callable[[web.Request, Got], Awaitable[web.StreamResponse]]


def status(code: int, **headers: str) -> Answer:
    """Answer with a status and headers (``retry_after`` stands for ``Retry-After``)."""

    async def answer(_request: web.Request, _got: Got) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, headers=named, text=f"answer {code}")

    return answer


@dataclass
class Receiver:
    """Answers each path by its own function, else 204."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Got(request.path, headers, await request.read(), headers.get("webhook-id", ""))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        async with self._news:
            self.got.append(got)
            self._news.notify_all()
        try:
            answer = self.answers.get(request.path)
            return web.Response(status=204) if answer is None else await answer(request, got)
        finally:
            self.in_flight -= 1

    async def wait_for(self, count: int) -> list[Got]:
        """Wait until so many requests came, and return them."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.got) >= count)
        return self.got

    def ids(self, path: str | None = None) -> list[str]:
        return [got.event_id for got in self.got if path in {None, got.path}]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver at a free port of this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; fail at a deadline."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.01)
