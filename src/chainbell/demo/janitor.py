"""Runs one command of the demo and lets nothing of it outlive the demo, however that ends.

Started by path, as ``python -I janitor.py FOLDER COMMAND...``; it imports nothing of Chainbell, to be up at once. Its
standard input is a pipe whose other end only the demo holds: a byte asks the command to end (SIGTERM), the end of the pipe,
which a SIGKILL of the demo brings too, ends everything. A server that the command put into a session of its own (PostgreSQL)
is found all the same: this process is a "child subreaper" (prctl(2)), which inherits every orphan among its descendants.

Each janitor of a demo shares a lock on the demo's folder. Once all have let go of it, one of them removes the folder.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""Numbers of prctl(2), from linux/prctl.h."""

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_REMOVE_SECONDS = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Family:
    """The command and everything it started, as far as the kernel says that it is ours."""

    def __init__(self, command: Sequence[str]) -> None:
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._process = subprocess.Popen(  # noqa: S603 - the demo's own commands, no shell
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
        self.code: int | None = None
        signal.signal(signal.SIGCHLD, self._reap)
        self._reap()

    def ask_to_end(self) -> None:
        """Send SIGTERM to the command unless it ended."""
        self._send(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill the command; what it leaves may end by itself (PostgreSQL gives its shared memory back), then is killed."""
        self._send(self._process.pid, signal.SIGKILL)
        for number, patience in ((signal.SIGINT, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
            deadline = time.monotonic() + patience
            asked: set[int] = set()
            while self._reap() and time.monotonic() < deadline:
                for pid in set(_children()) - asked:
                    asked.add(pid)
                    _kill(pid, number)
                time.sleep(_POLL_SECONDS)

    def _send(self, pid: int, number: signal.Signals) -> None:
        if self.code is None:  # as long as it is not reaped, nobody else can have its pid
            _kill(pid, number)

    def _reap(self, _number: int = 0, _frame: FrameType | None = None) -> bool:
        """Take note of children that ended, and tell whether any are left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._process.pid:
                    self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
        return False


def main(folder: Path, command: Sequence[str]) -> int:
    """Run the command until the pipe on standard input ends; return the command's exit code, 1 if it was killed."""
    signal.signal(signal.SIGTERM, _leave)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    family = _Family(command)
    try:
        _close_outputs()
        while os.read(0, 1):
            family.ask_to_end()
    finally:
        family.end()
        os.close(lock)
        _remove(folder)
    return family.code if family.code is not None and family.code >= 0 else 1


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Take a SIGTERM, as at a shutdown of the machine, for the end of the pipe."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1)


def _close_outputs() -> None:
    """Let go of the command's output, so that whoever reads it sees its end when the command ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _remove(folder: Path) -> None:
    """Remove the folder when all its janitors have let go of it."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    fcntl.flock(lock, fcntl.LOCK_EX)
    deadline = time.monotonic() + _REMOVE_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _children() -> Iterator[int]:
    own = os.getpid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry.name}/stat").read_text(errors="replace")
                # "pid (name) state ppid ...": a name may hold blanks and brackets.
                if int(stat.rpartition(")")[2].split()[1]) == own:
                    yield int(entry.name)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
