"""Files of addresses, and a registration held back at one of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

_SECONDS = 30


def address(number: int) -> str:
    """Return an address of which nobody has the key."""
    return f"0x{number:040x}"


def csv(*numbers: int) -> bytes:
    """Return a file of these addresses; the one at index i stands in line i + 2."""
    return "".join(["address\n", *(f"{address(number)}\n" for number in numbers)]).encode()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@asynccontextmanager
async def held_back(url: str, number: int, *, chain: str = "anvil") -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Let whoever registers this address wait until the end: somebody else has inserted it, and does not commit.

    Yields another connection, outside of that.
    """
    holder, other = await asyncpg.connect(url), await asyncpg.connect(url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(
        "insert into addresses (chain, address, account_id, watched_from, created_at) "
        "select $1, $2, id, 0, now() from accounts where is_default and mode = 'test'",
        chain,
        bytes.fromhex(address(number)[2:]),
    )
    try:
        yield other
    finally:
        await transaction.rollback()
        await holder.close()
        await other.close()


async def somebody_waits(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Wait until some transaction waits for another one."""
    deadline = time.monotonic() + _SECONDS
    waiting = "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
    while not await connection.fetchval(waiting):
        assert time.monotonic() < deadline, "nobody waits for what is held back"
        await asyncio.sleep(0.01)
