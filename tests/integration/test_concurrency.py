"""Many at once: whoever registers while blocks commit misses nothing, and a feed reader skips nothing."""

import asyncio
from ipaddress import ip_network

from chainbell.domain.chain import Mode
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.event_list import EventList, FeedPage
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from tests.house import ALICE, House, caught_up, following, house, started
from tests.nodes import Anvil

ENDPOINTS = 30
DEPOSITS = 60


async def test_an_endpoint_created_while_blocks_commit_gets_everything_from_then_on(anvil: Anvil, database_url: str) -> None:
    """Its deliveries are the end of the feed without a hole, and hold all that was committed after it was created."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        store = EndpointStore(home.database, SecretBox(bytes(32)), [ip_network("127.0.0.0/8")])
        fed_after: dict[str, int] = {}

        async def subscribe() -> None:
            for number in range(ENDPOINTS):
                endpoint, _ = await store.create(NewEndpoint(f"http://127.0.0.1/{number}", Mode.TEST), now())
                fed_after[endpoint.id] = await _feed_end(home)

        async def deposit() -> None:
            for _ in range(DEPOSITS):
                await anvil.send(anvil.accounts[0], ALICE, 1)

        await asyncio.gather(subscribe(), deposit())
        await anvil.mine(3)
        await caught_up(home)
        ringing = await home.fetch("select position from events where type not like '%.confirmation'")
        rung = [row["position"] for row in ringing]
        for endpoint_id, position in fed_after.items():
            rows = await home.fetch("select event_position from deliveries where endpoint_id = $1", endpoint_id)
            got = {row["event_position"] for row in rows}
            assert {owed for owed in rung if owed > position} <= got
            assert got == {owed for owed in rung if owed >= min(got)}


async def test_a_feed_reader_beside_writers_skips_nothing(anvil: Anvil, database_url: str) -> None:
    """A reader that follows its cursor sees every position once, in order, while blocks and endpoints commit."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        events = EventList(home.database)
        seen: list[int] = []
        done = asyncio.Event()

        async def read() -> None:
            cursor = None
            while True:
                finished = done.is_set()
                page = await events.after(cursor, OPERATOR, 7)
                assert isinstance(page, FeedPage)
                seen.extend(event.cursor.position for event in page.events)
                cursor = page.next_cursor
                if finished and not page.events:
                    return

        reader = asyncio.create_task(read())
        for number in range(DEPOSITS):
            await anvil.send(anvil.accounts[number % 5], ALICE, 1)
        await anvil.mine(3)
        await caught_up(home)
        done.set()
        await reader
        assert seen == list(range(1, await _feed_end(home) + 1))


async def _feed_end(home: House) -> int:
    (row,) = await home.fetch("select feed_position from installation")
    return int(row["feed_position"])
