"""A receiver that verifies each webhook and hands it on: what ``chainbell listen`` is made of."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

from aiohttp import web

from chainbell.domain.errors import InputError
from chainbell.receiver.verify import WebhookVerificationError, verify
from chainbell.telemetry import clock

LARGEST_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request that came in."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)
    parsed: dict[str, Any] | None
    """The webhook; None unless it is verified."""
    verified: bool
    reason: str | None
    """Why it is not verified."""


OnEvent: TypeAlias = Callable[[Received], Awaitable[int | None]]
"""Takes a request and returns the status to answer; None: 204 where it is verified, else 401."""


async def listen(host: str, port: int, secret: str | Sequence[str], on_event: OnEvent) -> None:
    """Receive webhooks until cancelled. Raises `InputError` when the port cannot be taken."""
    async with listening(host, port, secret, on_event):
        await asyncio.Event().wait()


@asynccontextmanager
async def listening(host: str, port: int, secret: str | Sequence[str], on_event: OnEvent) -> AsyncIterator[str]:
    """Receive webhooks at every path of a server, and yield its URL; port 0 takes a free one.

    Raises `InputError` when the port cannot be taken.
    """

    async def answer(request: web.Request) -> web.Response:
        received = _receive(request, await request.read(), secret)
        status = await on_event(received)
        if status is None:
            status = HTTPStatus.NO_CONTENT if received.verified else HTTPStatus.UNAUTHORIZED
        return web.Response(status=status)

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _start(runner, host, port)
        yield _url(host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _start(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        why = "somebody else listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        message = f"cannot listen on {host}, port {port} ({why}): choose another --port or --host"
        raise InputError(message) from error
    except OverflowError as error:
        message = f"port {port} is none: choose one from 1 to 65535, or 0 for any that is free"
        raise InputError(message) from error


def _receive(request: web.Request, body: bytes, secret: str | Sequence[str]) -> Received:
    headers = {name.lower(): value for name, value in request.headers.items()}
    parsed, reason = None, None
    try:
        parsed = verify(body, headers, secret, now=clock.now())
    except WebhookVerificationError as error:
        reason = str(error)
    return Received(request.path, headers, body, parsed, parsed is not None, reason)


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
