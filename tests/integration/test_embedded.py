"""The embedded server belongs to its data directory, whatever happens to the processes that use it."""

import asyncio
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest

from chainbell.domain.errors import ChainbellError
from chainbell.storage.embedded import Binaries, EmbeddedServerError, embedded_server, find_binaries, stop_unused_server
from chainbell.storage.embedded.account import choose_account
from chainbell.storage.embedded.binaries import reachable
from chainbell.storage.embedded.postmaster import find_postmaster, processes_on
from chainbell.storage.embedded.socket_dir import socket_dir_for
from tests.postgres import TestCluster, scratch_folder

_DEADLINE_SECONDS = 60.0
_ROOT = os.geteuid() == 0
_CHECKOUT = Path(__file__).parents[2]


class Holder:
    """Another process that uses the server."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *sys.path])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded_holder", str(data_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            text=True,
        )
        self.said: list[str] = []

    def ready(self) -> str:
        """Wait for the server; return its connection string."""
        return self._line("dsn")

    def refused(self) -> str:
        """Wait for the error that keeps it from the server."""
        return self._line("error")

    def signal_group(self, number: int) -> None:
        """Signal the process and all of its group, as a terminal does."""
        os.killpg(self._process.pid, number)
        self._process.wait(_DEADLINE_SECONDS)

    def leave(self) -> None:
        """Let it end in order."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_DEADLINE_SECONDS)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self.signal_group(signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _line(self, wanted: str) -> str:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            if wanted in line:
                return str(line[wanted])
            self.said.append(str(line))
        message = f"the holder ended: {self.said}"
        raise AssertionError(message)


Hold = Callable[..., Holder]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start processes that use a server; none is left at the end."""
    with ExitStack() as ends:

        def start(data_dir: Path, *options: str) -> Holder:
            holder = Holder(data_dir, *options)
            ends.callback(holder.end)
            return holder

        yield start


@pytest.fixture(scope="module")
def made_before() -> Iterator[Path]:
    """Make a data directory that was used before, once, for tests that are not about its making."""

    async def use(data_dir: Path) -> None:
        async with embedded_server(data_dir):
            pass

    with scratch_folder() as folder:
        asyncio.run(use(folder / "data"))
        yield folder / "data"


@pytest.fixture
def used_dir(made_before: Path, data_dir: Path) -> Path:
    """Copy that data directory."""
    subprocess.run(["/bin/cp", "-a", made_before, data_dir], check=True)
    return data_dir


def _wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def _server_pid(data_dir: Path) -> int | None:
    server = find_postmaster(data_dir / "postgres", data_dir / "run")
    return server.pid if server else None


def _runs(data_dir: Path) -> bool:
    return bool(processes_on(data_dir / "postgres"))


def _starts(data_dir: Path) -> int:
    return (data_dir / "postgres.log").read_text().count("starting PostgreSQL")


async def _ask(data_dir: Path, question: str, binaries: Binaries | None = None) -> object:
    async with embedded_server(data_dir, binaries=binaries) as dsn:
        connection = await asyncpg.connect(dsn)
        answer: object = await connection.fetchval(question)
        await connection.close()
    return answer


def _works(data_dir: Path, binaries: Binaries | None = None) -> bool:
    return asyncio.run(_ask(data_dir, "select 42", binaries)) == 42


def test_the_first_starts_it_and_the_last_stops_it(data_dir: Path, hold: Hold) -> None:
    """Processes share one server; it runs until the last of them ends, and then ends in order."""
    first, second = hold(data_dir), hold(data_dir)
    assert first.ready() == second.ready()
    server = _server_pid(data_dir)
    first.leave()
    assert _works(data_dir)
    assert _server_pid(data_dir) == server
    second.leave()
    assert not _runs(data_dir)
    assert _starts(data_dir) == 1
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()


async def test_what_was_committed_is_there_after_a_stop(used_dir: Path) -> None:
    """Data outlives the server."""
    await _ask(used_dir, "create table kept as select 42 as answer")
    assert await _ask(used_dir, "select answer from kept") == 42


def test_nobody_else_can_enter(used_dir: Path, hold: Hold) -> None:
    """The data, the log and the socket are closed to other users."""
    hold(used_dir).ready()
    private = [used_dir / name for name in ("postgres", "run", "postgres.log", "postgres.lock", "postgres.users")]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in private] == [0] * len(private)
    assert not stat.S_IMODE(used_dir.stat().st_mode) & 0o067


def test_a_killed_starter_leaves_it_to_the_next(used_dir: Path, hold: Hold) -> None:
    """SIGKILL of the starter's whole group does not touch the server; the next process takes it over and stops it."""
    starter = hold(used_dir)
    starter.ready()
    server = _server_pid(used_dir)
    starter.signal_group(signal.SIGKILL)
    assert _server_pid(used_dir) == server
    heir = hold(used_dir)
    heir.ready()
    assert _server_pid(used_dir) == server
    heir.leave()
    assert not _runs(used_dir)


def test_ctrl_c_in_the_starters_terminal(used_dir: Path, hold: Hold) -> None:
    """SIGINT to the group of the starter reaches no server that others use; the last one stops it in order."""
    starter, other = hold(used_dir), hold(used_dir)
    starter.ready()
    other.ready()
    server = _server_pid(used_dir)
    starter.signal_group(signal.SIGINT)
    assert _server_pid(used_dir) == server
    other.signal_group(signal.SIGINT)
    assert not _runs(used_dir)
    assert (used_dir / "postgres.log").read_text().rstrip().endswith("database system is shut down")


def test_stopping_what_killed_processes_left(used_dir: Path, hold: Hold) -> None:
    """`stop_unused_server` leaves a server that somebody uses, and stops one that nobody uses."""
    holder = hold(used_dir)
    holder.ready()
    stop_unused_server(used_dir)
    assert _runs(used_dir)
    holder.signal_group(signal.SIGKILL)
    stop_unused_server(used_dir)
    assert not _runs(used_dir)


def test_a_race_ends_with_one_server(data_dir: Path, hold: Hold) -> None:
    """Four processes that start at once on an empty directory make one cluster and start one server."""
    holders = [hold(data_dir) for _ in range(4)]
    assert len({holder.ready() for holder in holders}) == 1
    assert _starts(data_dir) == 1
    for holder in holders:
        holder.leave()
    assert not _runs(data_dir)


async def test_nothing_that_was_committed_can_be_lost_or_reached_by_tcp(used_dir: Path) -> None:
    """The settings that matter are in force."""
    settings = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "listen_addresses": ""}
    async with embedded_server(used_dir) as dsn:
        connection = await asyncpg.connect(dsn)
        assert {name: await connection.fetchval(f"show {name}") for name in settings} == settings
        await connection.close()


async def test_processes_that_come_and_go(used_dir: Path) -> None:
    """Users that join while the last one leaves never find a server that is going away."""

    async def come_and_go() -> None:
        for _ in range(4):
            assert await _ask(used_dir, "select 42") == 42

    await asyncio.gather(*(come_and_go() for _ in range(3)))
    assert not _runs(used_dir)


@pytest.mark.parametrize("kind", ["a stranger", "another PostgreSQL"])
def test_the_pid_file_of_a_dead_server(used_dir: Path, hold: Hold, postgres_cluster: TestCluster, kind: str) -> None:
    """A pid that belongs to somebody else by now stops no start, and its process is left alone."""
    holder = hold(used_dir)
    holder.ready()
    names = (used_dir / "postgres" / "postmaster.pid", used_dir / "run" / ".s.PGSQL.5432.lock")
    left = {path: path.read_text() for path in names}
    pid = _server_pid(used_dir)
    assert pid is not None
    holder.signal_group(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    _wait_for(lambda: not _runs(used_dir), "the killed server's children end")
    account = choose_account(used_dir, used_dir / "postgres")
    stranger = subprocess.Popen(
        ["/bin/sleep", "600"], user=account.uid if _ROOT else None, cwd=used_dir / "postgres", start_new_session=True
    )
    try:
        somebody = stranger.pid if kind == "a stranger" else postgres_cluster.pid
        for path, text in left.items():
            path.write_text(text.replace(str(pid), str(somebody), 1))
        assert _works(used_dir)
        assert stranger.poll() is None
        with postgres_cluster.database(None):
            pass
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_server_that_dies_is_started_again(used_dir: Path) -> None:
    """A killed server comes back under the processes that use it, with what was committed."""
    async with embedded_server(used_dir) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("create table kept as select 42 as answer")
        pid = _server_pid(used_dir)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(_wait_for, lambda: _server_pid(used_dir) not in (pid, None), "a new server")
        connection.terminate()
        connection = await _connect_when_ready(dsn)
        assert await connection.fetchval("select answer from kept") == 42
        await connection.close()
    assert not _runs(used_dir)


async def _connect_when_ready(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while True:
            try:
                return await asyncpg.connect(dsn)
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.02)


def test_an_interrupted_initdb_is_repaired(data_dir: Path, hold: Hold) -> None:
    """SIGKILL in the middle of making the cluster leaves nothing that the next start would take for a cluster."""
    holder = hold(data_dir)
    _wait_for(lambda: list(data_dir.glob("postgres.new-*/PG_VERSION")), "initdb begins")
    holder.signal_group(signal.SIGKILL)
    assert not (data_dir / "postgres").exists()
    half_made = data_dir / "postgres.new-0123"
    half_made.mkdir(exist_ok=True)
    (half_made / "PG_VERSION").write_text("18\n")
    assert _works(data_dir)
    assert not half_made.exists()


def test_ctrl_c_while_starting(data_dir: Path, hold: Hold) -> None:
    """Who gives up during the first start leaves no process and no lock behind."""
    holder = hold(data_dir)
    _wait_for(lambda: list(data_dir.glob("postgres.new-*/PG_VERSION")), "initdb begins")
    holder.signal_group(signal.SIGINT)
    assert not list(data_dir.glob("postgres*/"))
    assert _works(data_dir)


async def test_cancelled_again_and_again_while_leaving(used_dir: Path) -> None:
    """An impatient second and third Ctrl-C does not keep the last one from stopping the server."""
    entered = asyncio.Event()

    async def use() -> None:
        async with embedded_server(used_dir):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await entered.wait()
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.01)
    assert task.cancelled()
    assert not _runs(used_dir)


@pytest.mark.parametrize("name", ["long-" * 30, "with a blank, and a comma", "weißes-ü"])
def test_paths_that_no_socket_can_have(data_dir: Path, hold: Hold, name: str) -> None:
    """Where the socket cannot be in the data directory, every process finds the same private folder elsewhere."""
    first, second = hold(data_dir / name), hold(data_dir / name)
    if _ROOT:
        data_dir.mkdir(mode=0o711, exist_ok=True)
    dsn = first.ready()
    assert second.ready() == dsn
    place = Path(dsn.partition("host=")[2].partition("&")[0])
    assert data_dir not in place.parents
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    first.leave()
    second.leave()
    assert not place.exists()


def test_a_socket_folder_that_somebody_else_made(data_dir: Path) -> None:
    """A folder in /tmp that is open to others is refused, by name."""
    long = data_dir / ("long-" * 30)
    long.mkdir(parents=True, mode=0o711)
    data_dir.chmod(0o711)
    place = socket_dir_for(long, choose_account(long, long / "postgres"))
    place.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedServerError, match=str(place)):
            _works(long)
    finally:
        place.rmdir()


def test_a_path_that_postgres_cannot_work_with(data_dir: Path) -> None:
    """A path that would be expanded by a shell is refused before anything is made in it."""
    data_dir.mkdir(mode=0o711)
    with pytest.raises(EmbeddedServerError, match="without special characters"):
        _works(data_dir / "$HOME")


def test_binaries_out_of_the_servers_reach(data_dir: Path, used_dir: Path) -> None:
    """Programs in a folder that the server's user cannot enter, or a shell would mistake, are copied once."""
    hidden = data_dir.parent / "$hidden"
    hidden.mkdir(mode=0o700)
    source = find_binaries().root
    target = hidden / source.parent.name / source.name
    shutil.copytree(source.parent.with_name(f"{source.parent.name}.libs"), hidden / f"{source.parent.name}.libs")
    for part in ("bin", "lib/postgresql", "share"):
        shutil.copytree(source / part, target / part)
    outdated = used_dir / "postgres-binaries-0123456789ab"
    outdated.mkdir()
    for _ in range(2):
        assert _works(used_dir, Binaries(target))
        copies = list(used_dir.glob("postgres-binaries-*"))
        assert len(copies) == 1
        assert outdated not in copies


def test_a_parent_folder_that_is_closed(data_dir: Path) -> None:
    """The closed folder is named and left as it is."""
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700 if _ROOT else 0o000)
    with pytest.raises(ChainbellError, match=f"{closed}.*CHAINBELL_DATA_DIR"):
        _works(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == (0o700 if _ROOT else 0o000)
    closed.chmod(0o700)


def test_an_unprivileged_owner_shares_with_root(data_dir: Path, hold: Hold) -> None:
    """The directory's owner runs the server as themselves; root, coming later, uses it and leaves it usable."""
    owner = pwd.getpwnam("nobody").pw_uid if _ROOT else os.getuid()
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, owner, -1)
    within_reach = reachable(find_binaries(), data_dir.parent, choose_account(data_dir, data_dir / "postgres"))
    options = ("--user", str(owner), "--binaries", str(within_reach.root)) if _ROOT else ()
    first, second = hold(data_dir, *options), hold(data_dir)
    assert first.ready() == second.ready()
    assert (data_dir / "postgres").stat().st_uid == owner
    first.leave()
    second.leave()
    assert not _runs(data_dir)
    again = hold(data_dir, *options)
    again.ready()
    again.leave()


def test_another_major_version(used_dir: Path) -> None:
    """Data of another PostgreSQL is refused with what to do, and left as it is."""
    (used_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match=r"PostgreSQL 17.*pg_upgrade") as refusal:
        _works(used_dir)
    assert "CHAINBELL_DATA_DIR" in str(refusal.value)
    assert (used_dir / "postgres" / "PG_VERSION").read_text() == "17\n"


def test_something_else_in_the_clusters_place(data_dir: Path) -> None:
    """Files that are no cluster are refused and left as they are."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "letters.txt").write_text("dear")
    with pytest.raises(EmbeddedServerError, match="no PostgreSQL data directory"):
        _works(data_dir)
    assert (data_dir / "postgres" / "letters.txt").read_text() == "dear"


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Put a small file system there, where we may; yield whether."""
    folder.mkdir(mode=0o711, exist_ok=True)
    mounted = (
        _ROOT
        and not subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", folder], check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["/bin/umount", folder], check=True)


def test_no_space_to_make_it(data_dir: Path, hold: Hold) -> None:
    """A disk too small for a cluster is told in initdb's own words; nothing half-made is left, and space heals it."""
    with _small_disk(data_dir.parent / "disk", "20m") as mounted:
        place = data_dir.parent / "disk" / "data"
        error = hold(place, *(() if mounted else ("--file-limit", "1000000"))).refused()
        assert re.search("free disk space|No space left on device" if mounted else "File (too large|size limit)", error)
        assert "try again" in error
        assert mounted == (" has 20 MB free" in error)
        assert not list(place.glob("postgres*/"))


def test_no_space_to_start_it(used_dir: Path) -> None:
    """A full disk is told in PostgreSQL's own words even if its log has no room for them; space heals it."""
    with _small_disk(used_dir.parent / "disk", "80m") as mounted:
        place = used_dir.parent / "disk" / "data"
        subprocess.run(["/bin/cp", "-a", used_dir, place], check=True)
        if not mounted:  # without a disk of our own to fill: what stands in the way of writing is an unwritable folder
            (place / "postgres").chmod(0o500)
        (place / "postgres.log").unlink()
        _fill(place / "filler", mounted=mounted)
        with pytest.raises(EmbeddedServerError, match="No space left on device" if mounted else "Permission denied"):
            _works(place)
        (place / "filler").unlink()
        (place / "postgres").chmod(0o700)
        assert _works(place)


def _fill(path: Path, *, mounted: bool) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while mounted:
                file.write(bytes(4096))
        except OSError:
            return
