"""New heads announced by websocket: a hint that shortens the wait for the next poll, never the truth.

``eth_subscribe`` with ``newHeads`` (go-ethereum's publish-subscribe interface, which all clients and anvil have).
"""

import asyncio
from collections.abc import Callable

import aiohttp
import structlog
from structlog.typing import FilteringBoundLogger

from chainbell.nodes.answers import shown
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint

log: FilteringBoundLogger = structlog.get_logger(__name__)

_HEARTBEAT = 20.0
"""Seconds between two pings: a dead line is noticed within two of them."""
_CONNECT = 10.0
_LARGEST = 2**20
_SUBSCRIBE = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}


class HeadHints:
    """Sets ``wake`` at each new head that a node announces, and whenever it is connected anew.

    Lost hints cost nothing but the wait for the next poll, so whatever goes wrong is only logged, and tried again.
    """

    def __init__(
        self, endpoint: Endpoint, wake: asyncio.Event, chance: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        """Listen to the websocket of ``endpoint``, which must have one."""
        if endpoint.websocket is None:
            message = f"node {endpoint.name} has no websocket"
            raise ValueError(message)
        self._endpoint = endpoint
        self._websocket = endpoint.websocket
        self._wake = wake
        self._chance = chance
        self._backoff = backoff or Backoff()
        self._failures = 0
        self.trouble: str | None = "not connected yet"
        """Why no heads can be heard now; None: they are subscribed to."""
        self.messages = 0
        """How many heads were announced."""

    async def run(self) -> None:
        """Listen until cancelled; nothing else ends it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
            while True:
                reason = self.trouble = self._endpoint.scrub(await self._listen(session))
                self._failures += 1
                log.info("node.hints_lost", node=self._endpoint.name, reason=reason)
                await asyncio.sleep(self._backoff.delay(self._failures, self._chance()))

    async def probe(self) -> str | None:
        """Connect once and subscribe: None when heads are announced, else why they are not."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        self._wake.clear()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
            listening = asyncio.create_task(self._listen(session))
            subscribed = asyncio.create_task(self._wake.wait())
            done, waiting = await asyncio.wait(
                (listening, subscribed), timeout=_CONNECT, return_when=asyncio.FIRST_COMPLETED
            )
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if subscribed in done:
            return None
        return self._endpoint.scrub(listening.result()) if listening in done else f"no answer within {_CONNECT:g} s"

    async def _listen(self, session: aiohttp.ClientSession) -> str:
        """Follow one connection to its end, and say why it ended."""
        try:
            async with (
                asyncio.timeout(_CONNECT) as connecting,
                session.ws_connect(self._websocket, heartbeat=_HEARTBEAT, max_msg_size=_LARGEST) as websocket,
            ):
                await websocket.send_json(_SUBSCRIBE)
                connecting.reschedule(None)
                async for message in websocket:
                    if refusal := self._heard(message):
                        return refusal
                return "the connection ended"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return type(error).__name__

    def _heard(self, message: aiohttp.WSMessage) -> str | None:
        """Wake for a head, or for the answer that begins them; give the reason if it is a refusal or no JSON object."""
        if message.type is not aiohttp.WSMsgType.TEXT:
            return f"a message of type {message.type.name}"
        said = message.json()
        if not isinstance(said, dict) or "error" in said:
            return f"it refuses: {shown(said)}"
        self._failures = 0
        self.messages += self.trouble is None
        self.trouble = None
        self._wake.set()
        return None
