"""A node that lies, stalls and breaks: a proxy in front of a real one, with faults that a test switches on.

    async with LyingProxy(anvil.url) as proxy:
        proxy.rule = lambda method, params, answer: HttpStatus(429) if method == "eth_getLogs" else answer

Imports nothing from chainbell.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

Answer = dict[str, Any]
"""A JSON-RPC response object: `id` and `result`, or `id` and `error`."""

FORWARD_SECONDS = 30.0
_LIMIT_EXCEEDED = -32005


@dataclass(frozen=True)
class HttpStatus:
    """The HTTP answer is this status, with `Retry-After` seconds if given, and no JSON."""

    status: int
    retry_after: int | None = None
    body: str = "the node is not well"


@dataclass(frozen=True)
class DropConnection:
    """The connection is cut without an answer."""


@dataclass(frozen=True)
class TruncatedBody:
    """The connection is cut after `keep` bytes of a body announced in full (default: its first half)."""

    keep: int | None = None


@dataclass(frozen=True)
class NotJson:
    """Status 200, but a web page instead of JSON."""

    body: str = "<html><body>Welcome to our RPC gateway</body></html>"


@dataclass(frozen=True)
class SlowBody:
    """A body that trickles, one blank (valid JSON so far) every `interval` seconds, and never ends."""

    interval: float = 0.05


@dataclass(frozen=True)
class ShuffledBatch:
    """The entries of a batch answer come in reverse order."""


@dataclass(frozen=True)
class DroppedEntry:
    """The call has no entry in the batch answer; a call that came alone gets an empty body."""


@dataclass(frozen=True)
class ErrorObject:
    """The call is answered with a JSON-RPC error object."""

    code: int = -32000
    message: str = "header not found"
    data: object = None


@dataclass(frozen=True)
class Held:
    """The whole HTTP answer waits until a test sets `release`, then goes out unchanged."""

    release: asyncio.Event


@dataclass(frozen=True)
class BatchLimit:
    """What a provider with a limit does to a batch of more than `entries`: HTTP 413, or one single error object."""

    entries: int
    answer: Literal["413", "error"] = "error"
    message: str = "batch limit exceeded"


AnswerFault = HttpStatus | DropConnection | TruncatedBody | NotJson | SlowBody | ShuffledBatch | Held
Fault = AnswerFault | DroppedEntry | ErrorObject
Rule = Callable[[str, list[Any], Answer], Answer | Fault]
"""Called for every call with its method, its params and the node's answer to it; returns what goes out.

`DroppedEntry` and `ErrorObject` concern that one call, every other fault the HTTP answer that it is
part of (the first wins).
"""


def honest(method: str, params: list[Any], answer: Answer) -> Answer:
    """Pass on what the node says: the rule of a new proxy."""
    del method, params
    return answer


class LyingProxy:
    """An HTTP JSON-RPC server on a free port that asks the node at `upstream` and answers as `rule` says.

    `rule`, `batch_limit`, `upstream` and `turns` may be changed at any time. `calls` counts calls by method, those in
    batches too, and `batches` holds the size of each batch, both including what was then refused.
    """

    url: str

    def __init__(self, upstream: str, *, rule: Rule = honest) -> None:
        """Choose the node to ask; nothing is changed in its answers until a rule says so."""
        self.upstream = upstream
        self.rule = rule
        self.batch_limit: BatchLimit | None = None
        self.turns: tuple[int, list[str]] | None = None
        """So many HTTP requests go to each of these nodes in turn, instead of to `upstream`."""
        self._forwarded = 0
        self.calls: Counter[str] = Counter()
        self.batches: list[int] = []

    async def __aenter__(self) -> Self:
        """Start serving."""
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/{path:.*}", self._serve)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FORWARD_SECONDS))
        # Answers that trickle or wait for a test must not hold the end of the test up.
        self._runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving and cut what is still open."""
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        batched = isinstance(asked, list)
        entries: list[dict[str, Any]] = asked if batched else [asked]
        self.calls.update(entry["method"] for entry in entries)
        if batched:
            self.batches.append(len(entries))
            if self.batch_limit is not None and len(entries) > self.batch_limit.entries:
                return _refused(self.batch_limit)
        answers = await self._forward(asked)
        if answers is None:
            return web.Response(status=502, text="the node behind the proxy does not answer")
        by_id = {answer["id"]: answer for answer in answers}
        out: list[Answer] = []
        whole: AnswerFault | None = None
        for entry in entries:
            answer = by_id[entry["id"]]
            ruled = self.rule(entry["method"], entry.get("params", []), answer)
            if isinstance(ruled, ErrorObject):
                out.append(_error_answer(entry["id"], ruled))
            elif not isinstance(ruled, DroppedEntry):
                # A fault of the HTTP answer leaves the entries as they are.
                out.append(ruled if isinstance(ruled, dict) else answer)
                whole = whole or (None if isinstance(ruled, dict) else ruled)
        return await _deliver(request, out, whole, batched=batched)

    async def _forward(self, asked: object) -> list[Answer] | None:
        """Ask the node; None when it is not there."""
        try:
            async with self._session.post(self._next_upstream(), json=asked) as response:
                answered = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        return answered if isinstance(answered, list) else [answered]

    def _next_upstream(self) -> str:
        if self.turns is None:
            return self.upstream
        length, urls = self.turns
        self._forwarded += 1
        return urls[self._forwarded // length % len(urls)]


def _refused(limit: BatchLimit) -> web.Response:
    if limit.answer == "413":
        return web.Response(status=413, text=limit.message)
    error = {"code": _LIMIT_EXCEEDED, "message": limit.message}
    return web.json_response({"jsonrpc": "2.0", "id": None, "error": error})


def _error_answer(number: object, fault: ErrorObject) -> Answer:
    error = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        error["data"] = fault.data
    return {"jsonrpc": "2.0", "id": number, "error": error}


async def _deliver(
    request: web.Request, out: list[Answer], fault: AnswerFault | None, *, batched: bool
) -> web.StreamResponse:
    """Send the answers in the way that `fault` says, as an array if the request was one."""
    match fault:
        case HttpStatus():
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return web.Response(status=fault.status, text=fault.body, headers=headers)
        case NotJson():
            return web.Response(text=fault.body, content_type="text/html")
        case DropConnection():
            return _cut(request)
        case SlowBody():
            return await _trickle(request, fault.interval)
        case Held():
            await fault.release.wait()
        case ShuffledBatch():
            out.reverse()
    body = _body(out, batched=batched)
    if isinstance(fault, TruncatedBody):
        return await _truncate(request, body, len(body) // 2 if fault.keep is None else fault.keep)
    return web.Response(body=body, content_type="application/json")


def _body(out: list[Answer], *, batched: bool) -> bytes:
    if batched:
        return json.dumps(out).encode()
    return json.dumps(out[0]).encode() if out else b""


def _cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _truncate(request: web.Request, body: bytes, keep: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[:keep])
    assert request.transport is not None
    # close, unlike abort, lets what was written go out first
    request.transport.close()
    return response


async def _trickle(request: web.Request, interval: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(interval)
