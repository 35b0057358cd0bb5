"""The embedded server belongs to its data directory, whatever happens to the processes that use it."""

import asyncio
import os
import signal
import stat
import subprocess
from pathlib import Path

import asyncpg
import pytest

from chainbell.storage.embedded import embedded_server, stop_unused_server
from chainbell.storage.embedded.account import choose_account
from tests.embedded import DEADLINE_SECONDS, ROOT, Hold, ask, runs, server_pid, starts, wait_for, works
from tests.postgres import TestCluster


def test_the_first_starts_it_and_the_last_stops_it(data_dir: Path, hold: Hold) -> None:
    """Processes share one server; it runs until the last of them ends, and then ends in order."""
    first, second = hold(data_dir), hold(data_dir)
    assert first.ready() == second.ready()
    server = server_pid(data_dir)
    first.leave()
    assert works(data_dir)
    assert server_pid(data_dir) == server
    second.leave()
    assert not runs(data_dir)
    assert starts(data_dir) == 1
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()


async def test_what_was_committed_is_there_after_a_stop(used_dir: Path) -> None:
    """Data outlives the server."""
    await ask(used_dir, "create table kept as select 42 as answer")
    assert await ask(used_dir, "select answer from kept") == 42


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
    server = server_pid(used_dir)
    starter.signal_group(signal.SIGKILL)
    assert server_pid(used_dir) == server
    heir = hold(used_dir)
    heir.ready()
    assert server_pid(used_dir) == server
    heir.leave()
    assert not runs(used_dir)


def test_ctrl_c_in_the_starters_terminal(used_dir: Path, hold: Hold) -> None:
    """SIGINT to the group of the starter reaches no server that others use; the last one stops it in order."""
    starter, other = hold(used_dir), hold(used_dir)
    starter.ready()
    other.ready()
    server = server_pid(used_dir)
    starter.signal_group(signal.SIGINT)
    assert server_pid(used_dir) == server
    other.signal_group(signal.SIGINT)
    assert not runs(used_dir)
    assert (used_dir / "postgres.log").read_text().rstrip().endswith("database system is shut down")


def test_stopping_what_killed_processes_left(used_dir: Path, hold: Hold) -> None:
    """`stop_unused_server` leaves a server that somebody uses, and stops one that nobody uses."""
    holder = hold(used_dir)
    holder.ready()
    stop_unused_server(used_dir)
    assert runs(used_dir)
    holder.signal_group(signal.SIGKILL)
    stop_unused_server(used_dir)
    assert not runs(used_dir)


def test_a_race_ends_with_one_server(data_dir: Path, hold: Hold) -> None:
    """Four processes that start at once on an empty directory make one cluster and start one server."""
    holders = [hold(data_dir) for _ in range(4)]
    assert len({holder.ready() for holder in holders}) == 1
    assert starts(data_dir) == 1
    for holder in holders:
        holder.leave()
    assert not runs(data_dir)


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
            assert await ask(used_dir, "select 42") == 42

    await asyncio.gather(*(come_and_go() for _ in range(3)))
    assert not runs(used_dir)


@pytest.mark.parametrize("kind", ["a stranger", "another PostgreSQL"])
def test_the_pid_file_of_a_dead_server(used_dir: Path, hold: Hold, postgres_cluster: TestCluster, kind: str) -> None:
    """A pid that belongs to somebody else by now stops no start, and its process is left alone."""
    holder = hold(used_dir)
    holder.ready()
    names = (used_dir / "postgres" / "postmaster.pid", used_dir / "run" / ".s.PGSQL.5432.lock")
    left = {path: path.read_text() for path in names}
    pid = server_pid(used_dir)
    assert pid is not None
    holder.signal_group(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not runs(used_dir), "the killed server's children end")
    account = choose_account(used_dir, used_dir / "postgres")
    stranger = subprocess.Popen(
        ["/bin/sleep", "600"], user=account.uid if ROOT else None, cwd=used_dir / "postgres", start_new_session=True
    )
    try:
        somebody = stranger.pid if kind == "a stranger" else postgres_cluster.pid
        for path, text in left.items():
            path.write_text(text.replace(str(pid), str(somebody), 1))
        assert works(used_dir)
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
        pid = server_pid(used_dir)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: server_pid(used_dir) not in (pid, None), "a new server")
        connection.terminate()
        connection = await _connect_when_ready(dsn)
        assert await connection.fetchval("select answer from kept") == 42
        await connection.close()
    assert not runs(used_dir)


async def _connect_when_ready(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await asyncpg.connect(dsn)
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.02)


def test_an_interrupted_initdb_is_repaired(data_dir: Path, hold: Hold) -> None:
    """SIGKILL in the middle of making the cluster leaves nothing that the next start would take for a cluster."""
    holder = hold(data_dir)
    wait_for(lambda: list(data_dir.glob("postgres.new-*/PG_VERSION")), "initdb begins")
    holder.signal_group(signal.SIGKILL)
    assert not (data_dir / "postgres").exists()
    half_made = data_dir / "postgres.new-0123"
    half_made.mkdir(exist_ok=True)
    (half_made / "PG_VERSION").write_text("18\n")
    assert works(data_dir)
    assert not half_made.exists()


def test_ctrl_c_while_starting(data_dir: Path, hold: Hold) -> None:
    """Who gives up during the first start leaves no process and no lock behind."""
    holder = hold(data_dir)
    wait_for(lambda: list(data_dir.glob("postgres.new-*/PG_VERSION")), "initdb begins")
    holder.signal_group(signal.SIGINT)
    assert not list(data_dir.glob("postgres*/"))
    assert works(data_dir)


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
    assert not runs(used_dir)
