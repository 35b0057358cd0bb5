"""A process that reads the whole chain once, and says how long that took: ``python -m bench.reading MODE JSON``.

``follow`` is Chainbell: nodes, watcher, tracker and storage joined as the app joins them. ``fetch`` is the bare loop: the
same requests in the same batches, as many at a time, over the same transport, decoded and thrown away.
"""

import asyncio
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import structlog

from bench.profiling import profiled
from chainbell.config.chains import load_chains
from chainbell.domain.chain import ChainDefinition, Token
from chainbell.domain.chain_kind import ChainKind
from chainbell.events.publish import publish
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.evm.blocks import AT_ONCE, IN_FLIGHT
from chainbell.nodes.open_nodes import open_evm_nodes
from chainbell.nodes.pipeline import in_order
from chainbell.nodes.pool import NodePool, Surroundings
from chainbell.nodes.rpc import Rpc
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.follower import BLOCKS_PER_COMMIT, Follower
from chainbell.watcher.read_ahead import BATCHES

_BATCH = BLOCKS_PER_COMMIT[ChainKind.EVM]
_LOOK_SECONDS = 0.02
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What to read; `dsn` only to follow."""

    node: str
    tip: int
    token: str
    dsn: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How it went."""

    seconds: float
    blocks: int
    cpu_seconds: float
    resident_mb: float
    """Memory of the process at the end."""

    @property
    def blocks_per_second(self) -> float:
        """The speed that counts."""
        return self.blocks / self.seconds


async def read_in_a_process(mode: str, task: Task) -> Reading:
    """Read the chain in a fresh process. Raises `RuntimeError` when it fails."""
    command = (sys.executable, "-m", "bench.reading", mode, json.dumps(asdict(task)))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        message = f"the process that should {mode} the chain ended with {process.returncode}"
        raise RuntimeError(message)
    return Reading(**json.loads(said))


def bench_definition(token: str = "", *, poll_seconds: float = 0.2) -> ChainDefinition:
    """Return anvil's definition with one token at most, read from block 1 on."""
    listed = (Token(symbol="BUSD", contract=bytes.fromhex(token), decimals=6),) if token else ()
    changes: dict[str, object] = {"tokens": listed, "start_height": 1, "poll_seconds": poll_seconds}
    return load_chains()["anvil"].model_copy(update=changes)


@asynccontextmanager
async def following(definition: ChainDefinition, database: Database, node: str) -> AsyncIterator[asyncio.Task[None]]:
    """Follow a chain meanwhile, with the parts that the app joins. What ends it by itself is raised."""
    nodes = open_evm_nodes(definition, [Endpoint("node", node)])
    pool = NodePool(definition, nodes, Surroundings(now, time.monotonic, random.random))
    tracker = Tracker(LedgerStore(database, publish), definition, Policy(definition.required_depth, screening=False))
    states = ChainStates(database)
    follower = Follower(definition, pool, states, tracker, identity="bench", wake=asyncio.Event(), clock=now)
    task = asyncio.create_task(follower.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await pool.close()
    if not task.cancelled():
        task.result()


async def reach(database: Database, tip: int, task: asyncio.Task[None]) -> None:
    """Wait until the cursor is at a height, or the follower has ended."""
    while not task.done():
        async with database.connection() as connection:
            if await connection.fetchval("select max(cursor_height) from chains") == tip:
                return
        await asyncio.sleep(_LOOK_SECONDS)


async def _follow(task: Task) -> int:
    definition = bench_definition(task.token)
    async with Database.open(task.dsn) as database, following(definition, database, task.node) as follower:
        await reach(database, task.tip, follower)
    return task.tip


async def _fetch(task: Task) -> int:
    rpc = Rpc(Endpoint("node", task.node))
    try:
        batches = [partial(_fetch_batch, rpc, first, task.tip) for first in range(1, task.tip + 1, _BATCH)]
        return sum(await in_order(batches, BATCHES))
    finally:
        await rpc.close()


async def _fetch_batch(rpc: Rpc, first: int, tip: int) -> int:
    last = min(first + _BATCH - 1, tip)
    parts = [range(start, min(start + AT_ONCE, last + 1)) for start in range(first, last + 1, AT_ONCE)]
    return sum(await in_order([partial(_fetch_some, rpc, part) for part in parts], IN_FLIGHT))


async def _fetch_some(rpc: Rpc, heights: Sequence[int]) -> int:
    blocks = await rpc.batch([("eth_getBlockByNumber", [hex(height), True]) for height in heights])
    receipts = await rpc.batch([("eth_getBlockReceipts", [block["hash"]]) for block in blocks])
    return len(receipts)


async def _timed(mode: str, task: Task) -> Reading:
    began, cpu = time.perf_counter(), time.process_time()
    with profiled(f"reading-{mode}"):
        blocks = await (_follow(task) if mode == "follow" else _fetch(task))
    return Reading(time.perf_counter() - began, blocks, time.process_time() - cpu, _resident_mb())


def _resident_mb() -> float:
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident * _PAGE_KB / 1024


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    print(json.dumps(asdict(asyncio.run(_timed(sys.argv[1], Task(**json.loads(sys.argv[2])))))))
