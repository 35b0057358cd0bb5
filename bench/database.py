"""The database of a measurement: the embedded server as operators run it, with every durability setting, migrated."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chainbell.storage.database import Database
from chainbell.storage.embedded.server import embedded_server
from chainbell.storage.migrate import migrate


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    """A database that nobody else uses."""

    dsn: str
    database: Database


@asynccontextmanager
async def fresh_database() -> AsyncIterator[BenchDatabase]:
    """Start a server in a folder of its own on the disk, and take both away at the end."""
    with tempfile.TemporaryDirectory(prefix="chainbell-bench-") as folder:
        _let_through(Path(folder))
        async with embedded_server(Path(folder) / "data") as dsn, Database.open(dsn) as database:
            async with database.connection() as connection:
                await migrate(connection)
            yield BenchDatabase(dsn, database)


def _let_through(folder: Path) -> None:
    """Let other accounts pass: root hands the server to one of them, which must get at its data."""
    folder.chmod(0o711)
