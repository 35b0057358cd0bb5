"""Which user the server runs as.

PostgreSQL refuses to run as root, so a root process lends it an unprivileged user; others run it as themselves.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from chainbell.storage.embedded.errors import EmbeddedServerError

_CANDIDATES = ("chainbell", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """A user that PostgreSQL can run as."""

    uid: int
    gid: int
    name: str

    @property
    def is_ours(self) -> bool:
        """Whether this process runs as that user already."""
        return self.uid == os.geteuid()

    def own(self, path: Path) -> None:
        """Give a file or an empty directory that we made to this user."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_account(data_dir: Path, cluster: Path) -> Account:
    """Return the user for this data directory.

    Not root: ourselves. Root: the owner of the cluster, so that it keeps working; before there is one, the owner of the
    data directory; if that is root, the first that exists of ``chainbell``, ``postgres`` and ``nobody``.
    Raises `EmbeddedServerError` when there is none, or none that PostgreSQL would accept.
    """
    if os.geteuid() != 0:
        return _of(os.geteuid())
    exists = (cluster / "PG_VERSION").exists()
    owner = (cluster if exists else data_dir).stat().st_uid
    account = _of(owner) if owner else _system_user()
    if exists and not owner:
        message = (
            f"{cluster} belongs to root, and PostgreSQL does not run as root: "
            f"run `chown -R {account.name}: {cluster}` and start again"
        )
        raise EmbeddedServerError(message)
    return account


def _of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        message = (
            f"user {uid} has no name on this system, and PostgreSQL needs one: "
            "add it to /etc/passwd, run as another user, or set CHAINBELL_DATABASE_URL"
        )
        raise EmbeddedServerError(message) from error
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _system_user() -> Account:
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid:
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    message = (
        "PostgreSQL does not run as root, and there is no user to run it as: "
        "add one (`useradd --system chainbell`), run Chainbell as a normal user, or set CHAINBELL_DATABASE_URL"
    )
    raise EmbeddedServerError(message)
