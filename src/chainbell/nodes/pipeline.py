"""Do the next thing while the last one is still under way, and give the results in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def in_order(jobs: Iterable[Callable[[], Awaitable[T]]], depth: int) -> list[T]:
    """Run ``jobs``, at most ``depth`` at a time, and give their results in order.

    The first failure, in order, is raised as it is; what still runs then is cancelled and waited for.
    """
    results: list[T] = []
    running: deque[asyncio.Future[T]] = deque()
    try:
        for job in jobs:
            if len(running) >= depth:
                results.append(await running.popleft())
            running.append(asyncio.ensure_future(job()))
        while running:
            results.append(await running.popleft())
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return results
