"""Numbered .sql files, applied in order, each once, under a lock."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from chainbell.domain.errors import ConfigurationError
from chainbell.storage.database import Connection
from chainbell.storage.locks import lock_migration

LONGEST_SECONDS = 86_400.0
"""An index over years of events takes as long as it takes."""

_TABLE = """
create table if not exists schema_migrations (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: ``0001_initial.sql`` and what stands in it."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hash of the text: an applied migration never changes again."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return what this version ships, in order."""
    folder = resources.files("chainbell.storage") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(file.name, file.read_text(encoding="utf-8")) for file in files]


async def migrate(connection: Connection) -> list[str]:
    """Bring the schema up to date in one transaction, and return the names of what was applied.

    Raises `ConfigurationError` when the database was written by a newer version, or an applied migration was changed.
    """
    shipped = migrations()
    # Whatever the default is: what another one migrated while we waited for the lock must be seen.
    async with connection.transaction(isolation="read_committed"):
        await lock_migration(connection)
        await connection.execute(_TABLE)
        applied = await _applied(connection)
        _refuse_a_foreign_schema(shipped, applied)
        missing = [migration for migration in shipped if migration.name not in applied]
        for migration in missing:
            await connection.execute(migration.sql, timeout=LONGEST_SECONDS)
            await connection.execute(
                "insert into schema_migrations (name, sha256) values ($1, $2)", migration.name, migration.sha256
            )
    return [migration.name for migration in missing]


async def missing_migrations(connection: Connection) -> list[str]:
    """Return the names of what is not applied yet, and change nothing. Raises as `migrate`."""
    shipped = migrations()
    there = await connection.fetchval("select to_regclass('schema_migrations') is not null")
    applied = await _applied(connection) if there else {}
    _refuse_a_foreign_schema(shipped, applied)
    return [migration.name for migration in shipped if migration.name not in applied]


async def _applied(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["sha256"] for row in await connection.fetch("select name, sha256 from schema_migrations")}


def _refuse_a_foreign_schema(shipped: list[Migration], applied: dict[str, str]) -> None:
    known = {migration.name: migration.sha256 for migration in shipped}
    newer = sorted(set(applied) - set(known))
    if newer:
        message = f"the database was migrated by a newer Chainbell ({newer[-1]}): run that version, or restore a backup"
        raise ConfigurationError(message)
    changed = sorted(name for name, sha256 in applied.items() if known[name] != sha256)
    if changed:
        message = f"{changed[0]} is not the file that was applied to this database: install an unchanged Chainbell"
        raise ConfigurationError(message)
