"""How large a request's body may be: read whole before anything else happens, or, where it is read in pieces, counted."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chainbell.api.problems import problem


class BodyLimit:
    """Answers 413 to a larger body, whatever its Content-Length says.

    ``streamed`` are the paths whose bodies are read in pieces, each with a limit of its own.
    """

    def __init__(self, app: ASGIApp, limit: int, streamed: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._limit = limit
        self._streamed = streamed or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in self._streamed and scope["method"] == "POST":
            await self._stream(self._streamed[scope["path"]], scope, receive, send)
        else:
            await self._read(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._limit:
                # The rest of the body is not read, so nothing else can come over this connection.
                await _refuse(self._limit, scope, receive, send, {"Connection": "close"})
                return
            if not message.get("more_body", False):
                break
        await self._app(scope, _once(bytes(body), receive), send)

    async def _stream(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await _refuse(limit, scope, receive, send, {})
        else:
            await self._app(scope, _counted(limit, receive), send)


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
    answer = problem(Request(scope), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _detail(limit), headers=headers)
    await answer(scope, receive, send)


def _detail(limit: int) -> str:
    return f"the body is larger than {limit} bytes, the most that is read: send less at a time"


def _counted(limit: int, receive: Receive) -> Receive:
    """Return a `receive` that ends, with the answer 413, where a body grows too large.

    The connection stays open, and the server throws the rest away: closed on a client that still sends, it would be reset,
    and the answer lost.
    """
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _detail(limit))
        return message

    return count


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body at once, and then whatever follows it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
