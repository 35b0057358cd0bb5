"""A database that goes away, fills up or refuses: the chain waits and says why, and nothing is lost or half written."""

import asyncio

import pytest

from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Database
from tests.house import ALICE, ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil

FULL = """
create function full_disk() returns trigger language plpgsql as
$$ begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
create trigger full_disk before insert on {table} for each row execute function full_disk();
"""


async def test_a_database_that_goes_away_in_the_middle_loses_nothing(anvil: Anvil, database_url: str) -> None:
    """Connections that are cut again and again delay the chain, and no more."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        for _ in range(5):
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await home.cut_connections()
            await asyncio.sleep(0)
        await anvil.mine(3)
        await caught_up(home)
        assert (await home.told()).count("deposit.success") == 5
        await home.check_stories()


@pytest.mark.parametrize("table", ["blocks", "transactions", "events"])
async def test_a_full_disk_delays_the_chain_and_leaves_nothing_half_written(
    anvil: Anvil, database_url: str, table: str
) -> None:
    """Whatever row has no room, nothing of its commit is written; with room again, everything is."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await caught_up(home)
        async with home.database.connection() as connection:
            await connection.execute(FULL.format(table=table))
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await until(home.in_trouble, "the chain says that it waits")
        (row,) = await home.fetch("select trouble, cursor_height from chains")
        assert "no space left" in row["trouble"]
        assert row["cursor_height"] == 0
        assert [await home.fetch(f"select 1 from {name}") for name in ("transactions", "events", "fees")] == [[], [], []]
        async with home.database.connection() as connection:
            await connection.execute(f"drop trigger full_disk on {table}")
        await anvil.mine(3)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.success"
        await home.check_stories()


async def test_a_refusal_says_what_to_check(database_url: str) -> None:
    """A database that is not there, like a wrong password, is told in words, and may be there later."""
    with pytest.raises(DatabaseError, match="check the user, password and database"):
        async with Database.open(database_url.replace("/test_", "/nowhere_")):
            pass


async def _well(home: House) -> bool:
    return not await home.in_trouble()
