"""The private folder of the server's unix socket, the only way in.

Connections are trusted without a password because only the server's user and root can enter this folder (mode 0700),
and whoever is that user or root can read the database's files anyway: a password beside them would protect nothing.
"""

import hashlib
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path

from chainbell.storage.embedded.account import Account
from chainbell.storage.embedded.errors import EmbeddedServerError

PORT = 5432
"""Only part of the socket's name: the server has no TCP port."""

_SOCKET = f".s.PGSQL.{PORT}"
_PATH_LIMIT = 107
"""Bytes of a unix socket's path on Linux (unix(7): ``sun_path`` holds 108 with its end)."""
_SHARED = Path("/tmp")  # noqa: S108 - the folder made in it is checked to be private and the server user's own
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_CONNECT_SECONDS = 2.0


def socket_dir_for(data_dir: Path, account: Account) -> Path:
    """Return where the server of this data directory puts its socket, the same for every process that asks.

    That is in the data directory, unless its path is too long for a socket or holds what means something in connection
    strings (a comma, a blank, ...): then a folder in ``/tmp`` named after a hash of the path.
    """
    inside = data_dir / "run"
    if len(os.fsencode(inside / _SOCKET)) <= _PATH_LIMIT and _PLAIN.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return _SHARED / f"chainbell-{account.uid}-{digest}"


def prepare_socket_dir(path: Path, account: Account) -> None:
    """Make the folder (mode 0700) for the server's user. Raises `EmbeddedServerError` when it is somebody else's."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
        account.own(path)
        status = path.lstat()
    private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    if not private or status.st_uid != account.uid:
        message = (
            f"{path}, the folder for PostgreSQL's socket, is not a private folder of user {account.name}: "
            "remove it, or choose another (shorter) CHAINBELL_DATA_DIR"
        )
        raise EmbeddedServerError(message)


def answers(path: Path) -> bool:
    """Whether a server listens on the socket in this folder."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path / _SOCKET))
        except OSError:
            return False
        return True


def remove_socket(path: Path) -> None:
    """Remove what a dead server left; the pid in its lock file may be a stranger's by now, which would stop a start."""
    for name in (_SOCKET, f"{_SOCKET}.lock"):
        (path / name).unlink(missing_ok=True)


def discard_socket_dir(path: Path) -> None:
    """Remove the folder after the server stopped; the next start makes it anew."""
    with suppress(OSError):
        path.rmdir()
