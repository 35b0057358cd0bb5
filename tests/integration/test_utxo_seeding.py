"""Outputs older than a watch, on real nodes: what spends them is told, and nothing is claimed before that is so."""

import pytest

from chainbell.domain.utxo import Prevout
from tests.bitcoin import COIN, Bitcoind, Coin, Litecoind, UtxoDaemon
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house

FEE = 10_000


async def _own(node: UtxoDaemon, kind: str, amount: int = COIN) -> tuple[str, Coin]:
    """Pay a fresh address of the wallet, mine that, and return the address and its coin."""
    address = await node.new_address(kind)
    await node.send(address, amount)
    await node.mine()
    return address, await _coin(node, address)


async def _coin(node: UtxoDaemon, address: str) -> Coin:
    (found,) = [coin for coin in await node.coins() if coin.address == address]
    return found


async def _seeded(home: UtxoHouse) -> None:
    """Wait until what leaves every watched address is covered."""

    async def covered() -> bool:
        (row,) = await home.fetch("select count(*) as n from addresses where outgoing_from is null and removed_at is null")
        return bool(row["n"] == 0)

    await until(covered, "every address is seeded")


async def _spend(node: UtxoDaemon, coin: Coin) -> str:
    stranger = await node.script(await node.new_address())
    return await node.raw_transaction([coin], [(stranger, coin.amount - FEE)])


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32", "bech32m"])
async def test_an_output_from_before_the_watch_is_seen_spent(bitcoind: Bitcoind, database_url: str, kind: str) -> None:
    """An address that holds coins when it is registered: what spends them later is a transfer out of it."""
    address, coin = await _own(bitcoind, kind)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await started(home)
        await home.watch(address)
        await _seeded(home)
        txid = await _spend(bitcoind, coin)
        await bitcoind.mine()
        await caught_up(home)
        await home.tells(txid, "created", "processing", "awaiting_confirmation", type_="transfer")
