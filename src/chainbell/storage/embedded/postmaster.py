"""Is a server running on this cluster, and which process is it? Read from the pid file, ``/proc`` and the socket.

The pid in ``postmaster.pid`` may by now belong to anybody, above all in a container whose pids start anew. A process is
the server only if it is a ``postgres`` whose working directory is the cluster.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chainbell.storage.embedded.socket_dir import answers

_PROC = Path("/proc")
_SOCKET_DIR_LINE = 4
_STATUS_LINE = 7


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server."""

    pid: int | None
    """None: it answers on its socket, but runs where its process cannot be seen (another container)."""
    socket_dir: Path
    ready: bool
    """False while it starts, recovers or stops."""


def pid_file(cluster: Path) -> Path:
    """Return the path of the file in which PostgreSQL notes its pid."""
    return cluster / "postmaster.pid"


def find_postmaster(cluster: Path, socket_dir: Path) -> Postmaster | None:
    """Return the server that runs on this cluster, or None. `socket_dir` is where to look if it noted no place yet."""
    try:
        lines = pid_file(cluster).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    noted = lines[_SOCKET_DIR_LINE].strip() if len(lines) > _SOCKET_DIR_LINE else ""
    place = Path(noted) if noted else socket_dir
    ready = len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
    if pid and _works_on(pid, cluster):
        return Postmaster(pid, place, ready)
    if answers(place):
        return Postmaster(None, place, ready)
    return None


def processes_on(cluster: Path) -> list[int]:
    """Return the pids of all PostgreSQL processes on this cluster: server, children, and orphans of a killed server."""
    return [pid for pid in _all_pids() if _works_on(pid, cluster)]


def _all_pids() -> Iterator[int]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def _works_on(pid: int, cluster: Path) -> bool:
    """Whether a process is a postgres on this cluster. The server's children have the title ``postgres: ...``."""
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    title = arguments[0]
    if not title.startswith(b"postgres:") and title.rpartition(b"/")[2] != b"postgres":
        return False
    try:
        return (_PROC / str(pid) / "cwd").readlink() == cluster
    except PermissionError:
        return os.fsencode(cluster) in arguments
    except (FileNotFoundError, ProcessLookupError):
        return False
