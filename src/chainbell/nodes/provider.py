"""One POST to one node through web3's provider, made strict.

web3's own ``AsyncHTTPProvider`` sorts a batch by id and does not notice a missing or a foreign entry, drops the body
of an HTTP error (where providers write which limit was hit), reads bodies of any size, follows redirects, and decodes
with ``json``. What stays of it is how requests are formed and numbered, and that AsyncWeb3 can stand on it.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn, cast

import aiohttp
import orjson
from eth_typing import URI
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCRequest, RPCResponse

from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import Dialect, batch_outcomes, shown, single_result
from chainbell.nodes.credentials import Credentials
from chainbell.nodes.errors import (
    BadAnswerError,
    BatchTooLargeError,
    CutOffError,
    ForbiddenError,
    NodeTimeoutError,
    NodeUnreachableError,
    RateLimitedError,
    RpcError,
)

_READ_BUFFER = 2**20
_KEEP_ALIVE = 75.0
_HTTP_OK = 200
_HTTP_ERRORS = 300
_UNAUTHORISED = 401
_FORBIDDEN = 403
_TOO_LARGE = 413
_TOO_MANY = 429
_UNAVAILABLE = 503
_GATEWAY_TIMEOUTS = {408, 504, 524}
"""What stands before the node would not wait for it any longer; 524 is Cloudflare's own."""
_QUEUE_FULL = b"Work queue depth exceeded"


class Limits(NamedTuple):
    """What an answer may take."""

    seconds: float
    max_bytes: int


class _Exchanged(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    authorization: str | None
    """What was sent to get it."""


class StrictProvider(AsyncHTTPProvider):
    """Answers whole, in time, below a size, and to what was asked; else a ``NodeError`` that says which it was not.

    Messages name no URL: whoever holds this provider knows the node's name.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        max_bytes: int,
        dialect: Dialect = Dialect.EVM,
        credentials: Credentials | None = None,
    ) -> None:
        """Ask ``url``, at most ``timeout`` seconds for a whole answer of at most ``max_bytes`` bytes.

        ``credentials`` are for nodes that want other ones than those in ``url``.
        """
        super().__init__(URI(url), exception_retry_configuration=None)
        self._dialect = dialect
        self._decode = decode_exactly if dialect is Dialect.BITCOIN else self.decode_rpc_response
        self._credentials = credentials
        self.connections = 0
        """How many TCP connections were opened: a new one may lead to another server."""
        self._url = url
        self._limits = Limits(timeout, max_bytes)
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
        return RPCResponse(jsonrpc="2.0", id=0, result=await self.ask(method, params))

    async def make_batch_request(self, batch_requests: Sequence[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Ask several things at once; one response for each, in the order asked.

        Raises:
            NodeError: they were not all answered.

        """
        results = await self.ask_batch(batch_requests)
        if error := next((result for result in results if isinstance(result, RpcError)), None):
            raise error
        return [RPCResponse(jsonrpc="2.0", id=number, result=result) for number, result in enumerate(results)]

    async def ask(
        self,
        method: str,
        params: Any,  # noqa: ANN401 - plain JSON
        seconds: float | None = None,
        max_bytes: int | None = None,
        *,
        once: bool = False,
    ) -> object:
        """Ask one thing and give its result.

        ``seconds`` is how long this one may take, and ``max_bytes`` how large it may be, if not as the others. ``once``:
        it is never sent a second time of our own accord, since what it begins may go on when the connection ends.

        Raises:
            NodeError: there is no result.

        """
        request = self.form_request(RPCEndpoint(method), params)
        limits = Limits(seconds or self._limits.seconds, max_bytes or self._limits.max_bytes)
        answer = await self._post(self.encode_rpc_dict(request), limits, once=once)
        return single_result(answer, cast("int", request["id"]), self._dialect)

    async def ask_batch(self, requests: Sequence[tuple[str, Any]]) -> list[object]:
        """Ask several things at once; for each, in the order asked, its result, or an ``RpcError`` in place of it.

        Raises:
            NodeError: they were not all answered.

        """
        formed = [self.form_request(RPCEndpoint(method), params) for method, params in requests]
        answer = await self._post(orjson.dumps(formed), self._limits)
        return batch_outcomes(answer, [cast("int", request["id"]) for request in formed], self._dialect)

    async def disconnect(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def scrub(self, text: str) -> str:
        """``text`` without the credentials that are not in the URL."""
        return text if self._credentials is None else self._credentials.scrub(text)

    async def _post(self, body: bytes, limits: Limits, *, once: bool = False) -> object:
        answered = await self._exchange(body, limits, once=once)
        refused = answered.status == _UNAUTHORISED
        if refused and self._credentials is not None and await self._credentials.renew(answered.authorization):
            answered = await self._exchange(body, limits, once=once)
        status, headers, content, _ = answered
        if status == _HTTP_OK:
            return self._decode(content)
        if error := self._refusal(status, content) or _error_of_status(status, headers):
            raise error
        try:
            return self._decode(content)
        except BadAnswerError:
            message = f"HTTP status {status}: {shown(content[:80].decode(errors='replace'))}"
            raise NodeUnreachableError(message) from None

    def _refusal(self, status: int, content: bytes) -> NodeError | None:
        """Say what an HTTP status means that one of Bitcoin's daemons gives."""
        if status == _UNAUTHORISED and self._credentials is not None:
            return NodeUnreachableError(f"HTTP status 401: {self._credentials.refusal}")
        if self._dialect is not Dialect.BITCOIN:
            return None
        if status == _FORBIDDEN:
            return ForbiddenError("HTTP status 403: it refuses us; see its rpcallowip and rpcwhitelist")
        if _QUEUE_FULL in content:  # with 503; with 500 before Bitcoin Core 22
            return RateLimitedError(f"HTTP status {status}: its work queue is full; if that lasts, raise its rpcworkqueue")
        return None

    async def _exchange(self, body: bytes, limits: Limits, *, once: bool) -> _Exchanged:
        opened = self.connections
        try:
            try:
                return await self._send(body, limits)
            except aiohttp.ServerDisconnectedError:
                if once or self.connections != opened:
                    raise
                # The server closed a kept-alive connection just as we used it again: nothing is wrong with it.
                return await self._send(body, limits)
        except TimeoutError as error:
            message = f"no whole answer within {limits.seconds:g} s"
            raise NodeTimeoutError(message) from error
        except aiohttp.ClientPayloadError as error:
            message = f"the answer ended too early or is badly encoded ({type(error).__name__})"
            raise BadAnswerError(message) from error
        except aiohttp.ClientResponseError as error:
            message = f"the answer is not HTTP: {shown(error.message)}"
            raise BadAnswerError(message) from None
        except (aiohttp.ClientError, OSError) as error:
            if self._credentials is not None:
                self._credentials.forget()
            kind = CutOffError if _was_connected(error) else NodeUnreachableError
            raise kind(_reason(error)) from error

    async def _send(self, body: bytes, limits: Limits) -> _Exchanged:
        headers = dict(self.get_request_headers())
        authorization = None if self._credentials is None else await self._credentials.header()
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self._opened().post(
            self._url, data=body, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=limits.seconds)
        ) as response:
            content = await _content(response, limits.max_bytes)
            return _Exchanged(response.status, response.headers, content, authorization)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_end.append(self._count_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
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


async def _content(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > max_bytes:
            message = f"the answer has more than {max_bytes} bytes"
            raise BatchTooLargeError(message)
    return bytes(content)


def decode_exactly(raw_response: bytes) -> RPCResponse:
    """Decode with what is no whole number as a ``Decimal``: amounts are never seen by a float.

    Raises:
        BadAnswerError: it is no JSON, or has a number that no ``Decimal`` can hold.

    """
    try:
        return cast("RPCResponse", json.loads(raw_response, parse_float=Decimal, parse_constant=_refuse_constant))
    except (ValueError, ArithmeticError, RecursionError) as error:
        start = shown(raw_response[:80].decode(errors="replace"))
        message = f"the answer is not JSON ({type(error).__name__}): {start}"
        raise BadAnswerError(message) from error


def _refuse_constant(text: str) -> NoReturn:
    message = f"JSON has no {text}"
    raise ValueError(message)


def _was_connected(error: Exception) -> bool:
    return isinstance(error, OSError | aiohttp.ServerConnectionError) and not isinstance(error, aiohttp.ClientConnectorError)


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
    if status in {_UNAUTHORISED, _FORBIDDEN}:
        return NodeUnreachableError(f"HTTP status {status}: it refuses us; check the key or credentials in its URL")
    if status in _GATEWAY_TIMEOUTS:
        return CutOffError(f"HTTP status {status}: something before it does not wait so long for its answer")
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
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, wait.total_seconds())
