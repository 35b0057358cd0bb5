"""A throw-away PostgreSQL for tests: in memory, without fsync, and dead as soon as the test process is.

Every pytest process (every xdist worker) has its own: two starts side by side cost less than sharing would in locks.
"""

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from chainbell.storage.embedded.account import Account, choose_account
from chainbell.storage.embedded.binaries import find_binaries, reachable
from chainbell.storage.embedded.child import run_as
from chainbell.storage.embedded.postmaster import find_postmaster

_T = TypeVar("_T")
Migrate = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[object]]

_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp
_ENOUGH_BYTES = 1_000_000_000
_PREFIX = "chainbell-test-"
_START_SECONDS = 30.0
_FRESH_SECONDS = 60
"""A folder that young may have no lock file yet."""
_TEMPLATE = "chainbell_template"
_SETTINGS = (
    *("--listen_addresses=", "--fsync=off", "--synchronous_commit=off", "--full_page_writes=off", "--timezone=UTC"),
    *("--shared_buffers=32MB", "--max_connections=100", "--autovacuum=off", "--max_wal_size=256MB"),
    *("--wal_level=minimal", "--max_wal_senders=0", "--log_checkpoints=off", "--dynamic_shared_memory_type=mmap"),
)
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
parent, uid, gid, *command = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # 1: PR_SET_PDEATHSIG; after setuid, which clears it
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in memory that every user may enter; it is removed at the end, or by the next run after a kill."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    place = _MEMORY if roomy else Path(tempfile.gettempdir())
    _remove_stale(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    folder.chmod(0o711)
    descriptor = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


class TestCluster:
    """A running server whose databases are made from one migrated template."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cluster"
        self._socket_dir = folder / "socket"
        self._log = folder / "log"
        self._numbers = itertools.count()
        self._template: str | None = None
        self._thread = ThreadPoolExecutor(1, "test cluster")
        self._account = choose_account(folder, self._path)
        binaries = find_binaries()
        self._binaries = binaries if self._account.is_ours else reachable(binaries, folder, self._account)
        self._process = self._start()
        self._runner = self._thread.submit(asyncio.Runner).result()
        self._admin = self._call(asyncpg.connect(self.url("postgres")))

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def url(self, database: str) -> str:
        """Return the connection string of a database."""
        return f"postgresql://postgres:@/{database}?host={self._socket_dir}&port=5432"

    @contextmanager
    def database(self, migrate: Migrate | None) -> Iterator[str]:
        """Make a fresh database, a copy of the template that `migrate` made once, or an empty one; drop it at the end."""
        name = f"test_{next(self._numbers)}"
        template = "template1" if migrate is None else self._migrated(migrate)
        self._call(self._admin.execute(f"create database {name} template {template} strategy file_copy"))
        try:
            yield self.url(name)
        finally:
            self._call(self._admin.execute(f"drop database {name} with (force)"))

    def close(self) -> None:
        """Stop the server at once; nothing in it is worth keeping."""
        self._admin.terminate()
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def _migrated(self, migrate: Migrate) -> str:
        if self._template is None:
            self._call(self._admin.execute(f"create database {_TEMPLATE}"))
            self._call(_with_connection(self.url(_TEMPLATE), migrate))
            self._template = _TEMPLATE
        return self._template

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run SQL outside the test's own event loop, which may not even run."""
        return self._thread.submit(lambda: self._runner.run(work)).result()

    def _start(self) -> "subprocess.Popen[bytes]":
        for folder in (self._path, self._socket_dir):
            folder.mkdir(mode=0o700)
            self._account.own(folder)
        initdb = [self._binaries.program("initdb"), f"--pgdata={self._path}", "--username=postgres", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = run_as(self._account, [*initdb, "--no-sync"], patience=60)
        assert made.code == 0, made.output
        command = [self._binaries.program("postgres"), "-D", str(self._path), *_SETTINGS]
        process = _start_bound_to_us(self._account, [*command, f"--unix_socket_directories={self._socket_dir}"], self._log)
        deadline = time.monotonic() + _START_SECONDS
        while not ((server := find_postmaster(self._path, self._socket_dir)) and server.ready):
            assert time.monotonic() < deadline, self._log.read_text()
            assert process.poll() is None, self._log.read_text()
            time.sleep(0.01)
        return process


async def _with_connection(url: str, work: Migrate) -> None:
    connection = await asyncpg.connect(url)
    try:
        await work(connection)
    finally:
        await connection.close()


def _start_bound_to_us(account: Account, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a server that the kernel ends with this thread's process, through a fresh interpreter: we have threads."""
    launcher = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _DIE_WITH_PARENT,
        str(os.getpid()),
        str(account.uid),
        str(account.gid),
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
        )


def _remove_stale(place: Path) -> None:
    """End what killed test runs left: servers that survive on purpose (the embedded one), and folders."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            fresh = folder.stat().st_mtime > time.time() - _FRESH_SECONDS
            flags = os.O_RDWR | os.O_CLOEXEC | (0 if fresh else os.O_CREAT)
            descriptor = os.open(folder / "owner.lock", flags, 0o600)
        except OSError:  # being made or removed right now, or another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            end_servers_in(folder)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def end_servers_in(folder: Path) -> None:
    """End every PostgreSQL that works in a scratch folder, at once."""
    deadline = time.monotonic() + _START_SECONDS
    while pids := postgres_in(folder):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        assert time.monotonic() < deadline, f"PostgreSQL does not end: {pids}"
        time.sleep(0.02)


def postgres_in(folder: Path) -> list[int]:
    """Return the pids of every PostgreSQL that works in a scratch folder."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder) and b"postgres" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
