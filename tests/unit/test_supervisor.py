"""The supervisor: what ends a part, what ends everything, and that a shutdown is never lost."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from chainbell import supervisor
from chainbell.domain.errors import ConfigurationError
from chainbell.supervisor import beside, supervise


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(supervisor, "_LONGEST_DRAIN_SECONDS", 0.05)


async def _for_ever() -> None:
    await asyncio.Event().wait()


def _fails_twice(
    fail: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> tuple[Callable[[], Awaitable[None]], list[int]]:
    """Return a part that fails so in its first two runs, and asks to stop in its third."""
    runs: list[int] = []

    async def part() -> None:
        runs.append(len(runs))
        if len(runs) <= 2:
            return await fail()
        stop.set()
        return await _for_ever()

    return part, runs


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_wrong_configuration_ends_everything_as_itself(grouped: bool) -> None:
    """It comes out plain, never in a group, so that the command can print it; the other parts are drained first."""
    wrong = ConfigurationError("mend it")
    drained: list[str] = []

    async def broken() -> None:
        await asyncio.sleep(0)
        if grouped:
            several = "several"
            raise ExceptionGroup(several, [ValueError("other"), ExceptionGroup("inner", [wrong])])
        raise wrong

    async def other() -> None:
        try:
            await _for_ever()
        finally:
            await asyncio.sleep(0.01)
            drained.append("other")

    async with asyncio.timeout(5):
        with pytest.raises(ConfigurationError) as caught:
            await supervise({"broken": broken, "other": other, "third": _for_ever}, asyncio.Event())
    assert caught.value is wrong
    assert drained == ["other"]


async def test_of_two_wrong_configurations_one_is_told() -> None:
    """Two parts that fail at the same time end it with one message all the same."""

    async def broken() -> None:
        raise ConfigurationError

    async with asyncio.timeout(5):
        with pytest.raises(ConfigurationError):
            await supervise({"one": broken, "two": broken}, asyncio.Event())


async def test_a_part_that_fails_or_ends_is_started_again() -> None:
    """Whether it raises or returns, it gets another run, and the others never notice."""

    async def raises() -> None:
        raise ValueError

    async def returns() -> None:
        return

    for fail in (raises, returns):
        stop = asyncio.Event()
        part, runs = _fails_twice(fail, stop)
        async with asyncio.timeout(5):
            await supervise({"part": part, "other": _for_ever}, stop)
        assert runs == [0, 1, 2]


async def test_a_part_that_cancels_itself_is_started_again() -> None:
    """A cancellation that nobody asked for is a failure like others: it neither ends nor stalls the whole."""

    async def cancels() -> None:
        raise asyncio.CancelledError

    stop = asyncio.Event()
    part, runs = _fails_twice(cancels, stop)
    async with asyncio.timeout(5):
        await supervise({"part": part, "other": _for_ever}, stop)
    assert runs == [0, 1, 2]


async def test_a_part_that_swallows_the_shutdown_is_not_started_again() -> None:
    """It returns instead of being cancelled: that is its end, not a failure."""
    runs: list[int] = []
    stop = asyncio.Event()

    async def part() -> None:
        runs.append(1)
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await _for_ever()

    async with asyncio.timeout(5):
        await supervise({"part": part}, stop)
    assert runs == [1]


async def test_a_part_that_loses_its_cancellation_is_cancelled_again() -> None:
    """One that goes on as if nothing had been said is told once more, after the time that any part may need."""
    lost: list[int] = []
    stop = asyncio.Event()

    async def part() -> None:
        stop.set()
        try:
            await _for_ever()
        except asyncio.CancelledError:
            lost.append(1)
        await _for_ever()

    async with asyncio.timeout(5):
        await supervise({"part": part}, stop)
    assert lost == [1]


async def test_what_runs_beside_is_started_again_and_drained_at_the_end() -> None:
    """It runs for as long as the body does, and the body's end waits for its own."""
    told: list[str] = []
    again = asyncio.Event()

    async def part() -> None:
        told.append("started")
        if len(told) == 1:
            message = "broken"
            raise ValueError(message)
        again.set()
        try:
            await _for_ever()
        finally:
            await asyncio.sleep(0.01)
            told.append("drained")

    async with asyncio.timeout(5):
        async with beside({"part": part}):
            await again.wait()
    assert told == ["started", "started", "drained"]
