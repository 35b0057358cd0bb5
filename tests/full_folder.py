"""A folder for temporary files that cannot be used, while nothing that derives keys is loaded yet."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chainbell.custody import public_derivation


class Room:
    """Where temporary files go: nowhere, until there is room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        """Have room from now on."""
        self._folder.mkdir()

    def take_away(self) -> None:
        """Have none again, and forget what was loaded meanwhile."""
        self._folder.rmdir()
        _unload()


@contextmanager
def no_room(folder: Path) -> Iterator[Room]:
    """Have no room for temporary files, as long as the body does not make it."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder / "away")
    _unload()
    try:
        yield Room(folder / "away")
    finally:
        tempfile.tempdir = before
        _unload()
        public_derivation.load()


def _unload() -> None:
    for cached in (public_derivation._at, public_derivation._load):
        cached.cache_clear()
