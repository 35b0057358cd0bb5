"""The lease of a chain: who gets it, how soon, and what who has lost it may still say."""

import asyncio
from datetime import timedelta

from chainbell.domain.following import HeldElsewhere, Leased
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from tests.feed_builders import with_a_chain
from tests.house import following, house, started, until
from tests.nodes import Anvil

LEASE = timedelta(seconds=5)


async def test_a_standby_takes_over_at_once_however_seldom_the_chain_is_polled(anvil: Anvil, database_url: str) -> None:
    """It looks after the lease every second, and after the node every minute."""
    async with house(anvil, database_url, poll_seconds=60) as home:
        async with following(home):
            await started(home)

            async def leads() -> bool:
                return await home.fence() == 1

            await until(leads, "the first follows")
            standby = asyncio.create_task(home.follower().run())
        try:

            async def replaced() -> bool:
                return await home.fence() == 2

            await until(replaced, "the other has the lease", seconds=10)
        finally:
            standby.cancel()
            await asyncio.wait([standby])


async def test_a_server_whose_clock_was_set_back_leaves_no_chain_without_a_follower(database_url: str) -> None:
    """A lease that ends later than any lease can is no lease."""
    async with Database.open(database_url) as database, database.dedicated() as connection:
        await with_a_chain(database)
        states = ChainStates(database)
        assert isinstance(await states.acquire("anvil", "dead", LEASE), Leased)
        assert isinstance(await states.acquire("anvil", "other", LEASE), HeldElsewhere)
        await connection.execute("update chains set lease_until = lease_until + interval '1 hour'")
        assert isinstance(await states.acquire("anvil", "other", LEASE), Leased)


async def test_the_troubles_of_who_does_not_follow_are_no_troubles_of_the_chain(database_url: str) -> None:
    """A leader that slept, and wakes to a node that hung up, does not write over what the new one says."""
    async with Database.open(database_url) as database, database.dedicated() as connection:
        await with_a_chain(database)
        states = ChainStates(database)

        async def after(follower: str, trouble: str | None) -> str | None:
            await states.note_trouble("anvil", follower, trouble)
            found: str | None = await connection.fetchval("select trouble from chains")
            return found

        assert isinstance(await states.acquire("anvil", "new", LEASE), Leased)
        assert await after("old", "the node hung up") is None
        assert await after("new", "the node lags") == "the node lags"
        assert await after("old", None) == "the node lags"
        await connection.execute("update chains set lease_until = now() - interval '1 second'")
        assert await after("old", None) is None
