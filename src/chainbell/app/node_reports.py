"""Write down how the nodes of a chain fare, so that every process, and whoever looks, can see it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from chainbell.domain.errors import DatabaseError
from chainbell.domain.node import NodeStatus

REPORT_SECONDS = 1.0
REPEAT_SECONDS = 10.0
"""How often it is written anew when nothing changed: an old report shows that nobody follows the chain."""

_log = structlog.get_logger()


class _Nodes(Protocol):
    def statuses(self) -> Sequence[NodeStatus]: ...


class _Reports(Protocol):
    async def report(self, chain: str, follower: str, nodes: Sequence[NodeStatus], now: datetime) -> bool: ...


class NodeReporter:
    """Reports the nodes of one chain until it is cancelled, each second what changed.

    What it reports counts only while ``follower`` holds the chain's lease, or while the chain was never started.
    """

    def __init__(
        self, chain: str, nodes: _Nodes, reports: _Reports, *, follower: str, clock: Callable[[], datetime]
    ) -> None:
        self._chain = chain
        self._nodes = nodes
        self._reports = reports
        self._follower = follower
        self._clock = clock

    async def run(self) -> None:
        """Report for ever; while the database is away, later."""
        loop = asyncio.get_running_loop()
        written: Sequence[NodeStatus] | None = None
        repeat_at = 0.0
        while True:
            found = self._nodes.statuses()
            if found != written or loop.time() >= repeat_at:
                try:
                    taken = await self._reports.report(self._chain, self._follower, found, self._clock())
                except DatabaseError as error:
                    _log.debug("nodes not reported", chain=self._chain, reason=str(error))
                    taken = False
                written = found if taken else None
                repeat_at = loop.time() + REPEAT_SECONDS
            await asyncio.sleep(REPORT_SECONDS)
