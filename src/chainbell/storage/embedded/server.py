"""The embedded PostgreSQL server of a data directory: the first process starts it, the last living one stops it.

A killed process leaves it running, and the next one takes it over: the kernel took its share of the lock with it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TypeVar
from urllib.parse import quote

import asyncpg

from chainbell.storage.data_dir import prepare_data_dir
from chainbell.storage.embedded.binaries import Binaries
from chainbell.storage.embedded.errors import EmbeddedServerError
from chainbell.storage.embedded.membership import Membership
from chainbell.storage.embedded.socket_dir import PORT

DATABASE = "chainbell"

_T = TypeVar("_T")
_TEND_SECONDS = 2.0
_TEND_MOST_SECONDS = 60.0
_CONNECT_SECONDS = 30.0
_RETRY_SECONDS = 0.1


@asynccontextmanager
async def embedded_server(
    data_dir: Path, *, log: Callable[[str], None] | None = None, binaries: Binaries | None = None
) -> AsyncIterator[str]:
    """Run the PostgreSQL server of a data directory, shared by all processes of this machine that use that directory.

    Yields the connection string of the database ``chainbell``, made if absent. The server listens on a unix socket in a
    private folder only (see `socket_dir` for why that needs no password). One that dies meanwhile is started again.
    `log` is called in the event loop with lines for people; `binaries` replaces those of the installed wheel.

    Raises `EmbeddedServerError` when the server cannot be started, `DataDirError` when the directory cannot be used.
    """
    loop = asyncio.get_running_loop()

    def say(line: str) -> None:
        if log is not None:
            loop.call_soon_threadsafe(log, line)

    membership = Membership(prepare_data_dir(data_dir), binaries, say)
    try:
        socket_dir = await _to_the_end(membership.join, membership.interrupt)
        await _create_database(socket_dir)
        tending = asyncio.create_task(_tend(membership, say), name="tend embedded PostgreSQL")
        try:
            yield _dsn(socket_dir, DATABASE)
        finally:
            tending.cancel()
            await asyncio.wait({tending})
    finally:
        membership.interrupt.set()
        await _to_the_end(membership.leave, membership.interrupt)


def stop_unused_server(
    data_dir: Path, *, log: Callable[[str], None] | None = None, binaries: Binaries | None = None
) -> None:
    """Stop the server that killed processes left in this data directory, unless a living one uses it. Blocks.

    Raises `EmbeddedServerError` when that cannot be found out.
    """
    if (data_dir / "postgres").exists():
        Membership(data_dir.resolve(), binaries, log or (lambda _line: None)).stop_if_unused()


async def _to_the_end(work: Callable[[], _T], interrupt: Event) -> _T:
    """Run blocking work in a thread and wait for its end even if cancelled: it holds locks, and may start a server."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            cancelled = True
            interrupt.set()
    if cancelled:
        future.exception()
        raise asyncio.CancelledError
    return future.result()


async def _tend(membership: Membership, say: Callable[[str], None]) -> None:
    pause = _TEND_SECONDS
    while True:
        await asyncio.sleep(pause)
        try:
            await asyncio.to_thread(membership.tend)
        except EmbeddedServerError as error:
            say(str(error))
            pause = min(2 * pause, _TEND_MOST_SECONDS)
        else:
            pause = _TEND_SECONDS


async def _create_database(socket_dir: Path) -> None:
    connection = await _connect(_dsn(socket_dir, "postgres"))
    try:
        if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):  # another process was quicker
                await connection.execute(f"create database {DATABASE}")
    except asyncpg.PostgresError as error:
        message = f"the database {DATABASE} cannot be made in the embedded PostgreSQL ({error}): mend that and start again"
        raise EmbeddedServerError(message) from error
    finally:
        await connection.close()


async def _connect(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
        except (OSError, asyncpg.PostgresError) as error:
            if time.monotonic() > deadline or not isinstance(error, OSError | asyncpg.CannotConnectNowError):
                message = f"the embedded PostgreSQL runs but takes no connection ({error}): see postgres.log beside its data"
                raise EmbeddedServerError(message) from error
        await asyncio.sleep(_RETRY_SECONDS)


def _dsn(socket_dir: Path, database: str) -> str:
    """Return what asyncpg takes; the port is named lest it come from PGPORT."""
    return f"postgresql://postgres:@/{database}?host={quote(str(socket_dir))}&port={PORT}"
