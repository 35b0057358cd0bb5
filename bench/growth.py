"""What a million watched addresses cost, against a thousand: speed of catching up, and memory."""

from collections.abc import Sequence

from bench.catchup import follow_once
from bench.chain import full_chain
from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Pairs, Size, in_pairs
from bench.reading import Reading
from bench.watching import watch_many

BLOCKS = {Size.SMOKE: 32, Size.SHORT: 300, Size.LONG: 1500}
FEW = 1_000
MANY = {Size.SMOKE: 10_000, Size.SHORT: 1_000_000, Size.LONG: 5_000_000}


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``evm_catchup_addresses_growth`` and ``watcher_memory_growth``."""
    few: list[Reading] = []
    many: list[Reading] = []
    async with full_chain(BLOCKS[size]) as chain, fresh_database() as small, fresh_database() as large:
        await watch_many(small.database, FEW, chain.recipients[:FEW])
        await watch_many(large.database, MANY[size], chain.recipients[:FEW])

        async def with_few() -> float:
            few.append(await follow_once(chain, small))
            return few[-1].seconds

        async def with_many() -> float:
            many.append(await follow_once(chain, large))
            return many[-1].seconds

        seconds = await in_pairs(with_many, with_few)
    memory = Pairs(tuple(one.resident_mb for one in many), tuple(one.resident_mb for one in few))
    return [
        seconds.measurement("evm_catchup_addresses_growth", (Aim.AT_MOST, 1.2)),
        memory.measurement("watcher_memory_growth", (Aim.AT_MOST, 1.2)),
    ]
