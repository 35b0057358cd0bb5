"""What a million watched addresses cost, against a thousand: speed of catching up, and memory."""

from collections.abc import Sequence

from bench.catchup import follow_once
from bench.chain import full_chain
from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Pairs, in_pairs
from bench.reading import Reading
from bench.watching import watch_many

BLOCKS = {False: int(__import__("os").environ.get("NB", "300")), True: 1500}
FEW, MANY = 1_000, 1_000_000


async def measure(long: bool) -> Sequence[Measurement]:  # noqa: FBT001 - every bench is called so
    """Measure ``evm_catchup_addresses_growth`` and ``watcher_memory_growth``."""
    few: list[Reading] = []
    many: list[Reading] = []
    async with full_chain(BLOCKS[long]) as chain, fresh_database() as small, fresh_database() as large:
        await watch_many(small.database, FEW, chain.recipients[:FEW])
        await watch_many(large.database, MANY, chain.recipients[:FEW])

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
