"""Which database this is, and in which of its lives: what a backup carries along."""

from dataclasses import dataclass

from chainbell.storage.database import Connection


@dataclass(frozen=True, slots=True)
class Installation:
    """One database, wherever its backups were restored to."""

    id: str
    generation: int
    """How often it was restored from a backup, or more: no two of its lives have the same."""
    feed_position: int
    """Position of the newest event."""


async def read_installation(connection: Connection) -> Installation:
    """Return what the database says of itself."""
    row = await connection.fetchrow("select id, generation, feed_position from installation")
    if row is None:
        message = "the table installation is empty"
        raise AssertionError(message)
    return Installation(str(row["id"]), row["generation"], row["feed_position"])
