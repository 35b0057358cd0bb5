"""What happens on a chain of the Bitcoin family around processes that are killed: a walk that goes on, and a judge."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from chainbell.domain.history import History
from chainbell.storage.balances import read_balance
from tests.bitcoin import Bitcoind, Coin, RpcError
from tests.merchant import Receiver
from tests.soak import CHAINS, judge_what_was_received, process_environment
from tests.utxo_house import UtxoHouse, until
from tests.utxo_judge import SPEND, Judge, Watched
from tests.utxo_people import Place
from tests.utxo_verdict import WAITS, check_books, check_gone, check_stories
from tests.utxo_walk import OUTSIDER, Walk

GUEST = "guest"
"""Who owns what nobody may spend yet: an address whose spends show no key, before its older outputs are known."""
NEED_SEEDING = "p2tr"
DEEPEST = 8

_COVERED = """
select a.address from addresses a where a.outgoing_from is not null and not exists (
    select from scans s join scan_addresses m on m.scan_id = s.id where m.address_id = a.id and s.finished_at is null
)
"""


@dataclass
class Turmoil:
    """A walk that does not wait for who follows it, and who is registered meanwhile."""

    home: UtxoHouse
    walk: Walk
    judge: Judge
    first: int
    """The last block that no reorg takes back: everything above it counts for every watched address."""
    guests: list[Place]
    """Who holds coins, and is registered some time later, with the past above `first`."""
    cheap: list[str] = field(default_factory=list)
    """Transactions that only a block brings, never a mempool: they pay no fee. Whole, as hex."""
    depths: list[int] = field(default_factory=list)
    """How many blocks each reorg took back at most."""

    async def open_accounts(self) -> None:
        """Watch everything of two accounts, before anything happens."""
        for owner in ("A", "B"):
            account = await self._account(owner)
            for place in self.walk.owned_by(owner):
                await self.home.watch(place.address, account=account, change=place.change)
                self._judge_by(place, owner)

    async def register_next(self) -> None:
        """Register the next guest, with an account of its own, its past and its older outputs."""
        await self._let_be_spent()
        if not self.guests:
            return
        guest = self.guests.pop()
        account = await self._account(guest.address)
        await self.home.watch(guest.address, account=account, history=History(self.first + 1, notify=True))
        self._judge_by(guest, guest.address)

    async def _account(self, name: str) -> str:
        (row,) = await self.home.fetch("insert into accounts (mode, name) values ('test', $1) returning id", name)
        return str(row["id"])

    def _judge_by(self, place: Place, account: str) -> None:
        self.judge.watched[place.script.hex()] = Watched(account, place.change, self.first + 1)

    async def _let_be_spent(self) -> None:
        """Let outsiders spend what the guests hold whose older outputs are known by now."""
        covered = {row["address"] for row in await self.home.fetch(_COVERED)}
        for guest in [place for place in self.walk.strangers if place.owner == GUEST and place.script in covered]:
            self.walk.strangers.remove(guest)
            self.walk.places.append(Place(OUTSIDER, guest.kind, guest.script, guest.address))

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Walk for as long as the processes under test live and die."""

        async def walk() -> None:
            while True:
                await self.step()
                await asyncio.sleep(self.walk.chance.uniform(0.1, 0.4))

        task = asyncio.create_task(walk())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def step(self) -> None:
        """Let one thing happen."""
        walk, chance = self.walk, self.walk.chance
        await walk.look()
        payments = [*[walk.deposit] * 4, walk.batch, *[walk.payout] * 3, walk.internal, walk.mixed, walk.chain]
        match chance.choices(["pay", "replace", "mine", "reorg", "cheap", "cheap again"], [10, 4, 7, 3, 1, 1])[0]:
            case "pay":
                await chance.choice(payments)()
            case "replace":
                await walk.replacement()
            case "mine":
                await chance.choice([walk.mine, walk.mine, walk.mine, walk.mine_to_us, walk.mine_some])()
            case "reorg":
                await self._reorg()
            case "cheap":
                await self._mine_cheap()
            case _ if self.cheap:
                with suppress(RpcError):  # it stands in a block, or what it spends is taken
                    await self.walk.node.mine_only([chance.choice(self.cheap)])
                    walk.done["cheap again"] += 1

    async def _reorg(self) -> None:
        height, chance = await self.walk.node.height(), self.walk.chance
        depth = min(height - self.first, chance.choice([1, 1, 2, 3, chance.randint(1, DEEPEST)]))
        if depth > 0:
            await self.walk.reorg(depth, self.first)
            self.depths.append(depth)

    async def _mine_cheap(self) -> None:
        """Mine a payment that no mempool takes: when its block is taken back, it is gone."""
        walk, node = self.walk, self.walk.node
        outsiders = {place.address for place in walk.owned_by(OUTSIDER)}
        coins = [coin for coin in await node.coins(minimum_depth=1) if coin.address in outsiders]
        if not coins:
            return
        coin = walk.chance.choice(coins)
        payees = [walk.chance.choice(walk.watched), walk.chance.choice(walk.owned_by(OUTSIDER))]
        paid = list(zip(payees, (coin.amount // 2, coin.amount - coin.amount // 2), strict=True))
        raw = await node.raw_transaction([coin], [(place.script, amount) for place, amount in paid], send=False)
        txid = str((await node.rpc("decoderawtransaction", raw))["txid"])
        await node.mine_only([raw])
        walk.note("cheap", txid, [coin], paid)
        self.cheap.append(raw)

    async def calm_down(self) -> None:
        """Register who is left, and mine all that waits, deep enough."""
        while self.guests:
            await self.register_next()
        while await self.walk.node.mempool():
            await self.walk.mine()
        await self.walk.mine(self.judge.required + 1)

    async def replace_one(self) -> None:
        """Have one payment told that waits, and then what replaces it; mine that deep enough."""
        walk, sent = self.walk, None
        await walk.look()
        while sent is None:
            sent = await walk.deposit()
        await self._tells(sent.txid, "pending")
        while sent.txid in await walk.node.mempool():
            await walk.replacement()
        await self._tells(sent.txid, "replaced")
        await walk.mine(self.judge.required + 1)

    async def _tells(self, txid: str, name: str) -> None:
        async def is_told() -> bool:
            return name in await self.home.story(txid)

        await until(is_told, f"{txid} tells {name}", seconds=120)


async def settle_in(node: Bitcoind, chance: random.Random, guests: int) -> tuple[Walk, list[Place]]:
    """Give everybody addresses and outsiders coins, and so many guests too, of each script type in turn."""
    walk = Walk(node, chance)
    people = walk.people
    await node.fund(12)
    for owner in ("A", "B", OUTSIDER):
        walk.places += [await people.place(owner, kind) for kind in people.kinds]
    for owner in ("A", "B"):
        walk.places += [await people.place(owner, kind, change=True) for kind in ("p2wpkh", "p2tr")]
    kinds = islice(cycle(people.kinds), guests)
    visitors = [await people.place(GUEST if kind == NEED_SEEDING else OUTSIDER, kind) for kind in kinds]
    walk.places += [place for place in visitors if place.owner == OUTSIDER]
    walk.strangers = [await people.witness("stranger", 2), *(place for place in visitors if place.owner == GUEST)]
    walk.coins = await node.coins()
    for _ in range(3):
        assert await walk.pay("fan out", walk.coins[:4], [*walk.owned_by(OUTSIDER), *walk.strangers[1:]])
        await walk.mine()
    chance.shuffle(visitors)
    return walk, visitors


def utxo_environment(node: Bitcoind, database_url: str, definitions: Path, **changes: str) -> dict[str, str]:
    """Say what a `chainbell run` is to know of this node; `changes` are numbers of the chain's definition."""
    text = (CHAINS / "bitcoin-regtest.toml").read_text()
    for name, value in {"poll_seconds": "0.05", "drop_after_seconds": "1", **changes}.items():
        (before,) = [line for line in text.splitlines() if line.startswith(f"{name} = ")]
        text = text.replace(before, f"{name} = {value}")
    (definitions / "bitcoin-regtest.toml").write_text(text)
    return process_environment(database_url, definitions, {"BITCOIN_REGTEST": f"{node.url}?zmq={node.zmq_url}"})


async def all_is_told(home: UtxoHouse) -> None:
    """Wait until our books are the chain as it stands, nothing of the past is left, and every delivery has ended."""
    tip = await home.node.block_hash()
    left: dict[str, Any] = {}

    async def nothing_is_left() -> bool:
        (row,) = await home.fetch(
            "select (select count(*) from deliveries where status = 'pending') as deliveries,"
            " (select count(*) from scans where finished_at is null) as scans,"
            " (select count(*) from addresses where outgoing_from is null) as unseeded,"
            " (select count(*) from transactions where block_height is null and status = any($1)) as waiting",
            [*WAITS.values()],
        )
        left.update(row, at_tip=await home.cursor_hash() == tip)
        return left["at_tip"] and not any(row.values())

    try:
        await until(nothing_is_left, "all is told", seconds=120)
    except BaseException as error:
        error.add_note(f"left: {left}")
        raise


async def judge_turmoil(turmoil: Turmoil, receiver: Receiver, label: str) -> Mapping[str, int]:
    """Demand that records, feed, receiver and balances are what the node says; return the counts of the kinds of event."""
    home, judge, sent = turmoil.home, turmoil.judge, turmoil.walk.sent
    await check_books(home, judge)
    told = await check_stories(home)
    spent = {txid: [(coin.txid, coin.vout) for coin in each.spent] for txid, each in sent.items()}
    await check_gone(home, judge, spent)
    await judge_what_was_received(home, receiver, label)
    states = receiver.final_states().values()
    standing = {
        (data["type"], data["hash"], data["position"], int(data["amountBaseUnits"]), data["status"], data["blockHash"])
        for data in states
        if data["blockHash"] is not None
    }
    assert standing == {
        (each.type, each.hash, None if each.position == SPEND else each.position, each.amount, each.status, each.block)
        for each in judge.truths()
    }
    for data in states:
        if data["status"] == "REPLACED":
            _check_rival(turmoil.walk, data)
    await _check_balances(home, judge)
    return told


def _check_rival(walk: Walk, data: Mapping[str, Any]) -> None:
    """Demand that what is said to replace a transaction spends what it spends, or what one of its ancestors does."""
    rival = walk.sent.get(data["replacedBy"] or "")
    assert rival is not None, data
    ancestors, inputs = [data["hash"]], set[Coin | tuple[str, int]]()
    while ancestors:
        known = walk.sent.get(ancestors.pop())
        fresh = {(coin.txid, coin.vout) for coin in known.spent} - inputs if known else set()
        ancestors += [txid for txid, _ in fresh]
        inputs |= fresh
    assert inputs & {(coin.txid, coin.vout) for coin in rival.spent}, data


async def _check_balances(home: UtxoHouse, judge: Judge) -> None:
    """Demand that each watched script holds what the node's own set of unspent outputs has of it."""
    told = await home.node.rpc("scantxoutset", "start", [f"raw({script})" for script in judge.watched])
    theirs = dict.fromkeys(judge.watched, 0)
    for each in told["unspents"]:
        theirs[each["scriptPubKey"]] += int(each["amount"] * 10**8)
    ours = {}
    for script in judge.watched:
        balance = await read_balance(home.database, home.definition.name, bytes.fromhex(script))
        assert balance is not None, script
        ours[script] = balance.amount
    assert ours == theirs


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Have every failure say with which seed it came."""
    try:
        yield
    except BaseException as error:
        error.add_note(label)
        raise
