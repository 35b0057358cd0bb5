"""How many JSON-RPC calls a poll of an idle chain costs each node, counted in front of it."""

import asyncio
from collections.abc import Sequence

from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Size
from bench.reading import bench_definition, following, reach
from tests.nodes import Anvil
from tests.rpcproxy import LyingProxy

POLL_SECONDS = 0.25
POLLS = {Size.SMOKE: 20, Size.SHORT: 80, Size.LONG: 1200}
_SETTLING_POLLS = 8


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``idle_rpc_calls_per_poll``: for a chain that settles by depth, and beside it for a finality tag."""
    by_depth = await _calls_per_poll(POLLS[size], {})
    by_tag = await _calls_per_poll(POLLS[size], {"required_confirmations": "finalized"})
    return [
        Measurement("idle_rpc_calls_per_poll", by_depth, "calls", (Aim.AT_MOST, 1.0)),
        Measurement("idle_rpc_calls_per_poll (finality tag)", by_tag, "calls"),
    ]


async def _calls_per_poll(polls: int, changes: dict[str, object]) -> float:
    """Count calls over so many poll intervals; rounded to a tenth, since the last one may be cut off."""
    definition = bench_definition(poll_seconds=POLL_SECONDS).model_copy(update=changes)
    async with Anvil() as anvil, LyingProxy(anvil.url) as proxy, fresh_database() as own:
        await anvil.mine(5)
        async with following(definition, own.database, proxy.url) as follower:
            await reach(own.database, 5, follower)
            await asyncio.sleep(_SETTLING_POLLS * POLL_SECONDS)
            before = proxy.calls.total()
            await asyncio.sleep(polls * POLL_SECONDS)
            return round((proxy.calls.total() - before) / polls, 1)
