"""Fixtures for tests that need PostgreSQL: a fresh database each, or a data directory of an embedded server."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chainbell.storage.embedded import embedded_server
from chainbell.storage.migrate import migrate
from tests.embedded import Hold, Holder
from tests.postgres import Migrate, TestCluster, end_servers_in, scratch_folder


@pytest.fixture(scope="session")
def migrate_template() -> Migrate:
    """Return what makes the schema of `database_url`; override it to test with another."""
    return migrate


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[TestCluster]:
    """Run the server of this test process, started when a test first needs it."""
    with scratch_folder() as folder:
        cluster = TestCluster(folder)
        yield cluster
        cluster.close()


@pytest.fixture
def database_url(postgres_cluster: TestCluster, migrate_template: Migrate) -> Iterator[str]:
    """Make a fresh, migrated database."""
    with postgres_cluster.database(migrate_template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_cluster: TestCluster) -> Iterator[str]:
    """Make a fresh database without a schema."""
    with postgres_cluster.database(None) as url:
        yield url


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Name a data directory, not made yet, that an embedded server can use even as root; no server is left in it."""
    with scratch_folder() as folder:
        yield folder / "data"
        end_servers_in(folder)


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start processes that use a server; none is left at the end."""
    with ExitStack() as ends:

        def start(data_dir: Path, *options: str) -> Holder:
            holder = Holder(data_dir, *options)
            ends.callback(holder.end)
            return holder

        yield start


@pytest.fixture(scope="session")
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
