"""How fast a chain is caught up with, against a bare loop that fetches and decodes the same blocks."""

from collections.abc import Sequence

from bench.chain import BenchChain, full_chain
from bench.database import BenchDatabase, fresh_database
from bench.measurement import Aim, Measurement, Size, in_pairs
from bench.reading import Reading, Task, read_in_a_process
from bench.watching import forget_the_chain, watch_many

BLOCKS = {Size.SMOKE: 32, Size.SHORT: 300, Size.LONG: 1500}
WATCHED = 10_000


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``evm_catchup_vs_raw_fetch``."""
    async with full_chain(BLOCKS[size]) as chain, fresh_database() as own:
        await watch_many(own.database, WATCHED, chain.recipients)
        readings: list[Reading] = []

        async def follow() -> float:
            readings.append(await follow_once(chain, own))
            return readings[-1].blocks_per_second

        async def fetch() -> float:
            task = Task(chain.url, chain.tip, chain.token.hex())
            return (await read_in_a_process("fetch", task)).blocks_per_second

        pairs = await in_pairs(follow, fetch)
    measurement = pairs.measurement("evm_catchup_vs_raw_fetch", (Aim.AT_LEAST, 0.9))
    measurement.details["our_cpu_ms_per_block"] = [round(one.cpu_seconds / one.blocks * 1000, 2) for one in readings]
    return [measurement]


async def follow_once(chain: BenchChain, own: BenchDatabase) -> Reading:
    """Follow the chain from its first block to its tip, as if it were new."""
    await forget_the_chain(own.database)
    reading = await read_in_a_process("follow", Task(chain.url, chain.tip, chain.token.hex(), own.dsn))
    async with own.database.connection() as connection:
        if not await connection.fetchval("select exists (select from transactions)"):
            message = "the chain was followed, and nothing was found in it: what was to be watched is not"
            raise RuntimeError(message)
    return reading
