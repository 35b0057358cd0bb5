"""The server's log, ``postgres.log`` in the data directory: kept small, and read when a start fails."""

import os
from pathlib import Path

from chainbell.storage.embedded.account import Account

_LIMIT_BYTES = 10_000_000
_KEPT_BYTES = 1_000_000
_TAIL_BYTES = 3000


class ServerLog:
    """At most 10 MB between two looks at it, plus the last megabyte of what was before, in ``postgres.log.1``."""

    def __init__(self, data_dir: Path, account: Account) -> None:
        self.path = data_dir / "postgres.log"
        self._previous = data_dir / "postgres.log.1"
        self._account = account

    def prepare(self) -> int:
        """Make the file, for the server's user alone; return its size, from where `since` reads what comes next."""
        self.bound()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
            self._account.own(self.path)

    def since(self, offset: int) -> str:
        """Return the last 3 kB of what was written after `offset`."""
        with self.path.open("rb") as file:
            file.seek(max(offset, self.path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def bound(self) -> None:
        """Empty a log over 10 MB; the server goes on writing in it, since it appends."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size <= _LIMIT_BYTES:
            return
        with self.path.open("rb") as file:
            file.seek(size - _KEPT_BYTES)
            kept = file.read(_KEPT_BYTES)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._previous, flags, 0o600)
        try:
            os.write(descriptor, kept)
        finally:
            os.close(descriptor)
            os.truncate(self.path, 0)
