"""Everything that a run of the demo leaves on this machine while it lasts: one folder, and processes under a janitor each.

Both go when the demo ends, in whatever way: see `janitor`.
"""

import asyncio
import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from chainbell.demo import janitor
from chainbell.demo.errors import DemoError

_T = TypeVar("_T")
_JANITOR = janitor.__file__
_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - only mkdtemp makes folders in them
_STOP_SECONDS = 20.0
_CLOSE_SECONDS = 30.0
_LINES_KEPT = 60
_LINE_BYTES = 1 << 20


class Guarded:
    """One long-running command; what it prints is read all the time, and its last lines are kept."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.ended = asyncio.Event()
        """Set when the command has closed its output, which it does when it ends."""
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._reading: asyncio.Task[None] | None = None

    @property
    def last_words(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self._lines)

    async def announcement(self, find: Callable[[str], _T | None], *, patience: float) -> _T:
        """Return what `find` makes of the first line in which it finds something. To be called once, at the start.

        Raises `DemoError` when the command ends before, or says nothing of the kind for `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                while (line := await self._read_line()) is not None:
                    if (found := find(line)) is not None:
                        self._reading = asyncio.create_task(self._read_on(), name=f"read {self.name}")
                        return found
        except TimeoutError:
            message = f"{self.name} was not ready after {patience:.0f} s. Its last words:\n{self.last_words}"
            raise DemoError(message) from None
        message = f"{self.name} ended at its start. Its last words:\n{self.last_words}"
        raise DemoError(message)

    async def ask_to_end(self) -> None:
        """Send it SIGTERM, and give it time to end in order."""
        if not self.ended.is_set() and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError, TimeoutError):
                self._process.stdin.write(b".")
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.ended.wait()

    def let_go(self) -> None:
        """Close the janitor's pipe: the command, and whatever it started, is killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def gone(self) -> None:
        """Wait until the janitor is through."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._process.wait()
                if self._reading is not None:
                    await self._reading

    async def _read_line(self) -> str | None:
        if self._process.stdout is None or not (line := await self._process.stdout.readline()):
            self.ended.set()
            return None
        text = line.decode(errors="replace").rstrip()
        self._lines.append(text)
        return text

    async def _read_on(self) -> None:
        while await self._read_line() is not None:
            pass


class Sandbox:
    """A fresh folder, and the commands that run in it."""

    def __init__(self) -> None:
        self.folder = Path()
        self._guarded: list[Guarded] = []

    async def __aenter__(self) -> Self:
        """Make the folder, one that PostgreSQL's unprivileged user can pass through when we are root."""
        self.folder = _fresh_folder()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every command, and remove the folder; in good order, the last started first, only if all went well."""
        try:
            for guarded in reversed(self._guarded) if error is None else ():
                await guarded.ask_to_end()
        finally:
            for guarded in self._guarded:
                guarded.let_go()
            for guarded in self._guarded:
                await guarded.gone()
            shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Guarded:
        """Start a command with the folder as its current directory; `name` is what messages call it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", _JANITOR, str(self.folder), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=self.folder,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        guarded = Guarded(name, process)
        self._guarded.append(guarded)
        return guarded


def _fresh_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="chainbell-demo-", dir=_place())).resolve()
    folder.chmod(0o711)
    return folder


def _place() -> str:
    """Return where temporary folders go; for root the first such place that every user may pass through."""
    usual = tempfile.gettempdir()
    if os.geteuid() != 0:
        return usual
    return next((place for place in (usual, *_PLACES) if _is_open(Path(place))), usual)


def _is_open(place: Path) -> bool:
    try:
        real = place.resolve(strict=True)
        return all(part.stat().st_mode & stat.S_IXOTH for part in (real, *real.parents))
    except OSError:
        return False
