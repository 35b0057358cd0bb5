"""The pool of connections, and what a server that does not answer is called.

A pooler in transaction mode (pgbouncer) cannot stand between: prepared statements, LISTEN and advisory locks need a direct
connection, or a pooler in session mode.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from chainbell.domain.errors import ConfigurationError, DatabaseError
from chainbell.storage.journal import Journal, MissingJournal
from chainbell.storage.registrations import noting

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record
if TYPE_CHECKING:
    _Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

APPLICATION = "chainbell"
CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0
SERVER_SETTINGS = {
    "application_name": f"{APPLICATION} {os.getpid()}@{socket.gethostname()}"[:63],
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""Of every connection, whatever the server's or the database's defaults are.

The name says which process a session belongs to. The last four: who was frozen, or cut off, in the middle of a transaction
loses its locks within half a minute, even if nobody waits for them; if somebody does, see `standstill`.
"""

_RETRYABLE: dict[type[asyncpg.PostgresError], str] = {
    asyncpg.DiskFullError: "PostgreSQL has no space left ({error}): free some on its disk; nothing was half written",
    asyncpg.ReadOnlySQLTransactionError: (
        "PostgreSQL is read-only ({error}): it may be a standby after a fail-over; "
        "CHAINBELL_DATABASE_URL must name the primary"
    ),
    asyncpg.LockNotAvailableError: (
        "PostgreSQL waited too long for a lock ({error}): look in pg_stat_activity for who holds it, and at lock_timeout"
    ),
    asyncpg.TransactionRollbackError: (
        "PostgreSQL rolled the transaction back in favour of another ({error}): nothing to do, unless it goes on"
    ),
    asyncpg.IdleInTransactionSessionTimeoutError: (
        "PostgreSQL gave our transaction up, for this process stood still in it ({error}): "
        "look for a machine that was suspended, or has no processor time"
    ),
    asyncpg.QueryCanceledError: (
        "PostgreSQL stopped a statement ({error}): look at its load, at statement_timeout, and for who cancelled it"
    ),
}
"""What the server refuses now and may do later, with what to say of it: the transaction is as if it had never been."""


class _PoolConnection(_Connection):
    """A connection that sends nothing where there is nothing to do."""

    async def executemany(
        self,
        command: str,
        args: Iterable[Sequence[object]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's
    ) -> None:
        """Execute a statement for each of ``args``.

        Without any, asyncpg prepares the statement and leaves it at that. The server then goes on to wait for the rest of
        it, and never takes the transaction for an idle one.
        """
        if rows := list(args):
            await super().executemany(command, rows, timeout=timeout)

    def get_reset_query(self) -> str:
        """Return nothing: asyncpg would ask the server, at each release, to undo what nobody here does.

        Settings are made at connect, locks and cursors end with their transaction, and LISTEN has a connection of its own.
        """
        return ""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away, stopping, full or refusing for now into `DatabaseError`."""
    try:
        yield
    except tuple(_RETRYABLE) as error:
        words = next(words for kind, words in _RETRYABLE.items() if isinstance(error, kind))
        message = words.format(error=error) + "; we try again"
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
        self.journal: Journal | MissingJournal | None = None
        """Where registrations are kept outside of the database; None: nowhere."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, *, size: int = 10, statement_timeout: timedelta | None = None
    ) -> AsyncIterator["Database"]:
        """Connect, and close all connections at the end. A statement that takes longer than its timeout is stopped.

        Raises:
            ConfigurationError: ``dsn`` cannot be read; the message shows nothing of it.

        """
        limits = {}
        if statement_timeout is not None:
            limits["statement_timeout"] = f"{statement_timeout // timedelta(milliseconds=1)}ms"
        with translated():
            try:
                pool = await asyncpg.create_pool(
                    dsn,
                    min_size=1,
                    max_size=size,
                    timeout=CONNECT_TIMEOUT_SECONDS,
                    command_timeout=COMMAND_TIMEOUT_SECONDS,
                    connection_class=_PoolConnection,
                    server_settings=SERVER_SETTINGS | limits,
                )
            except ValueError:
                # Its words may hold a piece of the password.
                message = (
                    "CHAINBELL_DATABASE_URL cannot be read as postgresql://user:password@host:5432/database: check its "
                    "form and options, and percent-encode / ? # @ : in user and password (%2F %3F %23 %40 %3A)"
                )
                raise ConfigurationError(message) from None
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
        """Lend a connection inside one READ COMMITTED transaction: committed at the end, rolled back on any error.

        What was registered in it is in the journal when this ends.
        """
        async with self.connection() as connection:
            with noting(connection) as noted:
                async with connection.transaction(isolation="read_committed"):
                    yield connection
        if noted and self.journal is not None:
            await self.journal.keep(noted)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a connection outside the pool, for LISTEN."""
        with translated():
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=SERVER_SETTINGS)
            try:
                yield connection
            finally:
                connection.terminate()
