"""Prunes the feed step by step, so that nobody waits long."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chainbell.app.deep_reorg import actor
from chainbell.domain.errors import DatabaseError
from chainbell.storage.audit import Deed
from chainbell.storage.database import Database
from chainbell.storage.partitions import drop_partition, partitions_before
from chainbell.storage.prune import ORPHANS_AT_ONCE, Plan, Pruner, Step
from chainbell.telemetry.clock import now

_CLOCKS_DIFFER = timedelta(hours=1)
"""Events and attempts carry the times of different machines."""
_TRIES = 3
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted."""

    events: int
    deliveries: int
    partitions: int
    """Months of attempts that were dropped at once."""
    orphans: int


async def prune(database: Database, plan: Plan, before: datetime, show: Callable[[int, str], None]) -> Pruned:
    """Delete what a plan names. It may be stopped at any time, and begun again."""
    pruner = Pruner(database)
    if plan.events:
        await pruner.begin(plan, Deed(actor(), now(), {"before": before.isoformat()}))
    months = await partitions_before(database, plan.cut - _CLOCKS_DIFFER)
    # What lies in a month that goes as a whole need not be deleted row by row.
    attempts_from = months[-1][1] if months else _EVER
    events = deliveries = 0
    while events < plan.events:
        started = time.monotonic()
        step = await _step(pruner, plan.through, attempts_from)
        if not step.events:
            break
        events, deliveries = events + step.events, deliveries + step.deliveries
        show(events, f"{deliveries} deliveries")
        await asyncio.sleep(time.monotonic() - started)  # as long again for everybody else
    whole = events >= plan.events
    for name, _ in months if whole else ():
        await drop_partition(database, name)
    return Pruned(events, deliveries, len(months) if whole else 0, await _forget_orphans(pruner, before))


async def _step(pruner: Pruner, through: int, attempts_from: datetime) -> Step:
    """Take one step; the server may have rolled it back in favour of somebody else's work."""
    for _ in range(_TRIES - 1):
        with suppress(DatabaseError):
            return await pruner.step(through, attempts_from)
    return await pruner.step(through, attempts_from)


async def _forget_orphans(pruner: Pruner, before: datetime) -> int:
    total = 0
    while forgotten := await pruner.forget_orphans(before):
        total += forgotten
        if forgotten < ORPHANS_AT_ONCE:
            break
    return total
