"""Processes that are killed, frozen and woken: `chainbell` with short leases, and its log."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import die_with_parent
from tests.running import entry

PATIENCE_SECONDS = 90.0
_SHOWN_LINES, _SHOWN = 30, 600


class Life:
    """One `chainbell run` from start to end."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Whole lines of the log so far."""
        return [entry(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    @property
    def code(self) -> int | None:
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def end(self) -> int:
        """Ask it to end in order; its exit code."""
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), PATIENCE_SECONDS)

    async def logged(self, fits: Callable[[dict[str, Any]], bool], what: str, *, times: int = 1) -> dict[str, Any]:
        """Wait for a line of the log."""
        await self._until(lambda: len([line for line in self.lines if fits(line)]) >= times, what)
        return [line for line in self.lines if fits(line)][times - 1]

    async def event(self, name: str, *, times: int = 1) -> dict[str, Any]:
        """Wait for an event of the log, for the n-th time."""
        return await self.logged(lambda line: line["event"] == name, name, times=times)

    async def says(self, words: str) -> dict[str, Any]:
        """Wait for a line with such a reason."""
        return await self.logged(lambda line: words in str(line.get("reason", "")), words)

    async def frozen(self) -> None:
        """Wait until it is stopped."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        await self._until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.code is not None or time.monotonic() > deadline:
                log = "".join(f"\n  {line}" for line in self.lines)
                pytest.fail(f"waited in vain (exit code {self.code}) until {what}:{log}")
            await asyncio.sleep(0.01)


def _show(log: Path) -> None:
    last = "\n".join(line[:_SHOWN] for line in log.read_text().splitlines()[-_SHOWN_LINES:])
    sys.stderr.write(f"{log.name}:\n{last}\n")


@asynccontextmanager
async def life(
    environment: dict[str, str], log: Path, roles: Sequence[str], *, point: str = "-", times: int = 1
) -> AsyncIterator[Life]:
    """Run `chainbell run` with these roles; it ends or freezes at a point (see `crash_run`). Its log goes to a file."""
    chosen = [word for role in roles for word in ("--role", role)]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash_run", point, str(times), "run", *chosen),
            env=environment | {"CHAINBELL_LOG_FORMAT": "json"},
            stderr=output,
            preexec_fn=die_with_parent,
        )
    try:
        yield Life(process, log)
    except BaseException:
        _show(log)
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
