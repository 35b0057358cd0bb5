"""What happens between two looks at a mempool, on a real daemon and a real PostgreSQL."""

import pytest

from chainbell.nodes.utxo.node import UtxoNode
from chainbell.watcher.mempool import MempoolFollower
from tests.bitcoin import COIN, UtxoDaemon
from tests.utxo_house import WAITS, UtxoHouse, at_home, caught_up


async def _until_woken(follower: MempoolFollower[UtxoNode], _took: float) -> None:
    await follower._wake.wait()
    follower._wake.clear()


async def test_what_was_mined_and_given_up_between_two_looks_is_told_anew(
    daemon: UtxoDaemon, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that shows the same as the one before, with a deep reorg in between, tells both payments of a fee bump."""
    monkeypatch.setattr(MempoolFollower, "_pause", _until_woken)
    async with at_home(daemon, database_url, required_confirmations=1, drop_after_seconds=0.5) as home:
        address = await home.watched_address()
        first = await daemon.send(address, COIN, fee_rate=20)
        await _look(home, first, *WAITS)
        second = await daemon.bump(first, fee_rate=60)
        await _look(home, second, *WAITS)
        await daemon.mine()
        mined = [*WAITS, "awaiting_confirmation", "success"]
        await home.tells(second, *mined)
        await home.tells(first, *WAITS, "replaced", "replaced")
        await daemon.reorg(1, empty=True)
        await caught_up(home)
        await home.tells(second, *mined, "reverted")
        await _look(home, second, *mined, "reverted", "pending")
        await home.tells(first, *WAITS, "replaced", "replaced", "pending", "replaced")
        assert (await home.last_body(second))["replaces"] == first
        await home.check_stories()


async def _look(home: UtxoHouse, txid: str, *names: str) -> None:
    home.mempool_wake.set()
    await home.tells(txid, *names)
