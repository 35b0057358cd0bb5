"""`chainbell address import` as it is installed: checked whole, killed, interrupted, and run again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from chainbell.custody.registration import BATCH_SIZE
from tests.api_client import CURSOR, api_house
from tests.bulk import address, csv, held_back, lines, somebody_waits
from tests.command import COMMAND, SECRET_KEY, chainbell, environment
from tests.nodes import die_with_parent

pytestmark = pytest.mark.timeout(300)

BATCHES = 5
IMPORT = ("address", "import", "anvil", "addresses.csv")


async def test_a_file_is_registered_and_once_more_is_harmless(database_url: str, tmp_path: Path) -> None:
    """People read one line of summary, programs a JSON line for each batch; conflicts are told, with code 3."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    (tmp_path / "addresses.csv").write_bytes(csv(1, 2, 3))
    async with api_house(database_url) as house:
        done = run(*IMPORT)
        assert (done.code, done.err) == (0, "")
        assert done.out == (
            f"anvil: 3 registered, covered from block {CURSOR + 1} on at the latest; 0 watched before; 0 not registered\n"
        )
        again = run(*IMPORT, "--json", "--from-height", "0", "--no-notify")
        assert again.code == 0
        assert [line["type"] for line in again.lines] == ["batch", "summary"]
        assert again.lines[1] == {"type": "summary", "registered": 0, "already": 3, "conflicts": 0}
        (tmp_path / "addresses.csv").write_bytes(csv(5))
        past = run(*IMPORT, "--from-height", "0", "--no-notify")
        assert "`chainbell scan list --unfinished --chain anvil` shows how far that is" in past.out.splitlines()[1]
        account = await house.account()
        (tmp_path / "addresses.csv").write_bytes(csv(3, 4))
        conflict = run(*IMPORT, "--account", account)
        assert conflict.code == 3
        assert f"line 2: {address(3)}: another account watches this address already" in conflict.err.lower()
        assert "1 registered" in conflict.out
        assert "1 not registered" in conflict.out


async def test_bad_lines_are_told_and_nothing_is_registered(database_url: str, tmp_path: Path) -> None:
    """Each with its number, on stderr, or as JSON; the code is 1. What cannot be meant is wrong usage, or said in words."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    (tmp_path / "addresses.csv").write_bytes(csv(1, 2) + b"0x12\n" + csv(2).removeprefix(b"address\n"))
    async with api_house(database_url) as house:
        refused = run(*IMPORT)
        assert (refused.code, refused.out) == (1, "")
        assert "line 4: '0x12' is not an address" in refused.err
        assert "line 5: the same address stands in line 3" in refused.err
        assert refused.err.endswith(
            "2 lines are wrong, and nothing was registered: mend the file, and run the same command again\n"
        )
        (told,) = run(*IMPORT, "--json").lines
        assert ([bad["line"] for bad in told["badLines"]], told["badLineTotal"]) == ([4, 5], 2)
        assert run(*IMPORT, "--from-height", "7").code == 2
        assert run(*IMPORT, "--notify").code == 2
        assert run("address", "import", "anvil", "nowhere.csv").code == 2
        (tmp_path / "addresses.txt").write_bytes(csv(1))
        unnamed = run("address", "import", "anvil", "addresses.txt")
        assert unnamed.code == 1
        assert "--format" in unnamed.err
        assert await house.fetchval("select count(*) from addresses") == 0


async def test_standard_input_is_read(database_url: str, tmp_path: Path) -> None:
    """A file named - is what is piped in; its format is said."""
    async with api_house(database_url) as house:
        words = [str(COMMAND), "address", "import", "anvil", "-", "--format", "ndjson"]
        settings = environment(DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
        body = f'{{"address": "{address(1)}", "label": "piped"}}\n'.encode()
        done = await asyncio.create_subprocess_exec(
            *words, cwd=tmp_path, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent
        )
        told, _ = await asyncio.wait_for(done.communicate(body), 60)
        assert done.returncode == 0
        assert b"1 registered" in told
        assert await house.fetchval("select label from addresses") == "piped"


@asynccontextmanager
async def _stuck_in_the_fourth_batch(folder: Path, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an import up to where its fourth batch waits for somebody else."""
    (folder / "addresses.csv").write_bytes(csv(*range(BATCHES * BATCH_SIZE)))
    async with held_back(url, 3 * BATCH_SIZE + 500) as other:
        process = await asyncio.create_subprocess_exec(
            *(str(COMMAND), *IMPORT),
            cwd=folder,
            env=environment(DATABASE_URL=url, SECRET_KEY=SECRET_KEY),
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        try:
            await somebody_waits(other)
            assert await other.fetchval("select count(*) from addresses") == 3 * BATCH_SIZE
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_what_was_registered_stands_and_the_same_again_goes_on(
    database_url: str, tmp_path: Path, how: signal.Signals
) -> None:
    """Killed or interrupted, whole batches are there; Ctrl-C says how to go on; the next run registers the rest, once."""
    async with api_house(database_url) as house:
        async with _stuck_in_the_fourth_batch(tmp_path, database_url) as process:
            os.kill(process.pid, how)
            _, told = await asyncio.wait_for(process.communicate(), 60)
        if how is signal.SIGINT:
            assert process.returncode == 130
            assert told.decode().endswith(
                f"broken off: {3 * BATCH_SIZE:,} addresses were registered and stand. "
                "The same command again goes on: it registers only what is missing\n"
            )
        assert await house.fetchval("select count(*) from addresses") == 3 * BATCH_SIZE
        again = chainbell(*IMPORT, "--json", cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
        assert again.code == 0, again.err
        assert [line["registered"] for line in lines(again.out)[:-1]] == [0, 0, 0, BATCH_SIZE, BATCH_SIZE]
        assert await house.fetchval("select count(distinct address) from addresses") == BATCHES * BATCH_SIZE
        assert await house.fetchval("select count(*) from addresses") == BATCHES * BATCH_SIZE
