"""A random walk on real daemons of the Bitcoin family: at its end, and on its way, our books are what the node says."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from chainbell.nodes.backoff import Backoff
from tests.bitcoin import COIN, Bitcoind, Litecoind, RpcError, UtxoDaemon
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house
from tests.utxo_judge import Judge, Watched
from tests.utxo_mweb_walk import MwebWalk
from tests.utxo_people import Place
from tests.utxo_verdict import WAITS, check_books, check_gone, check_stories
from tests.utxo_walk import OUTSIDER, Sent, Walk

TRANSACTIONS = 1_000
LITECOIN_TRANSACTIONS = 200
SOAK_FACTOR = 10
DEEPEST = 12
DROP_AFTER = 1
REQUIRED, COINBASE_MATURITY, PEGOUT_MATURITY = 3, 100, 6
PATIENCE = 60
EVENTS = {
    *(f"deposit.{name}" for name in ("created", "pending", "awaiting_confirmation", "confirmation", "success")),
    *(f"transfer.{name}" for name in ("created", "processing", "awaiting_confirmation", "success")),
    *(f"{type_}.{name}" for type_ in ("deposit", "transfer") for name in ("dropped", "replaced", "reverted")),
}
DONE = {
    *("deposit", "batch", "payout", "batch payout", "consolidation", "internal", "mixed owners", "chained", "coinbase"),
    *("replaced, same payees", "replaced, elsewhere", "registered late", "evicted", "sent again", "checkpoint"),
    *("reorg, again", "reorg, forward"),
}
ONLY_BITCOIN = {
    *("part of the mempool", "unrelayed", "double spend", "reorg, back again"),
    *("reorg, empty", "reorg, part", "reorg, double spend"),
}
ONLY_LITECOIN = {"peg-in", "peg-out", "reorg, replaced"}
RECIPIENTS = {
    *("pubkeyhash", "scripthash", "witness_v0_keyhash", "witness_v0_scripthash", "witness_unknown"),
    *("nulldata", "nonstandard"),
}
"""Script types in a node's words."""


@dataclass
class Stage:
    """A walk, and who follows it."""

    walk: Walk
    judge: Judge
    first: int
    own_blocks: Sequence[Callable[[], Awaitable[None]]] = ()
    """Ways to mine that only this daemon has."""
    own_payments: Sequence[Callable[[], Awaitable[None]]] = ()
    to_end_with: Sequence[Callable[[], Awaitable[object]]] = ()
    """What must be in the chain in the end, whatever was taken back before."""
    restarts_after_reorg: bool = True
    """litecoind with extension blocks sometimes calls its own database corrupt, when it starts after a reorg."""
    comes_back: bool = True
    """litecoind with extension blocks sometimes cannot disconnect what it mined instead of a block that comes back."""
    home: UtxoHouse = field(init=False)
    events: Counter[str] = field(default_factory=Counter)
    """How many events of each kind there were in the end."""
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

    async def success_taken_back(self) -> None:
        """Take back, in each way there is, what was told as settled."""
        for how in sorted(set(self.walk.ways_back)):
            await self.walk.look()
            for _ in range(3):
                await self.walk.deposit()
                await self.walk.payout()
            await self.walk.mine(REQUIRED)
            await caught_up(self.home)
            await self.reorg(REQUIRED + 1, how)

    async def reorg(self, depth: int | None = None, how: str | None = None) -> None:
        chance = self.walk.chance
        if depth is None:
            depth = chance.randint(1, DEEPEST if chance.random() < 0.2 else 4)
        self.taken_back_to(await self.walk.reorg(depth, self.first, how))

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
        if not await self.walk.give_up(lowest) or await self.node.height() != fork:
            await self.node.reconsider(lowest)
            return
        await self.node.mine(2)
        await caught_up(self.home)
        await self.node.reconsider(lowest)
        assert await self.node.block_hash() == tip
        await caught_up(self.home)
        self.taken_back_to(fork)
        self.walk.done["reorg, back again"] += 1

    async def eviction(self) -> None:
        """Have the node lose its mempool; some of what was in it comes again later."""
        for _ in range(6):
            await self.walk.batch()
        await self.walk.mine()
        await caught_up(self.home)
        await self.walk.look()
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
        payments: list[Callable[[], Awaitable[object]]] = [
            *[walk.deposit] * 4,
            *[walk.batch] * 2,
            *[walk.payout] * 4,
            *[walk.batch_payout] * 2,
            walk.consolidation,
            *[walk.internal] * 2,
            *[walk.mixed] * 2,
            *[walk.chain] * 2,
            *self.own_payments,
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


@pytest.mark.timeout(1800)
async def test_a_walk_on_bitcoind(database_url: str, seed: int, soak: bool) -> None:
    """A thousand transactions of every shape, with replacements, reorgs, evictions and late registrations."""
    async with Bitcoind(args=["-acceptnonstdtxn=1"]) as node:
        walk = Walk(node, random.Random(seed))
        guests = await _settle_in(walk)
        stage = Stage(walk, Judge(node, REQUIRED, COINBASE_MATURITY), await node.height())
        stage.own_blocks = [walk.mine_some, walk.mine_unrelayed]
        stage.to_end_with = [walk.mine_unrelayed]
        await _live(stage, guests, database_url, TRANSACTIONS * (SOAK_FACTOR if soak else 1))
    _check_counts(stage, DONE | ONLY_BITCOIN, RECIPIENTS | {"witness_v1_taproot", "pubkey", "multisig"})


@pytest.mark.timeout(1800)
async def test_a_walk_on_litecoind(database_url: str, seed: int, soak: bool) -> None:
    """The same where extension blocks take value in and give it back; replaced is only what signals that."""
    async with Litecoind(txindex=True, args=["-acceptnonstdtxn=1"]) as node:
        walk = MwebWalk(node, random.Random(seed))
        guests = await _settle_in(walk)
        await node.activate_mweb(COIN // 5)
        stage = Stage(walk, Judge(node, REQUIRED, COINBASE_MATURITY, PEGOUT_MATURITY), await node.height())
        stage.own_blocks = [walk.peg_out, walk.peg_out]
        stage.restarts_after_reorg = stage.comes_back = False
        stage.own_payments = [walk.peg_in]
        stage.to_end_with = [walk.peg_in, lambda: node.peg_in(COIN // 10), walk.peg_out]
        await _live(stage, guests, database_url, LITECOIN_TRANSACTIONS * (SOAK_FACTOR if soak else 1))
    _check_counts(stage, DONE | ONLY_LITECOIN, RECIPIENTS | {"witness_mweb_pegin"})
    assert stage.judge.peg_outs()


async def _live(stage: Stage, guests: Sequence[Place], database_url: str, transactions: int) -> None:
    """Walk so far, and judge what was told."""
    walk, judge = stage.walk, stage.judge
    patient = Backoff(first=0.05, cap=0.2)
    async with utxo_house(walk.node, database_url, drop_after_seconds=DROP_AFTER, backoff=patient) as home:
        stage.home = home
        definition = home.definition
        assert definition.required_depth == judge.required
        assert (definition.coinbase_maturity, definition.pegout_maturity or 0) == (
            judge.coinbase_maturity,
            judge.pegout_maturity,
        )
        async with following_utxo(home):
            await started(home)
            await _open_accounts(stage)
            await _walk(stage, guests, transactions)
            for each in stage.to_end_with:
                await walk.look()
                await each()
            await _settle(stage)
            await stage.checkpoint()
        stage.events = await check_stories(home)
        spent = {txid: [(coin.txid, coin.vout) for coin in sent.spent] for txid, sent in walk.sent.items()}
        await check_gone(home, judge, spent)
    assert walk.count >= transactions


def _check_counts(stage: Stage, done: set[str], recipients: set[str]) -> None:
    """Demand that every kind of event, deed and script was there: a walk that leaves one out shows nothing of it."""
    walk = stage.walk
    kind_of = {place.script.hex(): place.kind for place in walk.watched}
    paid = {kind_of[script] for script in stage.judge.paid()}
    spent = {kind_of[script] for script in stage.judge.spent()}
    assert sorted(EVENTS - {name for name, count in stage.events.items() if count}) == []
    assert sorted(done - {name for name, count in walk.done.items() if count}) == []
    assert paid == {*walk.people.kinds, "witness-v2", "witness-v16"}
    assert spent == set(walk.people.kinds)
    assert sorted(recipients - set(stage.judge.recipients())) == []
    assert walk.done["refused"] < walk.count / 10


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
    await stage.walk.look()
    await stage.walk.mine_to_us()
    await stage.eviction()
    later = [stage.eviction] if stage.restarts_after_reorg else []
    back = [stage.back_and_forth] if stage.comes_back else []
    special: list[Callable[[], Awaitable[None]]] = [
        lambda: stage.register(groups[0]),
        stage.checkpoint,
        lambda: stage.register(groups[1]),
        *back,
        stage.success_taken_back,
        stage.checkpoint,
        lambda: stage.register(groups[2]),
        *later,
        *back,
    ]
    for number, event in enumerate(special, start=1):
        while stage.walk.count < transactions * number / (len(special) + 1):
            await stage.round()
        await event()
    while stage.walk.count < transactions:
        await stage.round()
