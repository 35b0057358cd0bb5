"""One POST to one node through web3's provider, made strict.

web3's own ``AsyncHTTPProvider`` sorts a batch by id and does not notice a missing or a foreign entry, drops the body
of an HTTP error (where providers write which limit was hit), reads bodies of any size, follows redirects, and decodes
with ``json``. What stays of it is how requests are formed and numbered, and that AsyncWeb3 can stand on it.
"""

from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import orjson
from eth_typing import URI
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCRequest, RPCResponse

from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import batch_results, shown, single_result
from chainbell.nodes.errors import (
    BadAnswerError,
    BatchTooLargeError,
    NodeTimeoutError,
    NodeUnreachableError,
    RateLimitedError,
)

_READ_BUFFER = 2**20
_KEEP_ALIVE = 75.0
_HTTP_OK = 200
_HTTP_ERRORS = 300
_UNAUTHORISED = {401, 403}
_TOO_LARGE = 413
_TOO_MANY = 429
_UNAVAILABLE = 503


class StrictProvider(AsyncHTTPProvider):
    """Answers whole, in time, below a size, and to what was asked; else a ``NodeError`` that says which it was not.

    Messages name no URL: whoever holds this provider knows the node's name.
    """

    def __init__(self, url: str, *, timeout: float, max_bytes: int) -> None:
        """Ask ``url``, at most ``timeout`` seconds for a whole answer of at most ``max_bytes`` bytes."""
        super().__init__(URI(url), exception_retry_configuration=None)
        self.connections = 0
        """How many TCP connections were opened: a new one may lead to another server."""
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    @staticmethod
    def encode_rpc_dict(rpc_dict: RPCRequest) -> bytes:
        """Encode with orjson: the parameters of what we ask are plain JSON."""
        return orjson.dumps(rpc_dict)

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """Decode with orjson: it is what makes a scan of full blocks fast."""
        try:
            return cast("RPCResponse", orjson.loads(raw_response))
        except orjson.JSONDecodeError as error:
            message = f"the answer is not JSON ({error}): {shown(raw_response[:80].decode(errors='replace'))}"
            raise BadAnswerError(message) from error

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """Ask one thing; the response has a ``result``, since every error is raised.

        Raises:
            NodeError: there is no such answer.

        """
        request = self.form_request(method, params)
        answer = await self._post(self.encode_rpc_dict(request))
        result = single_result(answer, cast("int", request["id"]))
        return RPCResponse(jsonrpc="2.0", id=request["id"], result=result)

    async def make_batch_request(self, batch_requests: Sequence[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Ask several things at once; one response for each, in the order asked.

        Raises:
            NodeError: they were not all answered.

        """
        requests = [self.form_request(method, params) for method, params in batch_requests]
        answer = await self._post(orjson.dumps(requests))
        results = batch_results(answer, [cast("int", request["id"]) for request in requests])
        return [
            RPCResponse(jsonrpc="2.0", id=request["id"], result=result)
            for request, result in zip(requests, results, strict=True)
        ]

    async def disconnect(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, body: bytes) -> object:
        status, headers, content = await self._exchange(body)
        if status == _HTTP_OK:
            return self.decode_rpc_response(content)
        if error := _error_of_status(status, headers):
            raise error
        try:
            return self.decode_rpc_response(content)
        except BadAnswerError:
            message = f"HTTP status {status}: {shown(content[:80].decode(errors='replace'))}"
            raise NodeUnreachableError(message) from None

    async def _exchange(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        opened = self.connections
        try:
            try:
                return await self._send(body)
            except aiohttp.ServerDisconnectedError:
                if self.connections != opened:
                    raise
                # The server closed a kept-alive connection just as we used it again: nothing is wrong with it.
                return await self._send(body)
        except TimeoutError as error:
            message = f"no whole answer within {self._timeout.total:g} s"
            raise NodeTimeoutError(message) from error
        except aiohttp.ClientPayloadError as error:
            message = f"the answer ended too early or is badly encoded ({type(error).__name__})"
            raise BadAnswerError(message) from error
        except aiohttp.ClientResponseError as error:
            message = f"the answer is not HTTP: {shown(error.message)}"
            raise BadAnswerError(message) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnreachableError(_reason(error)) from error

    async def _send(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        async with self._opened().post(
            self._url, data=body, headers=self.get_request_headers(), allow_redirects=False
        ) as response:
            return response.status, response.headers, await self._content(response)

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._max_bytes:
                message = f"the answer has more than {self._max_bytes} bytes"
                raise BatchTooLargeError(message)
        return bytes(content)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_end.append(self._count_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                read_bufsize=_READ_BUFFER,
                trace_configs=[tracing],
            )
        return self._session

    async def _count_connection(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateEndParams,
    ) -> None:
        self.connections += 1


def _reason(error: Exception) -> str:
    """Words for a failed connection; never the text of an aiohttp error whole, which may hold the URL."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _error_of_status(status: int, headers: Mapping[str, str]) -> NodeError | None:
    """Say what an HTTP status means by itself; None where the body has the word."""
    wish = retry_after(headers.get("Retry-After"), headers.get("Date"))
    if status == _TOO_MANY or (status == _UNAVAILABLE and wish is not None):
        asked = "" if wish is None else f" and asks to wait {wish:g} s"
        return RateLimitedError(f"HTTP status {status}: it limits its rate{asked}", wish)
    if status == _TOO_LARGE:
        return BatchTooLargeError("HTTP status 413: the request is too large for it")
    if status in _UNAUTHORISED:
        return NodeUnreachableError(f"HTTP status {status}: it refuses us; check the key or credentials in its URL")
    if _HTTP_ERRORS <= status < 400:  # noqa: PLR2004 - the range of redirects
        return NodeUnreachableError(f"HTTP status {status}: it redirects; configure the URL that it redirects to")
    return None


def retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3); a date counts from ``date``, beside it."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())
