"""A random walk on real daemons of the Bitcoin family: at its end, and on its way, our books are what the node says."""

import random
import time

T0 = time.monotonic()
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from chainbell.nodes.backoff import Backoff
from tests.bitcoin import Bitcoind, RpcError, UtxoDaemon
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house
from tests.utxo_judge import Judge, Watched
from tests.utxo_people import Place
from tests.utxo_verdict import WAITS, check_books, check_gone, check_stories
from tests.utxo_walk import OUTSIDER, Sent, Walk

TRANSACTIONS = 1_000
SOAK_TRANSACTIONS = 10_000
DEEPEST = 12
DROP_AFTER = 1
PATIENCE = 60


@dataclass
class Stage:
    """A walk, and who follows it."""

    home: UtxoHouse
    walk: Walk
    judge: Judge
    first: int
    accounts: dict[str, str] = field(default_factory=dict)

    @property
    def node(self) -> UtxoDaemon:
        return self.walk.node

    async def watch(self, place: Place) -> None:
        """Register an address; the judge learns from which block on it counts."""
        account = self.accounts[place.owner]
        since = await self.home.watch(place.address, account=account, change=place.change)
        self.judge.watched[place.script.hex()] = Watched(place.owner, place.change, since)

    def concerns(self, sent: Sent) -> bool:
        addresses = {place.address for place in self.walk.watched}
        paid = any(place.address in addresses and amount for place, amount in sent.paid)
        return paid or any(coin.address in addresses for coin in sent.spent)

    async def waiting(self) -> list[str]:
        """Return what waits in the mempool and concerns us."""
        return [txid for txid in await self.node.mempool() if txid in self.walk.sent and self.concerns(self.walk.sent[txid])]

    async def told(self) -> None:
        """Wait until everything that waits in the mempool, and concerns us, was told."""
        await self.all_in(await self.waiting(), set(WAITS.values()))

    async def all_in(self, txids: Sequence[str], statuses: set[str]) -> None:
        """Wait until all records of these transactions, of which there are some, are in one of these statuses."""
        missing: list[str] = []

        async def are() -> bool:
            rows = await self.home.fetch(
                "select tx_hash, bool_and(status = any($2)) as there from transactions where tx_hash = any($1) group by 1",
                [bytes.fromhex(txid) for txid in txids],
                sorted(statuses),
            )
            missing[:] = set(txids) - {row["tx_hash"].hex() for row in rows if row["there"]}
            return not missing

        try:
            await until(are, f"{len(txids)} transactions are {statuses}", PATIENCE)
        except BaseException as error:
            error.add_note(f"missing: {[(self.walk.sent[txid], await self.home.story(txid)) for txid in missing[:3]]}")
            raise

    async def seeded(self) -> None:
        """Wait until the older outputs of all addresses are known, and what came meanwhile was read for them."""

        async def all_are() -> bool:
            (row,) = await self.home.fetch("select count(*) as n from addresses where outgoing_from is null")
            return row["n"] == 0 and await self.home.scanned()

        await until(all_are, "all addresses are seeded", PATIENCE)

    async def empty_mempool(self) -> None:
        while await self.node.mempool():
            await self.walk.mine()
        await caught_up(self.home)

    async def register(self, guests: Sequence[Place]) -> None:
        """Watch addresses that were paid, and paid, before."""
        await self.empty_mempool()
        await self.judge.read()
        self.judge.freeze()
        for guest in guests:
            place = replace(guest, owner=self.walk.chance.choice("AB"))
            self.walk.places[self.walk.places.index(guest)] = place
            await self.watch(place)
            self.walk.done["registered late"] += 1
        if any(guest.kind == "p2tr" for guest in guests):
            await self.seeded()  # an input that spends it shows no key: until then what leaves it is not covered

    async def reorg(self) -> None:
        chance = self.walk.chance
        depth = chance.randint(1, DEEPEST if chance.random() < 0.2 else 4)
        self.taken_back_to(await self.walk.reorg(depth, self.first))

    def taken_back_to(self, fork: int) -> None:
        """Let what is above this height count for all that is watched by now: it is committed after they were."""
        for watched in self.judge.watched.values():
            watched.since = min(watched.since, fork + 1)

    async def back_and_forth(self) -> None:
        """Lead the chain off a branch and back to it: the same blocks, with the same coinbases."""
        await self.walk.mine_to_us()
        await self.walk.mine(2)
        await caught_up(self.home)
        tip, fork = await self.node.block_hash(), await self.node.height() - 3
        lowest = await self.node.block_hash(fork + 1)
        await self.node.invalidate(lowest)
        await self.node.mine(2)
        await caught_up(self.home)
        await self.node.reconsider(lowest)
        assert await self.node.block_hash() == tip
        await caught_up(self.home)
        self.taken_back_to(fork)
        self.walk.done["reorg, back again"] += 1

    async def eviction(self) -> None:
        """Have the node lose its mempool; some of what was in it comes again later."""
        for _ in range(4):
            await self.walk.deposit()
            await self.walk.payout()
        await self.told()
        lost = await self.waiting()
        raws = [await self.node.raw(txid) for txid in lost]
        await self.node.lose_mempool()
        await self.all_in(lost, {"DROPPED", "REPLACED"})
        self.walk.done["evicted"] += len(lost)
        for raw in raws[::2]:
            with suppress(RpcError):  # what it spends may be lost too
                await self.node.send_raw(raw)
                self.walk.done["sent again"] += 1
        await self.told()
        await self.walk.look()

    async def checkpoint(self) -> None:
        await caught_up(self.home)
        await self.seeded()
        await check_books(self.home, self.judge)
        self.walk.done["checkpoint"] += 1

    async def round(self) -> None:
        """Let a few things happen, and a block."""
        walk, chance = self.walk, self.walk.chance
        await walk.look()
        payments = [
            *[walk.deposit] * 4,
            *[walk.batch] * 2,
            *[walk.payout] * 4,
            *[walk.batch_payout] * 2,
            walk.consolidation,
            *[walk.internal] * 2,
            *[walk.mixed] * 2,
            *[walk.chain] * 2,
        ]
        for _ in range(chance.randint(4, 14)):
            await chance.choice(payments)()
        if chance.random() < 0.6:
            await self.told()
        for _ in range(chance.choice([0, 0, 1, 3])):
            await walk.replacement()
        if chance.random() < 0.6:
            await self.told()
        await chance.choice([walk.mine, walk.mine, walk.mine, walk.mine_to_us, *self.own_blocks])()
        if chance.random() < 0.8:
            await caught_up(self.home)
        if chance.random() < 0.3:
            await self.reorg()

    own_blocks: Sequence[Callable[[], Awaitable[None]]] = ()
    """Ways to mine of daemons that let us choose what is in a block."""


async def _settle(stage: Stage) -> None:
    """Mine all that waits, deep enough, and let pass what counts as absence."""
    await stage.empty_mempool()
    await stage.walk.mine(stage.judge.required + 1)

    async def nothing_waits() -> bool:
        (row,) = await stage.home.fetch(
            "select count(*) as n from transactions where block_height is null and status = any($1)", [*WAITS.values()]
        )
        return bool(row["n"] == 0)

    await caught_up(stage.home)
    await until(nothing_waits, "nothing is pending", PATIENCE)


@pytest.mark.timeout(1800)
async def test_a_walk_on_bitcoind(database_url: str, seed: int, soak: bool) -> None:
    """A thousand transactions of every shape, with replacements, reorgs, evictions and late registrations."""
    chance = random.Random(seed)
    async with Bitcoind(args=["-acceptnonstdtxn=1"]) as node:
        walk = Walk(node, chance)
        guests = await _settle_in(walk)
        async with utxo_house(
            node, database_url, drop_after_seconds=DROP_AFTER, backoff=Backoff(first=0.05, cap=0.2)
        ) as home:
            judge = Judge(node, home.definition.required_confirmations, 100)
            stage = Stage(home, walk, judge, await node.height())
            stage.own_blocks = [walk.mine_some, walk.mine_unrelayed]
            async with following_utxo(home):
                await started(home)
                await _open_accounts(stage)
                await _walk(stage, guests, SOAK_TRANSACTIONS if soak else TRANSACTIONS)
                await _settle(stage)
                await stage.checkpoint()
            await _judge(stage)


async def _settle_in(walk: Walk) -> list[Place]:
    """Give everybody addresses and outsiders coins; return addresses that are registered later."""
    node, people = walk.node, walk.people
    await node.fund(20)
    for owner in ("A", "B", OUTSIDER):
        walk.places += [await people.place(owner, kind) for kind in people.kinds]
    for owner in ("A", "B"):
        walk.places += [await people.place(owner, kind, change=True) for kind in ("p2wpkh", "p2sh-p2wpkh")]
    walk.places += [await people.witness("A", 2), await people.witness("B", 16)]
    guests = [await people.place(OUTSIDER, kind) for kind in people.kinds]
    walk.places += guests
    strangers = {place.kind: place for place in people.strangers()}
    walk.strangers = [strangers["nonstandard"]]
    walk.unrelayed = [strangers["p2pk"], strangers["multisig"]]
    walk.coins = await node.coins()
    for _ in range(5):
        assert await walk.pay("fan out", walk.coins[:4], walk.owned_by(OUTSIDER) * 4)
        await walk.mine()
    return guests


async def _open_accounts(stage: Stage) -> None:
    for owner in ("A", "B"):
        (row,) = await stage.home.fetch("insert into accounts (mode, name) values ('test', $1) returning id", owner)
        stage.accounts[owner] = str(row["id"])
    for place in stage.walk.watched:
        await stage.watch(place)


async def _walk(stage: Stage, guests: Sequence[Place], transactions: int) -> None:
    """Walk, and do at certain points what takes long."""
    groups = [guests[number::3] for number in range(3)]
    special: list[Callable[[], Awaitable[None]]] = [
        lambda: stage.register(groups[0]),
        stage.eviction,
        stage.checkpoint,
        lambda: stage.register(groups[1]),
        stage.back_and_forth,
        stage.checkpoint,
        lambda: stage.register(groups[2]),
        stage.eviction,
        stage.back_and_forth,
    ]
    for number, event in enumerate(special, start=1):
        while stage.walk.count < transactions * number / (len(special) + 1):
            await stage.round()
        await event()
        print(number, stage.walk.count, await stage.node.height(), round(time.monotonic() - T0, 1))
    while stage.walk.count < transactions:
        await stage.round()


async def _judge(stage: Stage) -> None:
    walk, judge = stage.walk, stage.judge
    spent = {txid: [(coin.txid, coin.vout) for coin in sent.spent] for txid, sent in walk.sent.items()}
    told = await check_stories(stage.home)
    print(walk.count, dict(walk.done), dict(told), judge.types_paid(), judge.types_spent(), judge.types_of_recipients())
    await check_gone(stage.home, judge, spent, walk.coinbases)
