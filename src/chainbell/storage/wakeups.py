"""Wake-ups across processes: LISTEN. A hint that shortens a wait, never the truth."""

import asyncio
from typing import NoReturn

from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Connection, Database

EVENTS_CHANNEL = "chainbell_events"
"""New events, and whatever else gives deliveries something to do."""


async def notify(connection: Connection, channel: str) -> None:
    """Wake the listeners of a channel when this transaction commits."""
    await connection.execute("select pg_notify($1, '')", channel)


async def listen(database: Database, channel: str, wake: asyncio.Event) -> NoReturn:
    """Set `wake` at each notification, and at once: something may have been missed before.

    Raises `DatabaseError` when the connection ends, as at each restart of the server; whoever called listens again.
    """
    async with database.dedicated() as connection:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _connection: ended.set())
        await connection.add_listener(channel, lambda *_notification: wake.set())
        wake.set()
        await ended.wait()
    message = "PostgreSQL closed the connection that listens for new events; until it is back they are polled for"
    raise DatabaseError(message)
