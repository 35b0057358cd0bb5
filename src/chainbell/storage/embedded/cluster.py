"""One cluster (PostgreSQL's word for a server's data): make it, start its server, stop it.

Everything here happens under the exclusive lock of `file_lock`, blocks, and talks to PostgreSQL's own programs.
"""

import os
import re
import secrets
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from chainbell.storage.embedded.account import Account
from chainbell.storage.embedded.binaries import MAJOR, Binaries, remove_other_copies
from chainbell.storage.embedded.child import Finished, run_as
from chainbell.storage.embedded.errors import EmbeddedServerError, InterruptedStartError
from chainbell.storage.embedded.postmaster import find_postmaster, pid_file, processes_on
from chainbell.storage.embedded.server_log import ServerLog
from chainbell.storage.embedded.socket_dir import discard_socket_dir, prepare_socket_dir, remove_socket

_INITDB_SECONDS = 300
_START_SECONDS = 600
"""Long, because a start after a crash first repeats what was not yet written to the tables."""
_STOP_SECONDS = 60
_ABORT_SECONDS = 15
_ORPHAN_SECONDS = 15.0
_CONFESSION_SECONDS = 15
_POLL_SECONDS = 0.05
_NEEDED_MEGABYTES = 60
_COMPLAINT = re.compile(r"^.*(FATAL|PANIC|could not|error:)", re.MULTILINE)
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
"""On the command line, so that no edited postgresql.conf weakens what must not be lost: it is other people's money."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of one data directory, and who runs it with what."""

    path: Path
    socket_dir: Path
    account: Account
    log_file: ServerLog
    say: Callable[[str], None]

    def create(self, binaries: Binaries, interrupt: Event) -> None:
        """Make the cluster if it is not there: beside its place, then renamed, so that a half-made one is never used.

        Raises `EmbeddedServerError` with what initdb said, or when what is there is no cluster of our version.
        """
        for leftover in self.path.parent.glob(f"{self.path.name}.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            self._refuse_a_foreign_cluster()
            return
        self.say(f"creating the embedded PostgreSQL {MAJOR} in {self.path}")
        temporary = self.path.with_name(f"{self.path.name}.new-{secrets.token_hex(4)}")
        temporary.mkdir(mode=0o700)
        try:
            self.account.own(temporary)
            self._initdb(binaries, temporary, interrupt)
            temporary.rename(self.path)
            _sync(self.path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def start(self, binaries: Binaries, interrupt: Event) -> None:
        """Start the server of an existing cluster that has none; it may still be recovering at the end.

        Raises `EmbeddedServerError` with what it said.
        """
        self._refuse_a_foreign_cluster()
        if not self._clear_the_way():
            return
        remove_other_copies(binaries, self.path.parent)
        prepare_socket_dir(self.socket_dir, self.account)
        self.say(f"starting the embedded PostgreSQL {MAJOR} in {self.path}")
        before = self.log_file.prepare()
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        command = [
            *(binaries.program("pg_ctl"), "start", "--wait", f"--timeout={_START_SECONDS}", f"--pgdata={self.path}"),
            *(f"--log={self.log_file.path}", f"--options={shlex.join(settings)}"),
        ]
        started = run_as(self.account, command, patience=_START_SECONDS + _ABORT_SECONDS, interrupt=interrupt)
        self._raise_if_interrupted(started, interrupt)
        if started.code != 0 and find_postmaster(self.path, self.socket_dir) is None:
            said = self.log_file.since(before)
            if not _COMPLAINT.search(said):
                said = self._confession(binaries, settings) or said or started.output
            raise self._failure(said, to="start")

    def stop(self, binaries: Binaries) -> None:
        """Stop the server in order, if one runs; never signals another process. Tells a failure, does not raise it."""
        running = find_postmaster(self.path, self.socket_dir)
        if running is None:
            return
        if running.pid is None:
            self.say(f"PostgreSQL in {self.path} runs where its process cannot be seen (another container?): left running")
            return
        pg_ctl = (binaries.program("pg_ctl"), "stop", "--wait", f"--pgdata={self.path}")
        for mode, seconds in (("fast", _STOP_SECONDS), ("immediate", _ABORT_SECONDS)):
            command = [*pg_ctl, f"--mode={mode}", f"--timeout={seconds}"]
            stopped = run_as(self.account, command, patience=seconds + _ABORT_SECONDS)
            if stopped.code == 0:
                discard_socket_dir(running.socket_dir)
                self.say(f"stopped the embedded PostgreSQL in {self.path}")
                return
            self.say(f"PostgreSQL (process {running.pid}) did not stop at `pg_ctl stop -m {mode}`: {stopped.output}")

    def _settings(self) -> dict[str, str]:
        return {**_SETTINGS, "unix_socket_directories": str(self.socket_dir)}

    def _initdb(self, binaries: Binaries, target: Path, interrupt: Event) -> None:
        command = [
            *(binaries.program("initdb"), f"--pgdata={target}", "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
        made = run_as(self.account, command, patience=_INITDB_SECONDS, interrupt=interrupt)
        self._raise_if_interrupted(made, interrupt)
        if made.code != 0:
            raise self._failure(made.output, to="be created")

    def _refuse_a_foreign_cluster(self) -> None:
        try:
            version = (self.path / "PG_VERSION").read_text().strip()
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"{self.path} is no PostgreSQL data directory: move it away, or choose another CHAINBELL_DATA_DIR"
            raise EmbeddedServerError(message) from error
        if version != MAJOR:
            message = (
                f"{self.path} was written by PostgreSQL {version}, and this Chainbell brings PostgreSQL {MAJOR}: "
                "start the Chainbell that wrote it, move it over with pg_upgrade or pg_dump (it takes both versions), "
                "or choose another CHAINBELL_DATA_DIR"
            )
            raise EmbeddedServerError(message)

    def _clear_the_way(self) -> bool:
        """Remove what a killed server left: its pid may be a stranger's by now, which would stop a start.

        Returns False when a server turns up meanwhile: one that a killed process had just begun to start.
        """
        deadline = time.monotonic() + _ORPHAN_SECONDS
        stale = _read(pid_file(self.path))
        while processes := processes_on(self.path):
            if find_postmaster(self.path, self.socket_dir):
                return False
            if time.monotonic() > deadline:
                pids = ", ".join(map(str, processes))
                message = f"PostgreSQL processes without a server still use {self.path} ({pids}): end them"
                raise EmbeddedServerError(message)
            time.sleep(_POLL_SECONDS)
        if _read(pid_file(self.path)) != stale:
            return False
        pid_file(self.path).unlink(missing_ok=True)
        remove_socket(self.socket_dir)
        return True

    def _confession(self, binaries: Binaries, settings: list[str]) -> str:
        """Start the server once more with its words going to memory: a full disk took them from the log."""
        command = [binaries.program("postgres"), "-D", str(self.path), *settings]
        return run_as(self.account, command, patience=_CONFESSION_SECONDS).output

    def _failure(self, said: str, *, to: str) -> EmbeddedServerError:
        complaint = _COMPLAINT.search(said)
        words = said[complaint.start() :] if complaint else said
        free = shutil.disk_usage(self.path.parent).free // 1_000_000
        return EmbeddedServerError(
            f"the embedded PostgreSQL in {self.path.parent} could not {to}. PostgreSQL said:\n{words}\n"
            f"Mend that and try again, or choose another CHAINBELL_DATA_DIR. Its disk has {free} MB free, "
            f"of which a new database takes {_NEEDED_MEGABYTES}; the log is {self.log_file.path}."
        )

    def _raise_if_interrupted(self, finished: Finished, interrupt: Event) -> None:
        if finished.code is None and interrupt.is_set():
            message = "interrupted while PostgreSQL was being started"
            raise InterruptedStartError(message)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _sync(folder: Path) -> None:
    """Make a rename in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
