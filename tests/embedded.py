"""What tests of the embedded server need: other processes that use it, and a look at what runs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

from chainbell.storage.embedded import Binaries, embedded_server
from chainbell.storage.embedded.postmaster import find_postmaster, processes_on

DEADLINE_SECONDS = 60.0
ROOT = os.geteuid() == 0
_CHECKOUT = Path(__file__).parents[1]


class Holder:
    """Another process that uses the server."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *sys.path])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded_holder", str(data_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            text=True,
        )
        self.said: list[str] = []

    def ready(self) -> str:
        """Wait for the server; return its connection string."""
        return self._line("dsn")

    def refused(self) -> str:
        """Wait for the error that keeps it from the server."""
        return self._line("error")

    def signal_group(self, number: int) -> None:
        """Signal the process and all of its group, as a terminal does."""
        os.killpg(self._process.pid, number)
        self._process.wait(DEADLINE_SECONDS)

    def leave(self) -> None:
        """Let it end in order."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self.signal_group(signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _line(self, wanted: str) -> str:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            if wanted in line:
                return str(line[wanted])
            self.said.append(str(line))
        message = f"the holder ended: {self.said}"
        raise AssertionError(message)


Hold = Callable[..., Holder]


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def server_pid(data_dir: Path) -> int | None:
    server = find_postmaster(data_dir / "postgres", data_dir / "run")
    return server.pid if server else None


def runs(data_dir: Path) -> bool:
    return bool(processes_on(data_dir / "postgres"))


def starts(data_dir: Path) -> int:
    return (data_dir / "postgres.log").read_text().count("starting PostgreSQL")


async def ask(data_dir: Path, question: str, binaries: Binaries | None = None) -> object:
    async with embedded_server(data_dir, binaries=binaries) as dsn:
        connection = await asyncpg.connect(dsn)
        answer: object = await connection.fetchval(question)
        await connection.close()
    return answer


def works(data_dir: Path, binaries: Binaries | None = None) -> bool:
    return asyncio.run(ask(data_dir, "select 42", binaries)) == 42
