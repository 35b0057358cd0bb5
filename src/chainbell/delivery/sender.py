"""One POST: bounded in time and in size, and never to an internal address."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeAlias

import aiohttp
import httpx
import structlog
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from chainbell import __version__
from chainbell.delivery.outcome import Attempt, Failure
from chainbell.delivery.resolver import ThreadResolver
from chainbell.delivery.targets import Network, is_allowed
from chainbell.telemetry import clock

RESPONSE_LIMIT = 16 * 1024
DEFAULT_TIMEOUT = timedelta(seconds=20)

_KEEPALIVE_SECONDS = 4.0
"""Below the 5 s after which common servers hang up: a POST on a connection that is just closed would be a failed one."""
_LONGEST_DETAIL = 300

_AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]  # getaddrinfo's; sockaddr differs by family

_refused: ContextVar[list[str]] = ContextVar("refused")
"""Addresses that the POST of this task was kept from: aiohttp joins errors of several addresses into one text."""

_log = structlog.get_logger()


class HttpSender:
    """Sends webhooks over HTTP. An async context manager: its connections are closed at the end.

    Each connection is checked when it is made, by its address: neither a literal address nor a name that resolves to
    another one the second time leads into a network that is not public and not `opened`.
    """

    def __init__(
        self,
        opened: Sequence[Network] = (),
        *,
        timeout: timedelta = DEFAULT_TIMEOUT,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._opened = opened
        self._timeout = timeout
        self._resolver = resolver or ThreadResolver()
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._transport = AiohttpTransport(verify=self._tls, trust_env=False, client=self._session)

    @property
    def timeout(self) -> timedelta:
        """The longest that `post` takes, from the first to the last byte."""
        return self._timeout

    async def __aenter__(self) -> Self:
        """Open nothing yet: connections are made as they are needed."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._transport.aclose()
        await self._resolver.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST a JSON body, and return what came of it; redirects are not followed, cookies are not kept.

        A 2xx whose body then breaks off, or does not end in time, carries its status beside the failure.
        """
        refused: list[str] = []
        _refused.set(refused)
        exchange = _Exchange()
        started_at, started = clock.now(), asyncio.get_running_loop().time()
        failure, detail = None, None
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await exchange.run(self._transport, url, headers, body)
        except TimeoutError:
            failure = Failure.TIMEOUT
            detail = f"no complete answer within {self._timeout.total_seconds():g} s"
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            failure, detail = _explain(error)
        if refused and failure is not None and exchange.status is None:
            _log.warning("webhook_target_refused", addresses=refused)
            failure = Failure.TARGET_REFUSED
            detail = "the host leads to an address that is not public; nothing was sent (CHAINBELL_ALLOWED_NETWORKS)"
        return Attempt(
            started_at=started_at,
            duration=timedelta(seconds=asyncio.get_running_loop().time() - started),
            status=exchange.status,
            failure=failure,
            detail=detail,
            retry_after=exchange.retry_after,
            response=bytes(exchange.received[:RESPONSE_LIMIT]),
        )

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            socket_factory=self._checked_socket,
            ssl=self._tls,
            use_dns_cache=False,
            limit=0,  # whoever calls us bounds how many run at once
            keepalive_timeout=_KEEPALIVE_SECONDS,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)

    def _checked_socket(self, info: _AddressInfo) -> socket.socket:
        """Make the socket of one connect. Everything comes by here, also literal addresses, which no resolver sees."""
        family, kind, protocol, _, destination = info
        address = ip_address(destination[0])
        if not is_allowed(address, self._opened):
            _refused.get().append(str(address))
            raise PermissionError(errno.EACCES, "not a public address")
        return socket.socket(family, kind, protocol)


class _Exchange:
    """A request and as much of its answer as has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.received = bytearray()

    async def run(self, transport: AiohttpTransport, url: str, headers: Mapping[str, str], body: bytes) -> None:
        # Straight through the transport: a client would keep cookies, and log the URL.
        request = httpx.Request(
            "POST",
            _parsed(url),
            headers={
                "user-agent": f"Chainbell/{__version__}",
                "content-type": "application/json",
                "accept": "*/*",
                "accept-encoding": "identity",
                **headers,
            },
            content=body,
        )
        request.headers.encoding = "ascii"  # as they are: else httpx finds that out anew at each look at them
        response = await transport.handle_async_request(request)
        try:
            self.status = response.status_code
            self.retry_after = response.headers.get("retry-after")
            async for chunk in response.aiter_raw():
                self.received += chunk
                if len(self.received) >= RESPONSE_LIMIT:
                    break
        finally:
            await response.aclose()


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    """Parse the URL of an endpoint once, and not for each POST."""
    return httpx.URL(url)


def _explain(error: BaseException) -> tuple[Failure, str]:
    """Find what really happened: the transport calls nearly everything a `ConnectTimeout`."""
    cause = error
    while cause.__cause__ is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    failure = Failure.TIMEOUT if isinstance(cause, TimeoutError) else Failure.TRANSPORT
    text = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    return failure, text[:_LONGEST_DETAIL]
