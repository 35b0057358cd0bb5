"""Run one of PostgreSQL's programs as the server's user, with an end to it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from chainbell.storage.embedded.account import Account
from chainbell.storage.embedded.errors import EmbeddedServerError

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 10.0
_OUTPUT_TAIL_BYTES = 3000
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours: a PGDATA, PGOPTIONS or LD_PRELOAD of the caller is not for the server."""
_FIRST_UNREACHABLE = 'for path; do test -x "$path" || { printf %s "$path"; exit 1; }; done'


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended: what it printed last, and its exit code, or None when we ended it."""

    output: str
    code: int | None


def run_as(account: Account, command: Sequence[str], *, patience: float, interrupt: Event | None = None) -> Finished:
    """Run a program in a session of its own, so that a Ctrl-C meant for us does not reach it.

    It is ended (SIGINT, then SIGKILL) after `patience` seconds or when `interrupt` is set. Its output goes to a file in
    memory: a full disk keeps nobody from reading why it failed. Raises `EmbeddedServerError` when it cannot be started.
    """
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        process = _start(account, command, output)
        finished = _wait(process, patience, interrupt)
        size = os.fstat(output).st_size
        tail = os.pread(output, _OUTPUT_TAIL_BYTES, max(0, size - _OUTPUT_TAIL_BYTES))
    finally:
        os.close(output)
    return Finished(tail.decode(errors="replace").strip(), process.returncode if finished else None)


def first_unreachable(account: Account, paths: Iterable[Path]) -> Path | None:
    """Return the first of these folders and programs that the server's user may not enter or run."""
    answer = run_as(account, ["/bin/sh", "-c", _FIRST_UNREACHABLE, "sh", *map(str, paths)], patience=_GRACE_SECONDS)
    return None if answer.code == 0 else Path(answer.output)


def _start(account: Account, command: Sequence[str], output: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603 - no shell; PostgreSQL's own programs, and one constant script
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
            user=None if account.is_ours else account.uid,
            group=None if account.is_ours else account.gid,
            extra_groups=None if account.is_ours else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{command[0]} cannot be run as user {account.name} ({error}): see that it exists and may be executed"
        raise EmbeddedServerError(message) from error


def _wait(process: "subprocess.Popen[bytes]", patience: float, interrupt: Event | None) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and not (interrupt and interrupt.is_set()):
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return True
    for number in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, number)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        break
    return False
