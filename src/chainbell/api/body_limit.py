"""How large a request's body may be: read whole before anything else happens, up to a limit."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chainbell.api.problems import problem


class BodyLimit:
    """Answers 413 to a larger body, whatever its Content-Length says."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._limit:
                await self._refuse(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        await self._app(scope, _once(bytes(body), receive), send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is larger than {self._limit} bytes, the most that is read: send less at a time"
        # The rest of the body is not read, so nothing else can come over this connection.
        headers = {"Connection": "close"}
        answer = problem(Request(scope), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=headers)
        await answer(scope, receive, send)


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
