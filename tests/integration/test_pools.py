"""The API has connections of its own: whoever asks it much stalls no chain and no delivery."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from pydantic import SecretStr

from chainbell.app.run import open_pools
from chainbell.config.settings import Settings
from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Database
from tests.command import SECRET_KEY


async def test_a_busy_api_takes_no_connection_from_the_followers(database_url: str) -> None:
    """With every connection of the API lent out, followers get theirs at once; the API's statements have an end."""
    settings = Settings(database_url=SecretStr(database_url), secret_key=SecretStr(SECRET_KEY))
    async with open_pools(settings) as pools, AsyncExitStack() as lent:
        assert pools.api is not None
        busy = [await lent.enter_async_context(pools.api.database.connection()) for _ in range(10)]
        assert await busy[0].fetchval("show statement_timeout") == "10s"
        began = time.monotonic()
        async with asyncio.timeout(5):
            assert await pools.work.chain_states.genesis("anvil") is None
            async with pools.work.database.connection() as free:
                assert await free.fetchval("show statement_timeout") == "0"
        assert time.monotonic() - began < 5
        stores = ("watches", "chain_states", "endpoints", "deliveries", "replays", "transactions", "events", "api_keys")
        for name in stores:
            assert getattr(pools.api, name)._database is pools.api.database, name
            assert getattr(pools.work, name)._database is pools.work.database, name


async def test_a_statement_that_takes_too_long_is_stopped(database_url: str) -> None:
    """What it was is told as trouble of the database, and the connection serves the next one."""
    async with Database.open(database_url, size=1, statement_timeout=timedelta(milliseconds=50)) as database:
        with pytest.raises(DatabaseError, match="statement timeout"):
            async with database.connection() as connection:
                await connection.fetchval("select pg_sleep(30)")
        async with database.connection() as connection:
            assert await connection.fetchval("select 1") == 1
