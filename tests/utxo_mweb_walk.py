"""What a walk on Litecoin does beside: value goes into the extension block, and comes out of it again."""

from dataclasses import dataclass

from tests.bitcoin import COIN, Coin, Litecoind, RpcError, satoshis
from tests.utxo_people import Place
from tests.utxo_walk import Walk

AMOUNT = COIN // 20


@dataclass
class MwebWalk(Walk):
    """Once there are extension blocks, litecoind does not let us choose what is in a block: it takes its mempool."""

    ways_back: tuple[str, ...] = ("again", "forward", "replaced")

    @property
    def litecoind(self) -> Litecoind:
        assert isinstance(self.node, Litecoind)
        return self.node

    async def peg_in(self) -> None:
        """Have an owner pay more into the extension block than the wallet has there; it waits in the mempool."""
        for owner in self.chance.sample("AB", 2):
            if await self._peg_in_of(owner):
                return

    async def _peg_in_of(self, owner: str) -> bool:
        """Tell whether it could be done: the owner has enough, and what was in the extension block is not enough."""
        addresses = {place.address for place in self.owned_by(owner)}
        coins = {(coin.txid, coin.vout): coin for coin in await self.node.coins()}
        inside = [satoshis(each["amount"]) for each in await self.node.rpc("listunspent", 0) if "vout" not in each]
        allowed = sum(coin.amount for coin in coins.values() if coin.address in addresses)
        if allowed < 2 * AMOUNT:
            return False
        others = [{"txid": coin.txid, "vout": coin.vout} for coin in coins.values() if coin.address not in addresses]
        await self.node.rpc("lockunspent", False, others)
        try:
            txid = await self.node.send(await self.node.new_address("mweb"), sum(inside) + AMOUNT)
        finally:
            await self.node.rpc("lockunspent", True, others)
        told = await self.node.rpc("getrawtransaction", txid, True)
        spent: list[Coin] = [coins[each["txid"], each["vout"]] for each in told["vin"] if "txid" in each]
        if spent:
            self.note("peg-in", txid, spent, [])
        return bool(spent)

    async def peg_out(self) -> None:
        """Pay a watched address out of the extension block, and mine that."""
        payee: Place = self.chance.choice(self.watched)
        try:
            await self.litecoind.peg_out(payee.address, AMOUNT // 4)
        except RpcError:  # what is in the extension block comes from a block that was taken back
            await self.mine()
            return
        self.count += 1
        self.done["peg-out"] += 1

    async def give_up(self, lowest: str) -> bool:
        """Have litecoind refuse a block: now and then it answers that it does, and stays where it is."""
        before = await self.node.block_hash()
        await self.node.rpc("invalidateblock", lowest)
        if await self.node.block_hash() != before:
            return True
        await self.node.reconsider(lowest)
        self.done["reorg, not done"] += 1
        return False
