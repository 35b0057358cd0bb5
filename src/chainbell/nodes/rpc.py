"""One JSON-RPC endpoint: single calls, and batches of a size, and at a rate, that the node takes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import Dialect
from chainbell.nodes.batching import AdaptiveBatch
from chainbell.nodes.credentials import Credentials
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import BatchTooLargeError, NodeTimeoutError, RateLimitedError, RpcError
from chainbell.nodes.provider import StrictProvider
from chainbell.nodes.token_bucket import TokenBucket, burst_of

Request = tuple[str, list[Any]]
"""A method and its parameters, plain JSON."""

TIMEOUT = 30.0
"""Seconds for one whole answer."""
MAX_BYTES = 64 * 2**20
"""Largest answer that is read; a batch of the fullest blocks stays far below."""
LARGEST_BATCH = 100
"""Requests in one batch at most; many providers allow no more."""


class Rpc:
    """A node's JSON-RPC endpoint. Every failure is a ``NodeError`` whose message names the node without its secrets."""

    def __init__(  # noqa: PLR0913 - what a connection is limited by, and how it talks
        self,
        endpoint: Endpoint,
        *,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        largest_batch: int = LARGEST_BATCH,
        requested: Callable[[], object] | None = None,
        throttled: Callable[[float], object] | None = None,
        dialect: Dialect = Dialect.EVM,
    ) -> None:
        """Connect at the first call; ``timeout`` in seconds is total, body included, and begins at our turn.

        ``requested`` is called for each HTTP request, ``throttled`` with the seconds that one waits for its turn before.
        """
        self._requested = requested
        self._throttled = throttled
        self.endpoint = endpoint
        credentials = Credentials(endpoint) if dialect is Dialect.BITCOIN else None
        self._provider = StrictProvider(
            endpoint.url if credentials is None else credentials.url,
            timeout=timeout,
            max_bytes=max_bytes,
            dialect=dialect,
            credentials=credentials,
        )
        self._largest_batch = largest_batch if endpoint.rps is None else min(largest_batch, burst_of(endpoint.rps))
        self._bucket: TokenBucket | None = None
        self._batches: dict[str, AdaptiveBatch] = {}

    @property
    def name(self) -> str:
        """What to call this node."""
        return self.endpoint.name

    @property
    def connections(self) -> int:
        """How many TCP connections were opened so far."""
        return self._provider.connections

    async def call(
        self,
        method: str,
        params: Sequence[Any] = (),
        *,
        seconds: float | None = None,
        max_bytes: int | None = None,
        once: bool = False,
    ) -> object:
        """Ask one thing and give its result.

        ``seconds`` is how long it may take, and ``max_bytes`` how large it may be, if not as anything else. ``once``: it is
        not sent again where a connection ends at once, which is mostly one that the node had just closed.

        Raises:
            RpcError: the node answered with an error.
            NodeError: the node did not answer, or not usably; the class says in which way.

        """
        await self._turn(1)
        try:
            return await self._provider.ask(method, list(params), seconds, max_bytes, once=once)
        except NodeError as error:
            raise self._named(error, method) from error

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several things and give their results in order: all of them, or none.

        The requests go in as many batches as the node's limits ask for; those are learned per method (of the first
        request) and kept. A node that refuses batches altogether is asked one by one.

        Raises:
            BatchTooLargeError: already one request alone is too large.
            RpcError: one of them was answered with an error.
            NodeError: they were not all answered usably.

        """
        return await self._in_parts(requests, tolerant=False)

    async def each(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several things as ``batch`` does; what was answered with an error is an ``RpcError`` in place of its result.

        Raises:
            BatchTooLargeError: already one request alone is too large.
            NodeError: they were not all answered usably.

        """
        return await self._in_parts(requests, tolerant=True)

    async def _in_parts(self, requests: Sequence[Request], *, tolerant: bool) -> list[Any]:
        results: list[Any] = []
        while len(results) < len(requests):
            method = requests[len(results)][0]
            size = self.batch_size(method)
            part = requests[len(results) : len(results) + size]
            try:
                results += await self._at_once(part, tolerant=tolerant)
            except BatchTooLargeError:
                if len(part) == 1:
                    raise
                self._batches[method] = self._policy(method).shrunk(len(part))
            except NodeTimeoutError:
                if len(part) > 1:
                    self._batches[method] = self._policy(method).shrunk(len(part))
                raise
            else:
                self._batches[method] = self._policy(method).grown(len(part))
        return results

    def batch_size(self, method: str) -> int:
        """How many requests of this method go into one batch now."""
        return self._policy(method).size

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._provider.disconnect()

    async def _at_once(self, part: Sequence[Request], *, tolerant: bool) -> list[Any]:
        if len(part) == 1:
            try:
                return [await self.call(*part[0])]
            except RpcError as error:
                if not tolerant:
                    raise
                return [error]
        asked = f"a batch of {len(part)} {', '.join(dict.fromkeys(method for method, _ in part))}"
        await self._turn(len(part))
        try:
            results = await self._provider.ask_batch(part)
        except NodeError as error:
            raise self._named(error, asked) from error
        named = [self._named(result, asked) if isinstance(result, RpcError) else result for result in results]
        refused = next((result for result in named if isinstance(result, RpcError)), None)
        if refused is not None and not tolerant:
            raise refused
        return named

    async def _turn(self, count: int) -> None:
        """Wait until the URL's rate has room for so many requests, whoever asks: the poll and bulk reads share it."""
        if self._requested is not None:
            self._requested()
        if self.endpoint.rps is None:
            return
        at = asyncio.get_running_loop().time()
        bucket = self._bucket or TokenBucket.full(self.endpoint.rps, at)
        self._bucket, wait = bucket.booked(count, at)
        if wait > 0:
            if self._throttled is not None:
                self._throttled(wait)
            await asyncio.sleep(wait)

    def _policy(self, method: str) -> AdaptiveBatch:
        return self._batches.get(method) or AdaptiveBatch(self._largest_batch, self._largest_batch)

    def _named(self, error: NodeError, asked: str) -> NodeError:
        """Give the same error with the node's name and what it was asked, and without the secrets of its URL."""
        message = self._scrub(f"node {self.name}: {error} (asked for {asked})")
        if isinstance(error, RpcError):
            return RpcError(message, error.code, self._scrub(error.reason))
        if isinstance(error, RateLimitedError):
            return RateLimitedError(message, error.retry_after)
        return type(error)(message)

    def _scrub(self, text: str) -> str:
        return self._provider.scrub(self.endpoint.scrub(text))
