"""What waits in a mempool: told, replaced, dropped and brought back, on real daemons and a real PostgreSQL."""

import time

import pytest

from tests.bitcoin import COIN, Bitcoind
from tests.utxo_house import caught_up, following_utxo, started, utxo_house

BTC = COIN


async def test_a_payment_is_pending_within_a_second(bitcoind: Bitcoind, database_url: str) -> None:
    """By polling alone, at the definition's own pace; then it goes the way of its block."""
    async with utxo_house(bitcoind, database_url, poll_seconds=0.2) as home, following_utxo(home):
        await started(home)
        address = await home.watched_address()
        began = time.monotonic()
        txid = await bitcoind.send(address, BTC)
        await home.tells(txid, "created", "pending", seconds=1)
        assert time.monotonic() - began < 1
        await bitcoind.mine(3)
        await home.tells(
            txid, "created", "pending", "awaiting_confirmation", "confirmation", "confirmation", "success"
        )
        await home.check_stories()
