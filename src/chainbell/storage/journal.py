"""``registrations.ndjson``: who registered what, kept outside of the database, for the day when a backup is restored.

One JSON object a line, appended with fsync after each commit that registers or removes addresses, endpoints or API keys
(`storage/registrations.py` says what a line holds; no secret is among it). Several processes may share the file. Where it
cannot be written, the registration stands and an error is logged.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import structlog

from chainbell.domain.errors import InputError
from chainbell.storage.registrations import Action, Entry

FILE_NAME = "registrations.ndjson"

_CONSEQUENCE = "what was just registered is in the database, but after a restore nothing will tell that it is missing"

_log = structlog.get_logger()


class Journal:
    """Appends to one journal, in the name of one database."""

    def __init__(self, path: Path, installation: str, generation: int) -> None:
        self.path = path
        self._origin = {"installation": installation, "generation": generation}

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Append what was committed, durably. A failure is logged with all that is missing now; it undoes nothing."""
        data = b"".join(orjson.dumps(self._line(entry), option=orjson.OPT_APPEND_NEWLINE) for entry in entries)
        try:
            await asyncio.shield(asyncio.to_thread(_append, self.path, data))
        except OSError as error:
            _log.error(
                "registrations_not_journalled",
                path=str(self.path),
                reason=str(error),
                lost=[entry.action.value for entry in entries],
                consequence=_CONSEQUENCE,
            )

    def _line(self, entry: Entry) -> dict[str, Any]:
        return {"at": entry.at, **self._origin, "action": entry.action, **entry.members}


class MissingJournal:
    """Stands where no data directory can be made: says at each registration that nothing will remember it."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Warn."""
        _log.warning(
            "registrations_not_journalled",
            reason=self._reason,
            lost=[entry.action.value for entry in entries],
            consequence=_CONSEQUENCE,
        )


@dataclass(frozen=True, slots=True)
class JournalLines:
    """What journals say of one database, oldest first."""

    lines: Sequence[dict[str, Any]] = ()
    foreign: int = 0
    """Lines of other databases."""
    damaged: Sequence[str] = field(default_factory=tuple)
    """Where lines stand that cannot be read, as ``file:number``."""

    @property
    def newest_generation(self) -> int:
        """The highest generation that was ever in force, as far as the journals know; 0 without any line."""
        known = [max(line["generation"], line.get("newGeneration", 0)) for line in self.lines]
        return max(known, default=0)

    @property
    def begins_at(self) -> datetime | None:
        """When the oldest line was written."""
        return min((moment_of(line) for line in self.lines), default=None)


def moment_of(line: dict[str, Any]) -> datetime:
    """Return when a line was written."""
    return datetime.fromisoformat(line["at"])


def read_journals(paths: Iterable[Path], installation: str) -> JournalLines:
    """Read what journals say of a database, in the order of time. Raises `InputError` for a file that cannot be read."""
    lines: list[dict[str, Any]] = []
    damaged: list[str] = []
    foreign = 0
    for path in paths:
        for place, line in _read(path):
            if line is None:
                damaged.append(place)
            elif line["installation"] != installation:
                foreign += 1
            else:
                lines.append(line)
    return JournalLines(sorted(lines, key=moment_of), foreign, damaged)


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip():
                    yield f"{path}:{number}", _parsed(raw)
    except OSError as error:
        message = f"the journal {path} cannot be read ({error.strerror}): name another with --journal"
        raise InputError(message) from error


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """Return a line; None where it is torn, as by a disk that was full, or no line of ours."""
    try:
        line: dict[str, Any] = orjson.loads(raw)
        moment_of(line)
        Action(line["action"])
        whole = isinstance(line["installation"], str) and isinstance(line["generation"], int)
    except (ValueError, KeyError, TypeError):
        return None
    return line if whole else None


def _append(path: Path, data: bytes) -> None:
    """Append whole lines and wait until they are on disk; after a torn line they begin a new one."""
    made = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if made:
            _own_like(descriptor, path.parent)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written != len(data):
            message = f"only {written} of {len(data)} bytes could be written"
            raise OSError(message)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if made:
        _sync_folder(path.parent)


def _own_like(descriptor: int, folder: Path) -> None:
    """Give a file that root made to whom the data directory belongs, whose processes must write it too."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
