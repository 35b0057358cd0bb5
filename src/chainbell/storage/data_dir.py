"""Where Chainbell keeps what it owns on this machine: the embedded database, and the key that encrypts secrets."""

import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from chainbell.domain.errors import ConfigurationError

_SYSTEM_WIDE = Path("/var/lib/chainbell")


class DataDirError(ConfigurationError):
    """The data directory cannot be made or used; the message names it and says what to do."""


def default_data_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Return the data directory of a user who named none: ``/var/lib/chainbell`` for root, else in the home folder.

    A relative ``XDG_DATA_HOME`` is ignored, as the XDG Base Directory Specification asks. Raises `DataDirError` for a
    user without a home folder.
    """
    if uid == 0:
        return _SYSTEM_WIDE
    shared = Path(environ.get("XDG_DATA_HOME", ""))
    if shared.is_absolute():
        return shared / "chainbell"
    return _home(environ, uid) / ".local" / "share" / "chainbell"


def prepare_data_dir(path: Path) -> Path:
    """Make the data directory, readable by its owner alone, unless it is there; return its real, absolute path.

    Raises `DataDirError` when it cannot be made, is no directory, or may be written by everybody.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = path.resolve(strict=True)
        status = real.stat()
    except FileExistsError as error:
        message = f"{path} is not a directory: choose another CHAINBELL_DATA_DIR"
        raise DataDirError(message) from error
    except OSError as error:
        message = f"the data directory {path} cannot be made ({error.strerror}): choose another CHAINBELL_DATA_DIR"
        raise DataDirError(message) from error
    if status.st_mode & stat.S_IWOTH:
        message = f"everybody may write in {real}: choose another CHAINBELL_DATA_DIR, or run `chmod o-w {real}`"
        raise DataDirError(message)
    return real


def _home(environ: Mapping[str, str], uid: int) -> Path:
    home = Path(environ.get("HOME", ""))
    if home.is_absolute():
        return home
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError as error:
        message = f"user {uid} has no home folder: set CHAINBELL_DATA_DIR"
        raise DataDirError(message) from error
