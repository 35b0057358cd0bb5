"""Read the next blocks while the last ones are committed."""

import asyncio
from dataclasses import dataclass
from typing import Generic

from chainbell.domain.block import ScannedBlock
from chainbell.watcher.ports import N


@dataclass(frozen=True, slots=True)
class _Reading(Generic[N]):
    node: N
    first: int
    task: asyncio.Task[list[ScannedBlock]]


class ReadAhead(Generic[N]):
    """At most one batch of one node, read before it is needed."""

    def __init__(self) -> None:
        self._reading: _Reading[N] | None = None

    def begin(self, node: N, first: int, last: int) -> None:
        """Begin to read a batch."""
        self._reading = _Reading(node, first, asyncio.create_task(node.blocks_from(first, last)))

    async def take(self, node: N, first: int, last: int) -> list[ScannedBlock]:
        """Return the batch that begins at a height: what was read ahead of it if it is still so, else read now.

        What was read ahead may be an older branch by now: then it is thrown away. Raises as the node does.
        """
        reading, self._reading = self._reading, None
        if reading is None:
            return await node.blocks_from(first, last)
        if reading.node is node and reading.first == first:
            blocks = await _result(reading.task)
            if blocks and await node.headers(blocks[-1].ref.height, blocks[-1].ref.height) == [blocks[-1].ref]:
                return blocks
        else:
            await _end(reading.task)
        return await node.blocks_from(first, last)

    async def drop(self) -> None:
        """Stop reading."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await _end(reading.task)


async def _result(task: asyncio.Task[list[ScannedBlock]]) -> list[ScannedBlock]:
    try:
        return await task
    finally:
        task.cancel()  # whoever waits is cancelled: nobody needs it any more


async def _end(task: asyncio.Task[list[ScannedBlock]]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
