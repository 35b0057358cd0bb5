"""Who lives, and who may start or stop the server: two flock files in the data directory.

* ``postgres.lock``, taken exclusively and shortly: only its holder starts or stops the server.
* ``postgres.users``, shared by every process that uses the server for as long as it lives. Whoever gets it exclusively
  (tried only under ``postgres.lock``) knows that nobody uses the server.

The kernel releases both when a process dies, however it dies. Python opens files close-on-exec, so that no child (least
of all the server) keeps a dead process's share. The files are never deleted: a lock on a deleted file excludes nobody.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from chainbell.storage.embedded.errors import EmbeddedServerError, InterruptedStartError

_POLL_SECONDS = 0.03
_TELL_AFTER_SECONDS = 2.0


class Share:
    """Our part in using the server; it ends with `close`, or with this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Say that we no longer use the server; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class ServerLocks:
    """The two lock files of one data directory; each call opens them anew, so that threads exclude each other too."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @contextmanager
    def exclusive(self, *, patience: float, interrupt: Event, log: Callable[[str], None]) -> Iterator[None]:
        """Be the only process that starts or stops the server.

        Raises `EmbeddedServerError` after `patience` seconds, `InterruptedStartError` when `interrupt` is set.
        """
        descriptor = self._open("postgres.lock")
        try:
            self._wait_for(descriptor, patience, interrupt, log)
            _sign(descriptor)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def exclusive_if_free(self) -> Iterator[bool]:
        """Yield whether we are, right now, the only process that starts or stops the server."""
        descriptor = self._open("postgres.lock")
        try:
            yield _try(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def share(self) -> Share:
        """Count as a user of the server from now on. Only under the exclusive lock."""
        descriptor = self._open("postgres.users")
        if not _try(descriptor, fcntl.LOCK_SH):
            os.close(descriptor)
            message = f"{self._data_dir / 'postgres.users'} is locked by a program that is not Chainbell: end that program"
            raise EmbeddedServerError(message)
        return Share(descriptor)

    def is_used(self) -> bool:
        """Whether any living process uses the server. Only under the exclusive lock."""
        descriptor = self._open("postgres.users")
        try:
            return not _try(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, patience: float, interrupt: Event, log: Callable[[str], None]) -> None:
        started = time.monotonic()
        told = False
        while not _try(descriptor, fcntl.LOCK_EX):
            waited = time.monotonic() - started
            if interrupt.is_set():
                message = "interrupted while another Chainbell process was starting or stopping PostgreSQL"
                raise InterruptedStartError(message)
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            if waited > patience:
                message = (
                    f"process {holder} has been starting or stopping the PostgreSQL in {self._data_dir} "
                    f"for {patience:.0f} s: look at it, and end it if it hangs"
                )
                raise EmbeddedServerError(message)
            if waited > _TELL_AFTER_SECONDS and not told:
                log(f"waiting for process {holder}, which is starting or stopping PostgreSQL")
                told = True
            interrupt.wait(_POLL_SECONDS)

    def _open(self, name: str) -> int:
        """Open a lock file; one made by root belongs to the directory's owner, who may come later without root."""
        path = self._data_dir / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            owner = self._data_dir.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


def _sign(descriptor: int) -> None:
    """Tell those who wait who we are; a full disk must not keep anybody from stopping the server."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _try(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
