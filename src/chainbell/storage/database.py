"""The pool of connections, and what a server that does not answer is called."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg

from chainbell.domain.errors import DatabaseError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away, starting, stopping or full into `DatabaseError`."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        message = f"PostgreSQL has no space left ({error}): free some on its disk; nothing was half written, we try again"
        raise DatabaseError(message) from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        message = f"PostgreSQL refuses us ({error}): check the user, password and database in CHAINBELL_DATABASE_URL"
        raise DatabaseError(message) from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.InsufficientResourcesError,
        asyncpg.OperatorInterventionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        TimeoutError,
        OSError,
    ) as error:
        detail = str(error) or type(error).__name__
        message = f"PostgreSQL does not answer ({detail}): check that it runs and that CHAINBELL_DATABASE_URL is right"
        raise DatabaseError(message) from error


class Database:
    """A pool of connections to one PostgreSQL database.

    Every method that talks to the server raises `DatabaseError` when it does not answer; the same call may succeed later.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, size: int = 10) -> AsyncIterator["Database"]:
        """Connect, and close all connections at the end."""
        with translated():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=size,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=COMMAND_TIMEOUT_SECONDS,
                server_settings={"application_name": "chainbell", "timezone": "UTC"},
            )
        try:
            yield cls(pool, dsn)
        finally:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; each statement is a transaction of its own."""
        with translated():
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one READ COMMITTED transaction: committed at the end, rolled back on any error."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a connection outside the pool, for LISTEN."""
        with translated():
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_SECONDS)
            try:
                yield connection
            finally:
                connection.terminate()
