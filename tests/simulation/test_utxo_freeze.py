"""A leader on a real bitcoind that freezes while it tells what a mempool showed, and wakes when another has told more."""

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from chainbell.telemetry.checkpoints import Checkpoint
from tests.bitcoin import COIN, Bitcoind
from tests.processes import life
from tests.utxo_house import caught_up, utxo_house
from tests.utxo_soak import utxo_environment

FEE = 20_000
WAITS = ("created", "pending")
THIRD = 3
"""Time that a point is passed: a look at the start, and one for each of two payments; or one look more between them."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", [Checkpoint.MEMPOOL_READ, Checkpoint.MEMPOOL_WRITTEN, Checkpoint.MEMPOOL_COMMITTED])
async def test_what_a_frozen_leader_saw_in_a_mempool_is_thrown_away(
    point: Checkpoint, bitcoind: Bitcoind, database_url: str, tmp_path: Path
) -> None:
    """Another takes over and tells what replaced it meanwhile; who wakes tells neither that again nor what is gone."""
    coins = await bitcoind.coins()
    async with utxo_house(bitcoind, database_url) as home, AsyncExitStack() as lives:
        environment = utxo_environment(bitcoind, database_url, tmp_path, drop_after_seconds="600")
        environment |= {"CHAINBELL_DATA_DIR": str(tmp_path / "data"), "CHAINBELL_LOG_LEVEL": "info"}
        freezes = life(environment, tmp_path / "first.log", ["watcher"], point=f"freeze:{point.value}", times=THIRD)
        first = await lives.enter_async_context(freezes)
        await first.event("following")
        second = await lives.enter_async_context(life(environment, tmp_path / "second.log", ["watcher"]))
        await second.says("follows this chain")
        address = await home.watched_address()

        async def pay(number: int, fees: int) -> str:
            coin = coins[number]
            return await bitcoind.raw_transaction([coin], [(address, coin.amount - fees * FEE)])

        early = await pay(0, 1)
        await home.tells(early, *WAITS)
        late = await pay(1, 1)
        await first.frozen()
        before = await home.stories()
        rivals = [await pay(0, 5), await pay(1, 5)]
        for rival in rivals:
            await home.tells(rival, *WAITS, seconds=60)
        first.send(signal.SIGCONT)
        await first.says("follows this chain")
        third = await bitcoind.send(address, COIN)
        await home.tells(third, *WAITS)
        assert await home.stories() == {
            **{txid: [*told, "replaced"] for txid, told in before.items()},
            **{txid: [*WAITS] for txid in (*rivals, third)},
        }
        assert set(before) <= {early, late}
        assert await second.end() == 0
        await first.event("following", times=2)
        fourth = await bitcoind.send(address, COIN)
        await home.tells(fourth, *WAITS)
        await bitcoind.mine(3)
        await caught_up(home)
        for txid in (*rivals, third, fourth):
            assert (await home.story(txid))[-2:] == ["awaiting_confirmation", "success"]
        for txid in before:
            assert await home.story(txid) == [*WAITS, "replaced", "replaced"]
            assert (await home.last_body(txid))["final"] is True
        await home.check_stories()
        assert await first.end() == 0
