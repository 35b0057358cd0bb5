"""From a block that a node has to the webhook that its deposit rings: the whole product, in a process of its own.

The clock starts before the node is asked to mine, so that the node's own work is counted too, and stops when the last byte
of the first webhook about the deposit has come.
"""

import asyncio
import random
import time
from collections.abc import Sequence

from bench.chain import customer
from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Size, percentile
from bench.receiver import receiver_here
from bench.sending import LOOPBACK
from bench.service import KEY, Heard, chainbell, followed
from bench.watching import watch_many
from chainbell.domain.chain import Mode
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from tests.nodes import Anvil

DEPOSITS = {Size.SMOKE: 10, Size.SHORT: 200, Size.LONG: 2000}
POLL_SECONDS = 0.05
HINTED_POLL_SECONDS = 30.0
"""So seldom that a hint has to do it."""
WATCHED = 10_000
_WARM = 10
"""Deposits before the first that counts: connections are made, statements prepared."""


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``evm_latency_poll_ms_*`` and ``evm_latency_hint_ms_*``."""
    measured: list[Measurement] = []
    for name, hinted, aim in (("poll", False, 250.0), ("hint", True, 100.0)):
        milliseconds = await _deposits(DEPOSITS[size], hinted=hinted)
        spread = (min(milliseconds), max(milliseconds))
        p50, p99 = percentile(milliseconds, 0.5), percentile(milliseconds, 0.99)
        details: dict[str, object] = {"deposits": len(milliseconds), "mean_ms": sum(milliseconds) / len(milliseconds)}
        measured += [
            Measurement(f"evm_latency_{name}_ms_p50", p50, "ms", spread=spread, details=details),
            Measurement(f"evm_latency_{name}_ms_p99", p99, "ms", (Aim.AT_MOST, aim), spread),
        ]
    return measured


async def _deposits(count: int, *, hinted: bool) -> list[float]:
    """Let deposits happen at random moments, one block each; return how long each took to ring, in milliseconds."""
    chance = random.Random(1)  # noqa: S311 - when a block comes is no secret
    heard = Heard()
    async with Anvil(automine=False) as anvil, receiver_here(heard.take) as url, fresh_database() as own:
        store = EndpointStore(own.database, SecretBox(KEY), LOOPBACK)
        await store.create(NewEndpoint(f"{url}/hook", Mode.TEST), now())
        node = f"{anvil.url}?ws={anvil.ws_url}" if hinted else anvil.url
        changes = {"poll_seconds": HINTED_POLL_SECONDS if hinted else POLL_SECONDS}
        async with chainbell(own, "anvil", node, changes):
            await followed(own)
            await watch_many(own.database, WATCHED, [customer(number) for number in range(10)])
            milliseconds = []
            for number in range(_WARM + count):
                await asyncio.sleep(chance.uniform(0.02, 0.02 + 2 * POLL_SECONDS))
                sent = await anvil.send(anvil.accounts[number % 10], "0x" + customer(number % 10).hex(), 10**15)
                began = time.perf_counter()
                await anvil.mine()
                milliseconds.append((await heard.of(sent) - began) * 1000)
    return milliseconds[_WARM:]
