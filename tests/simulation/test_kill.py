"""Kill the running command at every commit point and at random moments: nothing is missed, nothing is told twice."""

import asyncio
import random
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainbell.telemetry.checkpoints import Checkpoint
from tests.house import House, house, until
from tests.merchant import receiving
from tests.nodes import Anvil
from tests.soak import (
    KILLED,
    Walk,
    chainbell_process,
    define,
    judge,
    live_until_killed,
    soak_environment,
    subscribe,
    told_to_the_end,
)

RANDOM_KILLS = 20
POINTS = {point for point in Checkpoint if not point.startswith(("mempool_", "seed_"))}
"""Mempools are read, and older outputs entered, on chains of the Bitcoin family alone."""


async def _watch_with_its_past(home: House, late: Iterator[str], first: int) -> None:
    """Register the next address that was paid long before, so that each life has a scan of the past to go on with."""
    address = next(late, None)
    if address is not None:
        await home.watch_past(address, first, notify=True)


@pytest.mark.timeout(600)
async def test_no_kill_loses_or_doubles_anything(manual_anvil: Anvil, database_url: str, seed: int, soak: bool) -> None:
    """At least twenty random kills and one at each named point, while deposits flow and the chain reorganises."""
    anvil, chance = manual_anvil, random.Random(seed)
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    async with house(anvil, database_url) as home, receiving() as receiver:
        with tempfile.TemporaryDirectory() as folder:
            define(Path(folder), token)
            environment = soak_environment(home, database_url, Path(folder))
            walk = Walk(home, token, chance, first=await anvil.height() + 1)
            assert await live_until_killed(environment, Checkpoint.CHAIN_STARTED.value, 1, 60) == KILLED
            hit = {Checkpoint.CHAIN_STARTED}
            for address in walk.people:
                await home.watch(address)
            await subscribe(home, receiver)
            walk.guests = ["0x" + f"{number:02x}" * 20 for number in range(1, RANDOM_KILLS)]
            late = iter(walk.guests)
            async with walk.going_on():
                for point in [p for p in Checkpoint if p in POINTS - hit] * (3 if soak else 1):
                    await _watch_with_its_past(home, late, walk.first)
                    ended = await live_until_killed(environment, point.value, chance.randrange(1, 4), 60)
                    assert ended == KILLED, f"{point} was never reached (seed {seed})"
                    hit.add(point)
                for _ in range(RANDOM_KILLS * (5 if soak else 1)):
                    await _watch_with_its_past(home, late, walk.first)
                    lived = await live_until_killed(environment, "-", 1, chance.uniform(1.5, 5))
                    assert lived == KILLED, f"it ended by itself (seed {seed})"
            assert hit == POINTS
            assert walk.reorgs > 0
            await anvil.mine(4)
            for _ in walk.guests:
                await _watch_with_its_past(home, late, walk.first)
            async with chainbell_process(environment, "-", 1) as process:
                await until(home.scanned, "every scan of the past is finished", seconds=60)
                await told_to_the_end(home)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 30) == 0
            await judge(home, walk, receiver, f"seed {seed}")
