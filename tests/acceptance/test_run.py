"""`chainbell run` as an operator runs it: what it says when something is wrong, and how it ends."""

import asyncio
import json
import socket
from pathlib import Path

import asyncpg
import pytest

from tests.command import SECRET_KEY, chainbell
from tests.nodes import Anvil
from tests.running import running

pytestmark = pytest.mark.timeout(120)


async def test_it_follows_serves_and_ends_in_order(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """SIGTERM ends it with code 0; its lease is given back, and status says where it stood."""
    async with running(tmp_path, DATABASE_URL=database_url, NODES__ANVIL=anvil.url) as run:
        api = (await run.event("running"))["api"]
        assert api.startswith("http://127.0.0.1:")
        await run.event("following")
        assert await run.stop() == 0
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select lease_until from chains") is None
    await connection.close()
    status = chainbell("status", "--json", cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    assert status.code == 0
    assert "anvil" in status.out


async def test_a_port_that_is_taken_is_said_at_once(database_url: str, tmp_path: Path) -> None:
    """Nothing starts, and the message names the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = chainbell(
            "run", cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY, SCREENING="off", API_PORT=port
        )
    assert ended.code == 1
    assert f"port {port} on 127.0.0.1 is taken" in ended.err
    assert "CHAINBELL_API_PORT" in ended.err


async def test_a_missing_key_is_a_start_up_error(database_url: str, tmp_path: Path) -> None:
    """With an operator's own database, the key that seals secrets is the operator's too."""
    ended = chainbell("run", cwd=tmp_path, DATABASE_URL=database_url, SCREENING="off", API_PORT="0")
    assert ended.code == 1
    assert "CHAINBELL_SECRET_KEY is missing" in ended.err


async def test_a_chain_definition_with_an_error_names_file_and_key(database_url: str, tmp_path: Path) -> None:
    """Nothing starts with a definition that is half right."""
    definition = (Path(__file__).parents[2] / "chains" / "anvil.toml").read_text()
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains" / "anvil.toml").write_text(definition + "\n[[tokens]]\nsymbol = 'T'\ncolour = 'red'\n")
    folder = str(tmp_path / "chains")
    ended = chainbell(
        "run", cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY, SCREENING="off", CHAINS_DIR=folder
    )
    assert ended.code == 1
    assert "anvil.toml" in ended.err
    assert "tokens[0].colour" in ended.err


async def test_it_waits_for_a_database_that_is_away_at_the_start(
    anvil: Anvil, empty_database_url: str, tmp_path: Path
) -> None:
    """It says so, tries again, and starts when the database is there."""
    name = empty_database_url.partition("?")[0].rpartition("/")[2]
    later = empty_database_url.replace(name, f"{name}_later")
    async with running(tmp_path, DATABASE_URL=later, NODES__ANVIL=anvil.url) as run:
        waiting = await run.event("waiting")
        assert "CHAINBELL_DATABASE_URL" in waiting["reason"]
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute(f'create database "{name}_later"')
        await run.event("following")
        assert await run.stop() == 0
        await connection.execute(f'drop database "{name}_later" with (force)')
        await connection.close()


async def test_a_node_of_another_chain_is_refused_loudly(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """It is an error in the log that names both chains, and the chain is not started on it."""
    async with running(tmp_path, DATABASE_URL=database_url, NODES__ETHEREUM=anvil.url) as run:
        refused = await run.event("node.wrong_chain")
        assert refused["level"] == "error"
        assert "expected chain id 1 (ethereum), found chain id 31337" in refused["reason"]
        assert await run.stop() == 0
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from chains") == 0
    await connection.close()


async def test_a_node_that_is_down_is_waited_for(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """Of two URLs the one that answers is used; alone, the one that is down is waited for, by name without secrets."""
    down = "http://user:hunter22@127.0.0.1:9/v3/0123456789abcdef0123456789abcdef"
    async with running(tmp_path, DATABASE_URL=database_url, NODES__ANVIL=f"{down},{anvil.url}") as run:
        await run.event("following")
        assert await run.stop() == 0
        logged = json.dumps(run.lines)
        assert "hunter22" not in logged
        assert "0123456789abcdef" not in logged


async def test_a_second_run_waits_for_the_first(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """One process follows a chain; another says that it waits, and takes over when the first has ended."""
    settings = {"DATABASE_URL": database_url, "NODES__ANVIL": anvil.url}
    async with running(tmp_path, **settings) as first, running(tmp_path, **settings) as second:
        leads = asyncio.create_task(first.event("following"))
        other = asyncio.create_task(second.event("following"))
        done, _ = await asyncio.wait([leads, other], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert done, "nobody follows"
        leader, follower, takes_over = (first, second, other) if leads in done else (second, first, leads)
        async with asyncio.timeout(30):  # `takes_over` reads the lines meanwhile
            while not any("follows this chain" in line.get("reason", "") for line in follower.lines):
                await asyncio.sleep(0.01)
        assert not takes_over.done()
        assert await leader.stop() == 0
        await takes_over
        assert await follower.stop() == 0


async def test_the_embedded_database_belongs_to_its_directory(anvil: Anvil, data_dir: Path, tmp_path: Path) -> None:
    """Without a database URL it makes its own, beside its key; commands share it, and the last one stops it."""
    async with running(tmp_path, DATA_DIR=str(data_dir), SECRET_KEY="", NODES__ANVIL=anvil.url) as run:
        await run.event("following")
        added = chainbell("address", "add", "anvil", "0x" + "a1" * 20, "--json", cwd=tmp_path, DATA_DIR=str(data_dir))
        assert added.code == 0, added.err
        assert await run.stop() == 0
    assert _mode(data_dir / "secret.key") == 0o600
    listed = chainbell("address", "list", "--json", cwd=tmp_path, DATA_DIR=str(data_dir))
    assert len(listed.lines) == 1
    assert not _exists(data_dir / "postgres" / "postmaster.pid")


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _exists(path: Path) -> bool:
    return path.exists()
