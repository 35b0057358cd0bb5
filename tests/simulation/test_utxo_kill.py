"""Kill the running command on a real bitcoind, at every commit point and at random moments: nothing is missed or doubled."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from chainbell.telemetry.checkpoints import Checkpoint
from tests.bitcoin import Bitcoind
from tests.merchant import receiving
from tests.soak import KILLED, chainbell_process, live_until_killed, subscribe
from tests.utxo_house import utxo_house
from tests.utxo_judge import Judge
from tests.utxo_soak import Turmoil, all_is_told, judge_turmoil, naming, settle_in, utxo_environment

RANDOM_KILLS = 4
SOAK_RANDOM_KILLS = 100
SOAK_ROUNDS = 3
MATURITY = 100
RARE = {point for point in Checkpoint if point.startswith(("seed_", "retraction_"))}
"""What a life need not pass through twice: it takes a new address, or a reorg."""


async def _kill_at_every_point(environment: dict[str, str], turmoil: Turmoil, rounds: int) -> None:
    points = [point for point in Checkpoint if point is not Checkpoint.CHAIN_STARTED] * rounds
    for point in points:
        await turmoil.register_next()
        times = 1 if point in RARE else turmoil.walk.chance.randrange(1, 3)
        ended = await live_until_killed(environment, point.value, times, 60)
        assert ended == KILLED, f"{point} was never reached"


async def _kill_at_random(environment: dict[str, str], turmoil: Turmoil, kills: int) -> None:
    for _ in range(kills):
        await turmoil.register_next()
        ended = await live_until_killed(environment, "-", 1, turmoil.walk.chance.uniform(1.5, 3.5))
        assert ended == KILLED, "it ended by itself"


@pytest.mark.timeout(3600)
async def test_no_kill_loses_or_doubles_anything_on_bitcoin(
    database_url: str, tmp_path: Path, seed: int, soak: bool
) -> None:
    """While payments are replaced, blocks taken back, and addresses registered that held coins before."""
    chance, rounds, kills = random.Random(seed), SOAK_ROUNDS if soak else 1, SOAK_RANDOM_KILLS if soak else RANDOM_KILLS
    label = f"seed {seed}"
    async with Bitcoind(zmq=("hashblock", "rawtx", "sequence")) as node:
        walk, guests = await settle_in(node, chance, guests=rounds * len(Checkpoint) + kills)
        async with utxo_house(node, database_url) as home, receiving() as receiver:
            environment = utxo_environment(node, database_url, tmp_path)
            assert home.definition.required_depth is not None
            judge = Judge(node, home.definition.required_depth, MATURITY)
            turmoil = Turmoil(home, walk, judge, await node.height(), guests)
            with naming(label):
                assert await live_until_killed(environment, Checkpoint.CHAIN_STARTED.value, 1, 60) == KILLED
                await turmoil.open_accounts()
                await subscribe(home, receiver)
                async with turmoil.going_on():
                    await _kill_at_every_point(environment, turmoil, rounds)
                    await _kill_at_random(environment, turmoil, kills)
                await turmoil.calm_down()
                async with chainbell_process(environment, "-", 1) as process:
                    await turmoil.replace_one()
                    await all_is_told(home)
                    process.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(process.wait(), 30) == 0
                told = await judge_turmoil(turmoil, receiver, label)
                assert turmoil.depths
                kinds = ("pending", "replaced", "success", *(["dropped", "reverted"] if soak else []))
                assert all(told[f"deposit.{kind}"] for kind in kinds), told
                assert told["transfer.success"], told
                print(  # noqa: T201 - figures of a soak
                    f"{label}: {len(walk.sent)} transactions, {len(turmoil.depths)} reorgs, {dict(walk.done)}, {dict(told)}"
                )
