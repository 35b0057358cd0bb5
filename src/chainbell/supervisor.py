"""Runs the parts of Chainbell side by side: restarts one that fails, with back-off, and drains all on a signal.

This is the only place that catches every exception: what nobody planned for in one part must not stop the others.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import structlog

from chainbell.domain.errors import ConfigurationError
from chainbell.telemetry.metrics import PART_FAILURES

Part = Callable[[], Awaitable[None]]

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_AFTER_SECONDS = 60.0
_LONGEST_DRAIN_SECONDS = 60.0
"""Longer than any part needs to end in order: the longest POST and the margin of its lease."""

_SAME_SIGNAL_SECONDS = 1.0
"""A signal to a whole process group reaches us twice under `make`: so soon, the second is the first."""

_log = structlog.get_logger()


async def supervise(parts: Mapping[str, Part], stop: asyncio.Event) -> None:
    """Run every part until `stop` is set, then cancel them all and wait until each has drained.

    A part that raises, or ends by itself, is started again. Raises the first `ConfigurationError` that a part raised:
    starting again would not mend it.
    """
    tasks = _start(parts)
    stopper = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([stopper, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end({stopper, *tasks})
    for task in tasks:
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def beside(parts: Mapping[str, Part]) -> AsyncIterator[None]:
    """Keep parts running for as long as the body lasts; each is started again as under `supervise`, and drained at the end.

    No part of them may raise a `ConfigurationError`: it would be told only at the end.
    """
    tasks = _start(parts)
    try:
        yield
    finally:
        await _end(set(tasks))
    for task in tasks:
        if not task.cancelled():
            task.result()


def _start(parts: Mapping[str, Part]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_keep_running(name, part), name=name) for name, part in parts.items()]


async def _end(tasks: set[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    """Cancel until all have ended: a cancellation can get lost on its way down into a part."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_LONGEST_DRAIN_SECONDS)
        if tasks:
            _log.error("parts do not end, cancelling them again", parts=sorted(task.get_name() for task in tasks))


async def _keep_running(name: str, part: Part) -> None:
    clock = asyncio.get_running_loop().time
    pause = _FIRST_PAUSE_SECONDS
    while True:
        started = clock()
        await _run_once(name, part)
        if _told_to_end():  # the part has swallowed it
            return
        if clock() - started > _HEALTHY_AFTER_SECONDS:
            pause = _FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def _run_once(name: str, part: Part) -> None:
    try:
        await part()
    except asyncio.CancelledError:
        if _told_to_end():
            raise
        PART_FAILURES.labels(name).inc()
        _log.exception("part cancelled itself, starting it again", part=name)
    except ConfigurationError:
        raise
    except Exception as error:
        if (wrong := _wrong_configuration(error)) is not None:
            raise wrong from error
        PART_FAILURES.labels(name).inc()
        _log.exception("part failed, starting it again", part=name)
    else:
        if not _told_to_end():
            PART_FAILURES.labels(name).inc()
            _log.error("part ended by itself, starting it again", part=name)


def _told_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _wrong_configuration(error: BaseException) -> ConfigurationError | None:
    """Return the `ConfigurationError` that an error is, or that a group of errors holds."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _wrong_configuration(each))), None)
    return error if isinstance(error, ConfigurationError) else None


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def handle(received: signal.Signals) -> None:
        if stop.is_set():
            return
        _log.info("stopping: what is under way is finished; signal again to stop at once", signal=received.name)
        stop.set()
        timers.append(loop.call_later(_SAME_SIGNAL_SECONDS, give_back))

    def give_back() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
