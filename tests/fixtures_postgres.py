"""Fixtures for tests that need PostgreSQL: a fresh database each, or a data directory of an embedded server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chainbell.storage.migrate import migrate
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
