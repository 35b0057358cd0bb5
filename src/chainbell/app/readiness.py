"""Whether this process can do its work: its database answers, and has the schema that it needs."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from chainbell.api.front import Health
from chainbell.app.roles import Role
from chainbell.domain.errors import ConfigurationError, DatabaseError
from chainbell.storage.chains import followed_chains
from chainbell.storage.database import Database
from chainbell.storage.migrate import missing_migrations

_PATIENCE_SECONDS = 3.0
_FRESH_SECONDS = 1.0
"""However often we are asked, the database is asked once in so long."""
_STOPPING = "this process is stopping: ask another one"


class Readiness:
    """Looks when it is asked. `waits_for`, `reached` and `stop` say how far the process has come."""

    def __init__(self, roles: Collection[Role], chains: Collection[str], stop: asyncio.Event) -> None:
        """Name the roles, and the chains that are followed here."""
        self._chains = dict.fromkeys(sorted(chains), False)
        starting = "it is starting: the database was not reached yet"
        self._health = Health(tuple(sorted(roles)), starting, database_answers=False, chains=self._chains)
        self._stop = stop
        self._database: Database | None = None
        self._looking: asyncio.Task[Health] | None = None
        self._looked_at = 0.0

    def waits_for(self, reason: str) -> None:
        """Say what the process waits for before it can begin."""
        self._health = replace(self._health, not_ready=reason)

    def reached(self, database: Database) -> None:
        """Say that the database was reached and migrated; it is asked through these connections from now on."""
        self._database = database

    async def look(self) -> Health:
        """Return how the process stands now, within a few seconds also while the database says nothing."""
        health = await self._fresh()
        return replace(health, not_ready=_STOPPING) if self._stop.is_set() else health

    async def _fresh(self) -> Health:
        if self._database is None:
            return self._health
        clock = asyncio.get_running_loop().time
        if self._looking is None or (self._looking.done() and clock() - self._looked_at > _FRESH_SECONDS):
            self._looked_at = clock()
            self._looking = asyncio.create_task(self._ask(self._database))
        # A look that hangs goes on beside the answer: the next one who asks waits for the same.
        await asyncio.wait([self._looking], timeout=_PATIENCE_SECONDS)
        if self._looking.done():
            return self._looking.result()
        return self._without_database(f"PostgreSQL has not answered for {_PATIENCE_SECONDS:g} s: look at its load")

    async def _ask(self, database: Database) -> Health:
        try:
            async with database.connection() as connection:
                missing = await missing_migrations(connection)
                followed: Mapping[str, bool] = {} if missing else await followed_chains(connection)
        except DatabaseError as error:
            return self._without_database(str(error))
        except ConfigurationError as error:
            return replace(self._health, not_ready=str(error), database_answers=True)
        reason = f"the database lacks {', '.join(missing)}: run `chainbell migrate`" if missing else None
        return Health(self._health.roles, reason, database_answers=True, chains=self._chains | dict(followed))

    def _without_database(self, reason: str) -> Health:
        return Health(self._health.roles, reason, database_answers=False, chains=self._chains)
