"""Runs the parts of Chainbell side by side: restarts one that fails, with back-off, and drains all on a signal.

This is the only place that catches every exception: what nobody planned for in one part must not stop the others.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from chainbell.domain.errors import ConfigurationError

Part = Callable[[], Awaitable[None]]

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_AFTER_SECONDS = 60.0

_log = structlog.get_logger()


async def supervise(parts: Mapping[str, Part], stop: asyncio.Event) -> None:
    """Run every part until `stop` is set, then cancel them all and wait until each has drained.

    A part that raises, or ends by itself, is started again. Raises `ConfigurationError` that a part raised: starting
    again would not mend it.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_keep_running(name, part), name=name) for name, part in parts.items()]
        stopper = group.create_task(stop.wait(), name="stop")
        await asyncio.wait([stopper, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in [stopper, *tasks]:
            task.cancel()


async def _keep_running(name: str, part: Part) -> None:
    clock = asyncio.get_running_loop().time
    pause = _FIRST_PAUSE_SECONDS
    while True:
        started = clock()
        try:
            await part()
            _log.error("part ended by itself, starting it again", part=name)
        except ConfigurationError:
            raise
        except Exception:  # noqa: BLE001 - the one place: a part's unplanned failure must not stop the others
            _log.exception("part failed, starting it again", part=name)
        if clock() - started > _HEALTHY_AFTER_SECONDS:
            pause = _FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(received: signal.Signals) -> None:
        _log.info("stopping: what is under way is finished; signal again to stop at once", signal=received.name)
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
