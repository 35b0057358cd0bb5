"""One process among those that use the server of a data directory: it joins, tends the server, and leaves."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from chainbell.storage.embedded.account import Account, choose_account
from chainbell.storage.embedded.binaries import Binaries, find_binaries, is_shell_safe, reachable
from chainbell.storage.embedded.child import first_unreachable
from chainbell.storage.embedded.cluster import Cluster
from chainbell.storage.embedded.errors import EmbeddedServerError, InterruptedStartError
from chainbell.storage.embedded.file_lock import ServerLocks, Share
from chainbell.storage.embedded.postmaster import find_postmaster
from chainbell.storage.embedded.server_log import ServerLog
from chainbell.storage.embedded.socket_dir import socket_dir_for

_JOIN_SECONDS = 900.0
_LEAVE_SECONDS = 120.0
_READY_SECONDS = 600.0
_MOST_STARTS = 3
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Server:
    cluster: Cluster
    binaries: Binaries


class Membership:
    """Our use of one data directory's server. Its methods block: call them in a thread."""

    def __init__(self, data_dir: Path, binaries: Binaries | None, say: Callable[[str], None]) -> None:
        self.interrupt = Event()
        """Set it when we want out: a start that is under way is given up."""
        self._data_dir = data_dir
        self._binaries = binaries
        self._say = say
        self._locks = ServerLocks(data_dir)
        self._server: _Server | None = None
        self._share: Share | None = None

    def join(self) -> Path:
        """Use the server from now on, starting it if it does not run; return the folder of its socket.

        Raises `EmbeddedServerError`; then nothing that we started is left.
        """
        with self._exclusively(_JOIN_SECONDS, self.interrupt):
            try:
                server = self._server = self._prepare()
                socket_dir = self._make_ready(server, create=True)
                self._share = self._locks.share()
            finally:
                if self._share is None:
                    self._stop_if_unused()
        return socket_dir

    def tend(self) -> None:
        """Keep the log small, and start a server that died under us. Raises `EmbeddedServerError` when it cannot be."""
        server = self._server
        if server is None:
            return
        with _described(self._data_dir), self._locks.exclusive_if_free() as free:
            if not free or self.interrupt.is_set():
                return
            server.cluster.log_file.bound()
            if find_postmaster(server.cluster.path, server.cluster.socket_dir) is None:
                self._say("the embedded PostgreSQL is gone; starting it again")
                self._make_ready(server, create=False)

    def leave(self) -> None:
        """Use the server no longer; the last one stops it. What goes wrong is told, not raised: we are going anyway."""
        share, self._share = self._share, None
        if share is None:
            return
        try:
            with self._exclusively(_LEAVE_SECONDS, Event()):
                share.close()
                self._stop_if_unused()
        except EmbeddedServerError as error:
            share.close()
            self._say(f"{error}\nPostgreSQL may be left running; the next Chainbell process takes it over")

    def stop_if_unused(self) -> None:
        """Stop a server that killed processes left, unless somebody uses it."""
        with self._exclusively(_JOIN_SECONDS, self.interrupt):
            self._server = self._prepare()
            self._stop_if_unused()

    @contextmanager
    def _exclusively(self, patience: float, interrupt: Event) -> Iterator[None]:
        with (
            _described(self._data_dir),
            self._locks.exclusive(patience=patience, interrupt=interrupt, log=self._say),
        ):
            yield

    def _prepare(self) -> _Server:
        if not is_shell_safe(self._data_dir):
            message = f"PostgreSQL cannot work in {self._data_dir}: choose a CHAINBELL_DATA_DIR without special characters"
            raise EmbeddedServerError(message)
        path = self._data_dir / "postgres"
        account = choose_account(self._data_dir, path)
        if not account.is_ours:
            _let_in(account, self._data_dir)
        binaries = self._binaries or find_binaries()
        if not account.is_ours or not is_shell_safe(binaries.root):
            binaries = reachable(binaries, self._data_dir, account)
        log_file = ServerLog(self._data_dir, account)
        return _Server(Cluster(path, socket_dir_for(self._data_dir, account), account, log_file, self._say), binaries)

    def _make_ready(self, server: _Server, *, create: bool) -> Path:
        """Wait for a server that starts or stops, start one where there is none, until one takes connections."""
        cluster, starts, deadline = server.cluster, 0, time.monotonic() + _READY_SECONDS
        while True:
            running = find_postmaster(cluster.path, cluster.socket_dir)
            if running and running.ready:
                return running.socket_dir
            if self.interrupt.is_set():
                message = "interrupted while PostgreSQL was being started"
                raise InterruptedStartError(message)
            if starts == _MOST_STARTS or time.monotonic() > deadline:
                message = f"the embedded PostgreSQL does not get ready: see {cluster.log_file.path} for the reason"
                raise EmbeddedServerError(message)
            if running:
                self.interrupt.wait(_POLL_SECONDS)
                continue
            if create:
                cluster.create(server.binaries, self.interrupt)
            cluster.start(server.binaries, self.interrupt)
            starts += 1

    def _stop_if_unused(self) -> None:
        if self._server and not self._locks.is_used():
            self._server.cluster.stop(self._server.binaries)


def _let_in(account: Account, data_dir: Path) -> None:
    """Let root's lent user pass through a data directory that is root's alone; it can read and list nothing in it.

    Folders above it are the operator's: they are named, never changed.
    """
    status = data_dir.stat()
    if status.st_uid == os.geteuid() and not status.st_mode & stat.S_IRWXG:
        os.chown(data_dir, -1, account.gid)
        data_dir.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXGRP)
    blocked = first_unreachable(account, [*reversed(data_dir.parents), data_dir])
    if blocked is not None:
        message = (
            f"PostgreSQL runs as user {account.name}, because it refuses to run as root, and that user may not enter "
            f"{blocked}: choose a CHAINBELL_DATA_DIR whose parent folders everybody may enter (/var/lib/chainbell, say)"
        )
        raise EmbeddedServerError(message)


@contextmanager
def _described(data_dir: Path) -> Iterator[None]:
    """Say what to do about a file that cannot be read, made or written."""
    try:
        yield
    except PermissionError as error:
        message = (
            f"{error.filename or data_dir} may not be used by user {os.geteuid()}: "
            f"run Chainbell as the user who owns {data_dir}, or choose another CHAINBELL_DATA_DIR"
        )
        raise EmbeddedServerError(message) from error
    except OSError as error:
        message = f"the embedded PostgreSQL in {data_dir}: {error}. Mend that, or choose another CHAINBELL_DATA_DIR"
        raise EmbeddedServerError(message) from error
