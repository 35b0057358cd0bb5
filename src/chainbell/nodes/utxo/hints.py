"""What a node publishes over ZMQ: hints that shorten the wait for the next poll, never the truth.

Topics and messages as in Bitcoin Core's doc/zmq.md: each message is its topic, a body, and a counter of four bytes,
little-endian, that grows by one with each message of that topic and begins anew when the node does.
"""

import asyncio

import structlog
import zmq
import zmq.asyncio
from structlog.typing import FilteringBoundLogger
from zmq.utils.monitor import recv_monitor_message

from chainbell.nodes.endpoint import Endpoint

log: FilteringBoundLogger = structlog.get_logger(__name__)

_TOPICS = (b"hashblock", b"sequence", b"rawtx", b"hashtx")
_BLOCK_LABELS = (b"C", b"D")
"""What a ``sequence`` says after the hash of a block that was connected or disconnected."""
_HASH_BYTES = 32
_COUNTER_BYTES = 4
_COUNTERS = 2**32
_LARGEST = 2**23
"""Bytes of a message at most: twice the largest transaction."""
_RETRY_MS, _LONGEST_RETRY_MS = 500, 60_000
_HEARTBEAT_MS = 20_000
"""A dead line is noticed within two of them."""
_EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.CONNECT_RETRIED


class _Count:
    """The counters of one publisher's topics, since it was connected."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget them: it may be another run of the node, which counts from 0."""
        self._next: dict[bytes, int] = {}
        self.told = False

    def missing_before(self, topic: bytes, number: int) -> int:
        """Count a message; return how many of its topic were dropped before it."""
        missing = number - self._next.get(topic, number)
        self._next[topic] = (number + 1) % _COUNTERS
        # Below what was due is the first of a new run.
        return max(missing, 0)


class ZmqHints:
    """Sets ``wake`` at each block that a node takes or gives up, ``mempool_wake`` at each transaction that comes or goes.

    Both are set whenever it is connected anew, or a counter shows that messages were dropped: something may have been
    missed. Lost hints cost nothing but the wait for the next poll, so whatever goes wrong is only logged, and tried again.
    """

    def __init__(self, endpoint: Endpoint, wake: asyncio.Event, mempool_wake: asyncio.Event) -> None:
        """Listen to the publishers of ``endpoint``, which must have one."""
        if not endpoint.zmq:
            message = f"node {endpoint.name} publishes nothing over ZMQ"
            raise ValueError(message)
        self._endpoint = endpoint
        self._wake = wake
        self._mempool_wake = mempool_wake
        self.connected: set[str] = set()
        """Publishers that it is connected to now."""
        self.heard: set[str] = set()
        """Topics of which a message came."""
        self.messages = 0
        """How many came."""
        self._lost = dict.fromkeys(endpoint.zmq, "not connected yet")
        """By publisher that it is not connected to: why."""

    @property
    def trouble(self) -> str | None:
        """Why not everything can be heard now; None: it is connected to every publisher."""
        return "; ".join(f"{address}: {reason}" for address, reason in self._lost.items()) or None

    async def run(self) -> None:
        """Listen until cancelled; nothing else ends it."""
        context = zmq.asyncio.Context()
        try:
            async with asyncio.TaskGroup() as tasks:
                for address in self._endpoint.zmq:
                    tasks.create_task(self._listen(context, address))
        finally:
            context.destroy(linger=0)

    async def _listen(self, context: zmq.asyncio.Context, address: str) -> None:
        """Follow one publisher; ZMQ itself connects, and connects again."""
        with context.socket(zmq.SUB) as socket:
            for option, value in (
                (zmq.RECONNECT_IVL, _RETRY_MS),
                (zmq.RECONNECT_IVL_MAX, _LONGEST_RETRY_MS),
                (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS),
                (zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_MS),
                (zmq.MAXMSGSIZE, _LARGEST),
                (zmq.IPV6, 1),
                (zmq.LINGER, 0),
            ):
                socket.setsockopt(option, value)
            for topic in _TOPICS:
                socket.subscribe(topic)
            count = _Count()
            monitor = socket.get_monitor_socket(_EVENTS)
            socket.connect(address)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._observe(monitor, address, count))
                    while True:
                        self._heard(await socket.recv_multipart(), count)
            finally:
                socket.disable_monitor()

    async def _observe(self, monitor: zmq.asyncio.Socket, address: str, count: _Count) -> None:
        """Say when a connection begins and when it is lost, once each."""
        told: bool | None = None
        while True:
            connected = (await recv_monitor_message(monitor))["event"] == zmq.Event.HANDSHAKE_SUCCEEDED
            if connected:
                self.connected.add(address)
                self._lost.pop(address, None)
                count.reset()
                self._missed()
            else:
                self.connected.discard(address)
            if connected is told:
                continue
            if connected:
                log.info("node.hints_connected", node=self._endpoint.name, publisher=address)
            else:
                reason = self._lost[address] = "cannot connect" if told is None else "the connection ended"
                log.info("node.hints_lost", node=self._endpoint.name, publisher=address, reason=reason)
            told = connected

    def _heard(self, frames: list[bytes], count: _Count) -> None:
        """Set the event that a message is about."""
        if len(frames) != 3 or len(frames[2]) != _COUNTER_BYTES:  # noqa: PLR2004 - topic, body, counter
            return
        topic, body = frames[0], frames[1]
        self.heard.add(topic.decode())
        self.messages += 1
        dropped = count.missing_before(topic, int.from_bytes(frames[2], "little"))
        if dropped:
            if not count.told:
                log.info("node.hints_dropped", node=self._endpoint.name, topic=topic.decode(), dropped=dropped)
            count.told = True
            self._missed()
        elif topic == b"hashblock" or (topic == b"sequence" and body[_HASH_BYTES : _HASH_BYTES + 1] in _BLOCK_LABELS):
            self._wake.set()
        else:
            self._mempool_wake.set()

    def _missed(self) -> None:
        self._wake.set()
        self._mempool_wake.set()
