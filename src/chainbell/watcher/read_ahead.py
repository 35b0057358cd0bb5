"""Read the next blocks while the last ones are committed."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from chainbell.domain.block import Block
from chainbell.watcher.ports import N

BATCHES = 2
"""Batches that are read ahead: while one is decoded to its end, the node prepares the next."""


@dataclass(frozen=True, slots=True)
class _Reading(Generic[N]):
    node: N
    first: int
    last: int
    task: asyncio.Task[Sequence[Block]]


class ReadAhead(Generic[N]):
    """Some batches of one node, one behind the other, read before they are needed."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._readings: deque[_Reading[N]] = deque()

    def fill(self, node: N, first: int, tip: int) -> None:
        """Begin to read what follows, from a height on, as far as the node has it."""
        if self._readings:
            first = self._readings[-1].last + 1
        while len(self._readings) < BATCHES and first <= tip:
            last = min(tip, first + self._batch - 1)
            self._readings.append(_Reading(node, first, last, asyncio.create_task(node.blocks_from(first, last))))
            first = last + 1

    async def take(self, node: N, first: int, last: int) -> Sequence[Block]:
        """Return the batch that begins at a height: what was read ahead of it if it is still so, else read now.

        What was read ahead may be an older branch by now: then all of it is thrown away. Raises as the node does.
        """
        if self._readings and self._readings[0].node is node and self._readings[0].first == first:
            blocks = await _result(self._readings.popleft().task)
            if blocks and await node.headers(blocks[-1].ref.height, blocks[-1].ref.height) == [blocks[-1].ref]:
                return blocks
        await self.drop()
        return await node.blocks_from(first, last)

    async def drop(self) -> None:
        """Stop reading, and forget what was read."""
        tasks = [reading.task for reading in self._readings]
        self._readings.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _result(task: asyncio.Task[Sequence[Block]]) -> Sequence[Block]:
    try:
        return await task
    finally:
        task.cancel()  # whoever waits is cancelled: nobody needs it any more
