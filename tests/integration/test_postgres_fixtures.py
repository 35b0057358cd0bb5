"""The databases that tests get, and what a killed test run leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from tests.postgres import postgres_in, scratch_folder

_CHECKOUT = Path(__file__).parents[2]
_TEST_RUN = """
import sys, time
from tests.postgres import TestCluster, scratch_folder
with scratch_folder() as folder:
    cluster = TestCluster(folder)
    print(folder, flush=True)
    time.sleep(600)
"""


async def test_each_test_has_its_own_migrated_database(database_url: str, empty_database_url: str) -> None:
    """A migrated database holds the schema; an empty one beside it does not."""
    tables = []
    for url in (database_url, empty_database_url):
        connection = await asyncpg.connect(url)
        tables.append(await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'"))
        await connection.close()
    assert tables[0] > 0
    assert tables[1] == 0


def test_a_killed_test_run_leaves_nothing() -> None:
    """Its server dies with it, and the next run removes its folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", _TEST_RUN], stdout=subprocess.PIPE, env=environment, text=True) as test_run:
        assert test_run.stdout is not None
        folder = Path(test_run.stdout.readline().strip())
        assert postgres_in(folder)
        test_run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while postgres_in(folder):
        assert time.monotonic() < deadline, "the server outlives its test run"
        time.sleep(0.01)
    with scratch_folder():
        assert not folder.exists()
