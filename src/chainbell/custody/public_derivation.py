"""Public keys below an extended one (BIP32, public parent to public child), derived by bitcoinlib.

bitcoinlib is imported when the first key is derived (it takes a second), and kept from what it does beside: its files go to
a folder that is gone once it is loaded, its log is switched off, and its services, which ask third parties, stay unused.
While that folder cannot be made, everything here raises `UnavailableError`.
"""

import importlib
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from chainbell.custody.extended_key import ExtendedKey
from chainbell.domain.errors import UnavailableError

_FOLDER = "BCL_DATA_DIR"
_loading = threading.Lock()


def child_keys(key: ExtendedKey, steps: Sequence[int], indexes: Iterable[int]) -> list[bytes]:
    """Return the compressed public keys at these indexes below a path; 1.3 ms each, and longer for the first one."""
    parent = _at(key, tuple(steps))
    return [_child(parent, index) for index in indexes]


def load() -> None:
    """Import bitcoinlib, where that was not done. Raises `UnavailableError` while there is no room for its files."""
    _bitcoinlib()


def key_at(key: ExtendedKey, steps: Sequence[int]) -> bytes:
    """Return the compressed public key at a path."""
    return bytes(_at(key, tuple(steps)).public_byte)


def _child(parent: Any, index: int) -> bytes:  # noqa: ANN401 - bitcoinlib has no types
    key = bytes(parent.child_public(index).public_byte)
    time.sleep(0)  # other threads get the interpreter here, and need not wait until it is taken away from us
    return key


@lru_cache(maxsize=1024)
def _at(key: ExtendedKey, steps: tuple[int, ...]) -> Any:  # noqa: ANN401 - bitcoinlib has no types
    if steps:
        return _at(key, steps[:-1]).child_public(steps[-1])
    # The network would only decide how bitcoinlib writes the key, which it never does here.
    return _bitcoinlib().HDKey(
        key=key.public_key,
        chain=key.chain_code,
        depth=key.depth,
        parent_fingerprint=key.parent,
        child_index=key.number,
        is_private=False,
        network="bitcoin",
    )


def _bitcoinlib() -> Any:  # noqa: ANN401 - bitcoinlib has no types
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves a file open
        return _load()


@lru_cache(maxsize=1)
def _load() -> Any:  # noqa: ANN401 - bitcoinlib has no types
    before = os.environ.get(_FOLDER)
    try:
        with tempfile.TemporaryDirectory(prefix="chainbell-bitcoinlib-") as folder:
            os.environ[_FOLDER] = folder
            keys = importlib.import_module("bitcoinlib.keys")
            _silence()
    except OSError as error:
        _forget()
        message = (
            f"addresses of extended keys cannot be derived, because the folder for temporary files cannot be used: {error}. "
            "Free space there, or make it writable, and it goes on by itself; or name another in TMPDIR, and start again"
        )
        raise UnavailableError(message) from error
    finally:
        if before is None:
            os.environ.pop(_FOLDER, None)
        else:
            os.environ[_FOLDER] = before
    return keys


def _silence() -> None:
    log = logging.getLogger("bitcoinlib")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.disabled = True


def _forget() -> None:
    """Have the next try load all of it anew: what was loaded remembers a folder that is gone."""
    _silence()
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitcoinlib"]:
        del sys.modules[name]
