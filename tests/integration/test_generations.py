"""A new generation shuts out every process of the life before, and is never a number that was in force already."""

from datetime import timedelta

from chainbell.domain.following import HeldElsewhere, Leased
from chainbell.storage.audit import Deed
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.restore import begin_generation, restored_state
from chainbell.telemetry.clock import now
from tests.builders_delivery import BOX, NOW, make_endpoint, make_event
from tests.feed_builders import with_a_chain

LEAP = 2**32 + 5
MINUTE = timedelta(minutes=1)


async def _begin(database: Database, above: int = 0) -> int:
    return (await begin_generation(database, Deed("me@here", now()), None, above=above, leap=LEAP)).generation


async def test_a_follower_of_before_holds_nothing(database_url: str) -> None:
    """Its lease ends at once, and no follower to come is given the fence that it remembers."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        states = ChainStates(database)
        frozen = await states.acquire("anvil", "frozen", MINUTE)
        assert isinstance(frozen, Leased)
        assert isinstance(await states.acquire("anvil", "other", MINUTE), HeldElsewhere)
        await _begin(database)
        assert not await states.renew("anvil", frozen.fence, MINUTE)
        following = await states.acquire("anvil", "other", MINUTE)
        assert isinstance(following, Leased)
        assert following.fence > frozen.fence + LEAP - 1


async def test_a_worker_of_before_records_nothing(database_url: str) -> None:
    """Neither its fence nor the id of a delivery that it remembers means anything in this life."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        _, (old,) = await make_event(database, endpoints=[endpoint])
        async with database.connection() as connection:
            await connection.execute("update deliveries set fence = 7, lease_until = now() + interval '1 hour'")
            before = await connection.fetchval("select fence from deliveries where id = $1", old)
        await _begin(database)
        _, (new,) = await make_event(database, endpoints=[endpoint])
        async with database.connection() as connection:
            row = await connection.fetchrow("select fence, lease_until from deliveries where id = $1", old)
        assert row is not None
        assert (row["fence"], row["lease_until"]) == (before + LEAP, None)
        assert new > old + LEAP - 1
        store = PostgresDeliveryStore(database, BOX)
        assert await store.next_due(NOW - MINUTE) is not None


async def test_generations_only_rise(database_url: str) -> None:
    """The next one is higher than this database's, and than any that a journal or the operator knows of."""
    async with Database.open(database_url) as database:
        assert await _begin(database) == 1
        assert await _begin(database, above=5) == 6
        assert await _begin(database, above=2) == 7
        assert (await restored_state(database)).former_reach is None
        await make_event(database)
        state = await restored_state(database)
        assert (state.generation, state.told_since, state.feed_position) == (7, 1, 1)
        async with database.connection() as connection:
            assert await connection.fetchval("select count(*) from audit where action = 'restored'") == 3
