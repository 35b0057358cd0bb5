"""A random walk on a real chain of the Bitcoin family: payments of every shape, replacements, reorgs and evictions.

Imports nothing from chainbell: what a walk did is told by its node, and what follows from that by `tests.utxo_judge`.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.bitcoin import COIN, Coin, RpcError, UtxoDaemon
from tests.utxo_people import People, Place

FEE = 40_000
LEAST = 20_000
"""No output of value is smaller."""
OUTSIDER = "outsider"
Action = Callable[["Walk"], str]


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction of the walk: what it spends and pays, in satoshis."""

    txid: str
    spent: tuple[Coin, ...]
    paid: tuple[tuple[Place, int], ...]

    @property
    def fee(self) -> int:
        return sum(coin.amount for coin in self.spent) - sum(amount for _, amount in self.paid)


@dataclass
class Walk:
    """Who takes part, and what was done so far. Owners are the accounts "A" and "B", outsiders, and strangers."""

    node: UtxoDaemon
    chance: random.Random
    places: list[Place] = field(default_factory=list)
    strangers: list[Place] = field(default_factory=list)
    unrelayed: list[Place] = field(default_factory=list)
    """Strangers whom only a miner pays directly."""
    sent: dict[str, Sent] = field(default_factory=dict)
    ways_back: Sequence[str] = ("again", "empty", "double spend", "double spend", "forward", "part")
    """How blocks that are taken back may be replaced."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each thing was done."""
    count: int = 0
    """Transactions of the walk that were in a mempool or a block."""
    coins: list[Coin] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = People(self.node, self.chance)

    def owned_by(self, owner: str, *, change: bool | None = None) -> list[Place]:
        return [each for each in self.places if each.owner == owner and change in {None, each.change}]

    @property
    def watched(self) -> list[Place]:
        return [*self.owned_by("A"), *self.owned_by("B")]

    async def look(self) -> None:
        """See what the wallet can spend, and what became of it."""
        self.coins = await self.node.coins()
        self.chance.shuffle(self.coins)

    # What is paid

    async def pay(self, kind: str, coins: Sequence[Coin], payees: Sequence[Place], *, fee: int = FEE) -> Sent | None:
        """Spend these coins whole; None where there was too little, or the node refused it."""
        paid = self._shares(sum(coin.amount for coin in coins) - fee, payees)
        if paid is None:
            return None
        try:
            txid = await self.node.raw_transaction(coins, [(place.script, amount) for place, amount in paid])
        except RpcError:
            self.done["refused"] += 1
            return None
        return self.note(kind, txid, coins, paid)

    def note(self, kind: str, txid: str, coins: Sequence[Coin], paid: Sequence[tuple[Place, int]]) -> Sent:
        self.coins = [coin for coin in self.coins if coin not in coins]
        self.done[kind] += 1
        self.count += txid not in self.sent
        self.sent[txid] = Sent(txid, tuple(coins), tuple(paid))
        return self.sent[txid]

    def _shares(self, amount: int, payees: Sequence[Place]) -> list[tuple[Place, int]] | None:
        """Share an amount out among payees; data holds no value."""
        valued = [place for place in payees if place.kind != "data"]
        if not valued or amount < LEAST * len(valued):
            return None
        weights = [self.chance.random() + 0.05 for _ in valued]
        rest = amount - LEAST * len(valued)
        amounts = [LEAST + int(rest * weight / sum(weights)) for weight in weights]
        amounts[-1] += amount - sum(amounts)
        shared = iter(amounts)
        return [(place, 0 if place.kind == "data" else next(shared)) for place in payees]

    def take(self, owner: str, most: int, *, least: int = 10 * FEE) -> list[Coin]:
        """Choose up to so many coins of an owner."""
        addresses = {place.address for place in self.owned_by(owner)}
        found = [coin for coin in self.coins if coin.address in addresses]
        chosen = found[: self.chance.randint(1, most)]
        return chosen if sum(coin.amount for coin in chosen) >= least else found[: most + 4]

    def _somebody(self) -> Place:
        return self.chance.choice([*self.owned_by(OUTSIDER), *self.watched, self.chance.choice(self.strangers)])

    def _change_for(self, owner: str, coins: Sequence[Coin]) -> list[Place]:
        """Choose what becomes of the rest: an address for change, one that pays, another one, or nothing at all."""
        payers = [place for place in self.places if place.address in {coin.address for coin in coins}]
        if not payers:
            return []
        match self.chance.randrange(5):
            case 0 | 1:
                return [self.chance.choice(self.owned_by(owner, change=True) or payers)]
            case 2:
                return [self.chance.choice(payers)]
            case 3:
                return [self.chance.choice(self.owned_by(owner))]
            case _:
                return []

    async def deposit(self) -> Sent | None:
        payees = [self.chance.choice(self.watched), self.chance.choice(self.owned_by(OUTSIDER))]
        return await self.pay("deposit", self.take(OUTSIDER, 1), payees)

    async def batch(self) -> Sent | None:
        twice = self.chance.choice(self.watched)
        payees = [twice, twice, *(self._somebody() for _ in range(self.chance.randint(2, 6))), self.people.data()]
        self.chance.shuffle(payees)
        return await self.pay("batch", self.take(OUTSIDER, 2), [*payees, self.chance.choice(self.owned_by(OUTSIDER))])

    async def payout(self) -> Sent | None:
        owner = self.chance.choice("AB")
        coins = self.take(owner, 2)
        outside = [*self.owned_by(OUTSIDER), *self.owned_by("B" if owner == "A" else "A")]
        payees = [self.chance.choice([*outside, self.chance.choice(self.strangers)]), *self._change_for(owner, coins)]
        self.chance.shuffle(payees)
        return await self.pay("payout", coins, payees) if coins else None

    async def batch_payout(self) -> Sent | None:
        owner = self.chance.choice("AB")
        coins = self.take(owner, 3)
        payees = [self._somebody() for _ in range(self.chance.randint(3, 6))]
        payees += [self.people.data(), *self._change_for(owner, coins), self.chance.choice(self.owned_by(OUTSIDER))]
        return await self.pay("batch payout", coins, payees) if coins else None

    async def consolidation(self) -> Sent | None:
        owner = self.chance.choice("AB")
        coins = self.take(owner, 8)
        kept = self._change_for(owner, coins) or self.owned_by(owner, change=False)[:1]
        return await self.pay("consolidation", coins, kept) if coins else None

    async def internal(self) -> Sent | None:
        owner = self.chance.choice("AB")
        coins = self.take(owner, 1)
        payees = [self.chance.choice(self.owned_by(owner, change=False)) for _ in range(2)]
        return await self.pay("internal", coins, [*payees, *self._change_for(owner, coins)]) if coins else None

    async def mixed(self) -> Sent | None:
        """Spend coins of several owners at once, as joint payments do."""
        owners = self.chance.choice([("A", "B"), ("A", OUTSIDER), ("B", OUTSIDER), ("A", "B", OUTSIDER)])
        coins = [coin for owner in owners for coin in self.take(owner, 1, least=0)]
        payees = [self._somebody() for _ in range(self.chance.randint(2, 5))]
        for owner in owners:
            payees += self._change_for(owner, coins)[:1]
        self.chance.shuffle(coins)
        return await self.pay("mixed owners", coins, payees) if len(coins) == len(owners) else None

    async def chain(self) -> Sent | None:
        """Spend what is not confirmed yet, several times over."""
        last = await self.deposit()
        for _ in range(self.chance.randint(1, 4)):
            if last is None:
                return None
            spendable = [
                Coin(last.txid, index, place.address, amount)
                for index, (place, amount) in enumerate(last.paid)
                if place in self.places and place.kind in self.people.kinds and amount > 10 * FEE
            ]
            if not spendable:
                return last
            payees = [self._somebody(), self.chance.choice(self.places), self.chance.choice(self.owned_by(OUTSIDER))]
            last = await self.pay("chained", [self.chance.choice(spendable)], payees)
        return last

    async def replacement(self) -> Sent | None:
        """Replace what waits by what pays more: to the same payees, or elsewhere."""
        waiting = [txid for txid in await self.node.mempool() if txid in self.sent and self.sent[txid].paid]
        if not waiting:
            return None
        before = self.sent[self.chance.choice(waiting)]
        entry = await self.node.rpc("getmempoolentry", before.txid)
        fee = int(entry["fees"]["descendant"] * COIN) + FEE
        if self.chance.random() < 0.5:
            return await self.pay("replaced, same payees", before.spent, [place for place, _ in before.paid], fee=fee)
        payees = [self._somebody() for _ in range(self.chance.randint(1, 3))]
        payees.append(self.chance.choice(self.owned_by(OUTSIDER)))
        some = before.spent[: self.chance.randint(1, len(before.spent))]
        return await self.pay("replaced, elsewhere", some, payees, fee=fee)

    # What is mined

    async def mine(self, blocks: int = 1) -> None:
        self.done["block"] += blocks
        await self.node.mine(blocks)

    async def mine_to_us(self) -> None:
        """Pay a coinbase to a watched address."""
        self.done["coinbase"] += 1
        await self.node.mine(1, self.chance.choice([place.address for place in self.watched]))

    async def mine_some(self) -> None:
        """Mine what has no parent in the mempool, or a part of that."""
        entries = await self.node.rpc("getrawmempool", True)
        alone = [txid for txid, entry in entries.items() if not entry["depends"]]
        self.done["part of the mempool"] += 1
        await self.node.mine_only(self.chance.sample(alone, self.chance.randint(0, len(alone))))

    async def mine_unrelayed(self) -> None:
        """Mine what was in no mempool: it pays scripts that no node passes on."""
        coins = [coin for coin in self.take(self.chance.choice(["A", "B", OUTSIDER]), 3) if await self._is_confirmed(coin)]
        payees = [*self.unrelayed, self.chance.choice(self.watched), self.chance.choice(self.owned_by(OUTSIDER))]
        await self._mine_directly("unrelayed", coins, payees)

    async def _mine_directly(self, kind: str, coins: Sequence[Coin], payees: Sequence[Place]) -> bool:
        """Mine a block with one transaction that was in no mempool; False where that was not to be had."""
        paid = self._shares(sum(coin.amount for coin in coins) - FEE, payees)
        if paid is None or not coins:
            return False
        outputs = [(place.script, amount) for place, amount in paid]
        raw = await self.node.raw_transaction(coins, outputs, send=False)
        txid = (await self.node.rpc("decoderawtransaction", raw))["txid"]
        await self.node.mine_only([raw])
        self.note(kind, str(txid), coins, paid)
        return True

    async def _is_confirmed(self, coin: Coin) -> bool:
        return await self.node.rpc("gettxout", coin.txid, coin.vout, False) is not None

    # What is taken back

    async def reorg(self, depth: int, floor: int, how: str | None = None) -> int:
        """Take blocks back and mine others; return the height up to which the chain stayed."""
        height = await self.node.height()
        fork = max(height - depth, floor)
        before = [await self.node.block(at) for at in range(max(floor, fork - 40), height + 1)]
        taken_back = [told for block in before if block["height"] > fork for told in block["tx"]]
        if not await self.give_up(await self.node.block_hash(fork + 1)):
            return height
        kept = await self.highest_kept(before)
        how = how or self.chance.choice(self.ways_back)
        self.done[f"reorg, {how}"] += 1
        match how:
            case "again":
                await self.node.mine(height - fork + 1)
            case "forward":
                await self.node.mine(height - fork + self.chance.randint(2, 8))
            case "empty":
                for _ in range(height - fork + 1):
                    await self.node.mine_only()
            case "replaced":
                for _ in range(3):
                    await self.replacement()
                await self.node.mine(height - fork + 1)
            case "part":
                await self.mine_some()
                await self.node.mine(height - fork)
            case _:
                await self._double_spend([each["txid"] for each in taken_back])
                await self.node.mine(height - fork + 1)
        return min(kept, await self.highest_kept(before))

    async def highest_kept(self, blocks: Sequence[dict[str, Any]]) -> int:
        """Return the height of the last of these that the node's chain has still.

        It may not be the parent of what was refused: a branch that was left before may be the best again, and litecoind
        sometimes stops half-way.
        """
        tip = await self.node.height()
        for block in reversed(blocks):
            height = int(block["height"])
            if height <= tip and await self.node.block_hash(height) == block["hash"]:
                return height
        message = "the reorg went deeper than was looked at"
        raise AssertionError(message)

    async def give_up(self, lowest: str) -> bool:
        """Have the node refuse a block of its chain; False where it cannot."""
        await self.node.invalidate(lowest)
        return True

    async def _double_spend(self, txids: Sequence[str]) -> None:
        """Mine what takes the inputs of some transactions that were in the blocks that are taken back."""
        known = [self.sent[txid] for txid in txids if txid in self.sent]
        self.chance.shuffle(known)
        hit = 0
        for victim in known[:6]:
            coins = [coin for coin in victim.spent if await self._is_confirmed(coin)][:1]
            with suppress(RpcError):
                hit += await self._mine_directly(
                    "double spend", coins, [self._somebody(), self.chance.choice(self.owned_by(OUTSIDER))]
                )
            if hit > 1:
                return
