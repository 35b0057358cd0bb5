"""The installed `chainbell run`, as a program of its own whose log is read."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.command import COMMAND, SECRET_KEY, environment
from tests.nodes import die_with_parent


def entry(line: str) -> dict[str, Any]:
    """Read a line of the log; what a library or the interpreter wrote beside it stands as it is."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": line.rstrip("\n")}


@dataclass
class Running:
    """A `chainbell run` and what it logged so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, fits: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for a line of the log."""
        assert self.process.stderr is not None
        for line in self.lines:
            if fits(line):
                return line
        async with asyncio.timeout(60):
            while raw := await self.process.stderr.readline():
                self.lines.append(entry(raw.decode()))
                if fits(self.lines[-1]):
                    return self.lines[-1]
        pytest.fail(f"it ended before {what}: {self.lines}")

    async def event(self, name: str) -> dict[str, Any]:
        """Wait for an event of the log."""
        return await self.until(lambda line: line["event"] == name, name)

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(self.process.communicate(), 40)
        self.lines += [entry(line) for line in rest.decode().splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def running(folder: Path, *roles: str, **settings: str) -> AsyncIterator[Running]:
    """Run it in a folder of its own, with these roles (none: all) and the database of the settings."""
    chosen = [word for role in roles for word in ("--role", role)]
    defaults = {"SCREENING": "off", "SECRET_KEY": SECRET_KEY, "API_PORT": "0", "LOG_FORMAT": "json"}
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), "run", *chosen),
        cwd=folder,
        env=environment(**(defaults | settings)),
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
