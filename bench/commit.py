"""How long one block's commit takes: 200 movements into watched addresses, told to 10 endpoints."""

import time
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from bench.chain import customer
from bench.database import fresh_database
from bench.measurement import Measurement, Size, percentile
from bench.profiling import profiled
from bench.reading import bench_definition
from bench.sending import BOX, LOOPBACK
from bench.watching import watch_many
from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.chain import COIN, BlockRef, Mode
from chainbell.domain.following import Committed, CoverageChange, KeptLedger, Leased
from chainbell.events.publish import publish
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.ledger import LedgerStore
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker

BLOCKS = {Size.SMOKE: 8, Size.SHORT: 60, Size.LONG: 500}
MOVEMENTS = 200
ENDPOINTS = 10
WATCHED = 10_000
_WARM = 5
"""Blocks before the first that counts: until then nothing is deep enough to succeed."""


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``commit_ms_p99``."""
    async with fresh_database() as own:
        await watch_many(own.database, WATCHED, [customer(number) for number in range(MOVEMENTS)])
        endpoints = EndpointStore(own.database, BOX, LOOPBACK)
        for number in range(ENDPOINTS):
            await endpoints.create(NewEndpoint(f"http://127.0.0.1/{number}", Mode.TEST), now())
        with profiled("commit"):
            milliseconds = await _commit_each(own.database, BLOCKS[size])
        async with own.database.connection() as connection:
            events = await connection.fetchval("select count(*) from events")
            deliveries = await connection.fetchval("select count(*) from deliveries")
    counted = milliseconds[_WARM:]
    details: dict[str, object] = {
        "p50_ms": round(percentile(counted, 0.5), 1),
        "events_per_block": round(events / BLOCKS[size]),
        "deliveries_per_block": round(deliveries / BLOCKS[size]),
    }
    return [
        Measurement("commit_ms_p99", percentile(counted, 0.99), "ms", spread=(min(counted), max(counted)), details=details)
    ]


async def _commit_each(database: Database, blocks: int) -> list[float]:
    definition = bench_definition()
    states = ChainStates(database)
    tracker = Tracker(LedgerStore(database, publish), definition, Policy(definition.required_depth, screening=False))
    await states.start(definition, _hash(0), KeptLedger((BlockRef(0, _hash(0), _hash(-1)),)), now())
    lease = await states.acquire(definition.name, "bench", timedelta(hours=2))
    if not isinstance(lease, Leased):
        message = "somebody else holds the chain of a fresh database"
        raise TypeError(message)
    await states.cover(definition, lease.fence, CoverageChange((), ()), now())
    milliseconds = []
    for height in range(1, blocks + 1):
        began = time.perf_counter()
        outcome = await tracker.advance(lease.fence, [_block(height)], None, now())
        milliseconds.append((time.perf_counter() - began) * 1000)
        if not isinstance(outcome, Committed):
            message = f"block {height} was not committed: {outcome}"
            raise TypeError(message)
    return milliseconds


def _block(height: int) -> ScannedBlock:
    """Return a block in which so many strangers each pay another watched address."""
    movements = []
    for number in range(MOVEMENTS):
        payer = sha256(b"payer %d %d" % (height, number)).digest()[:20]
        mined = ChainTransaction(sha256(b"paid %d %d" % (height, number)).digest(), payer, 0, True, 21_000, True)  # noqa: FBT003
        movements.append(Movement(mined, COIN, 10**15 + number, payer, customer(number), 0, 0, None))
    ref = BlockRef(height, _hash(height), _hash(height - 1))
    return ScannedBlock(ref, now(), tuple(movement.transaction for movement in movements), tuple(movements))


def _hash(height: int) -> bytes:
    return sha256(b"block %d" % height).digest()
