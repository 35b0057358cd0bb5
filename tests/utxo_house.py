"""One chain of the Bitcoin family followed in the test's own process: joined as the app joins it, on a real daemon."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from chainbell.app.hearing import HeardNodes
from chainbell.app.node_reports import NodeReporter
from chainbell.config.chains import load_chains
from chainbell.domain.address import parse_address
from chainbell.domain.following import Committed, Outcome
from chainbell.domain.history import History
from chainbell.domain.utxo import Lacking, MempoolView
from chainbell.domain.watch import Purpose
from chainbell.events.publish import publish
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.open_nodes import open_utxo_nodes
from chainbell.nodes.pool import NodePool, Surroundings
from chainbell.nodes.utxo.hints import ZmqHints
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.node_states import NodeStates
from chainbell.storage.scans import ScanStore
from chainbell.storage.seeding import SeedStore
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.supervisor import Part
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.back_scan import BackScanner
from chainbell.watcher.follower import Follower
from chainbell.watcher.mempool import MempoolFollower
from chainbell.watcher.seeding import Seeder
from tests.bitcoin import COIN, Coin, Litecoind, UtxoDaemon
from tests.books import Books, running, started, until

__all__ = [
    "FEE",
    "WAITS",
    "UtxoHouse",
    "abroad",
    "at_home",
    "caught_up",
    "evaluated",
    "following_utxo",
    "pay",
    "started",
    "until",
    "utxo_house",
]

POLL_SECONDS = 0.02
"""Of house chains: tests are in a hurry."""
FEE = 20_000
"""Satoshis that let any small transaction pass; some more replace one that pays so much."""
WAITS = ("created", "pending")
"""What is told of a deposit first seen in a mempool."""


@dataclass(frozen=True, slots=True)
class UtxoHouse(Books):
    """One chain, its node and its database. `node` is where the test acts; the pool may have others."""

    node: UtxoDaemon
    pool: NodePool[UtxoNode]
    zmq: Sequence[str]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    mempool_wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tracker(self) -> Tracker:
        policy = Policy(self.definition.required_depth, screening=False)
        return Tracker(LedgerStore(self.database, publish), self.definition, policy)

    def follower(self) -> Follower[UtxoNode]:
        return Follower(
            self.definition,
            self.pool,
            ChainStates(self.database),
            self.tracker(),
            identity=f"test-{random.random()}",
            wake=self.wake,
            clock=now,
        )

    def parts(self) -> list[Part]:
        """Return everything that runs side by side for this chain."""
        follower = self.follower()
        leading, tracker = follower.leading, self.tracker()
        mempool = MempoolFollower(self.definition, self.pool, tracker, leading=leading, wake=self.mempool_wake, clock=now)
        scans = ScanStore(self.database)
        states = NodeStates(self.database)
        endpoint = Endpoint(name="hints", url=self.node.url, zmq=tuple(self.zmq))
        hints = ZmqHints(endpoint, self.wake, self.mempool_wake) if self.zmq else None
        heard = HeardNodes(self.pool, [hints, *[None] * (len(self.pool.statuses()) - 1)], now)
        parts: list[Part] = [
            follower.run,
            mempool.run,
            BackScanner(self.definition, self.pool, scans, tracker, leading=leading, clock=now).run,
            Seeder(self.definition, self.pool, SeedStore(self.database), leading=leading, clock=now).run,
            NodeReporter(self.definition.name, heard, states, follower=follower._identity, clock=now).run,
        ]
        return parts if hints is None else [*parts, hints.run]

    async def watch(
        self,
        address: str,
        *,
        account: str | None = None,
        change: bool = False,
        history: History | None = None,
    ) -> int:
        """Watch an address and return its `watchedFrom`."""
        script = parse_address(self.definition.addresses, address)
        purpose = Purpose.CHANGE if change else Purpose.DEPOSIT
        wanted = NewWatch(self.definition.name, script, account_id=account, history=history, purpose=purpose)
        return (await WatchStore(self.database).add(wanted, now())).watched_from

    async def watched_address(self, kind: str = "bech32") -> str:
        """Watch a fresh address of the node's wallet, and return it."""
        address = await self.node.new_address(kind)
        await self.watch(address)
        return address

    async def cursor_hash(self) -> str:
        (row,) = await self.fetch("select cursor_hash from chains")
        return str(row["cursor_hash"].hex())

    async def story(self, txid: str, type_: str = "deposit") -> list[str]:
        """Return what was told of the deposits (or transfers) of a transaction, in order.

        Without `confirmation`, of which a catch-up jumps over some.
        """
        rows = await self.fetch(
            "select e.type from events e join transactions t on t.uid = e.resource_id "
            "where t.tx_hash = $1 and t.type = $2 and e.type not like '%.confirmation' order by e.position",
            bytes.fromhex(txid),
            type_.upper(),
        )
        return [row["type"].rpartition(".")[2] for row in rows]

    async def stories(self) -> dict[str, list[str]]:
        """Return what was told of each transaction, by txid, of all its records together, as `story`."""
        rows = await self.fetch(
            "select encode(t.tx_hash, 'hex') as txid, e.type from events e join transactions t on t.uid = e.resource_id "
            "where e.type not like '%.confirmation' order by e.position"
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["txid"], []).append(row["type"].rpartition(".")[2])
        return found

    async def last_body(self, txid: str, type_: str = "deposit") -> dict[str, Any]:
        """Return the `data` of the last v2 event of a transaction's deposit (or transfer)."""
        (row,) = await self.fetch(
            "select e.body_v2 from events e join transactions t on t.uid = e.resource_id "
            "where t.tx_hash = $1 and t.type = $2 order by e.position desc limit 1",
            bytes.fromhex(txid),
            type_.upper(),
        )
        found: dict[str, Any] = orjson.loads(row["body_v2"])["data"]
        return found

    async def tells(self, txid: str, *names: str, type_: str = "deposit", seconds: float = 20) -> None:
        """Wait until just this was told of a transaction's deposit (or transfer), in this order."""
        told: list[str] = []

        async def is_told() -> bool:
            nonlocal told
            told = await self.story(txid, type_)
            return told == [*names]

        try:
            await until(is_told, f"{txid} tells {names}", seconds)
        except BaseException as error:
            error.add_note(f"told of it: {told}")
            raise


@asynccontextmanager
async def utxo_house(
    node: UtxoDaemon,
    url: str,
    *,
    others: Sequence[UtxoDaemon] = (),
    node_urls: Sequence[str] = (),
    zmq: Sequence[str] = (),
    node_timeout: float = 5,
    backoff: Backoff | None = None,
    **changes: object,
) -> AsyncIterator[UtxoHouse]:
    """Open a house on a fresh database; `changes` go into the definition of the daemon's regtest chain.

    The pool has the node, or what stands before it at `node_urls`, and then the `others`.
    """
    name = "litecoin-regtest" if isinstance(node, Litecoind) else "bitcoin-regtest"
    definition = load_chains()[name].model_copy(update={"poll_seconds": POLL_SECONDS} | changes)
    async with Database.open(url) as database:
        surroundings = Surroundings(now, time.monotonic, random.random)
        urls = [*(node_urls or [node.url]), *(other.url for other in others)]
        endpoints = [Endpoint(f"node {number}", one) for number, one in enumerate(urls, start=1)]
        pool = NodePool(definition, open_utxo_nodes(definition, endpoints, node_timeout), surroundings, backoff=backoff)
        try:
            yield UtxoHouse(database, definition, url, node, pool, zmq)
        finally:
            await pool.close()


@asynccontextmanager
async def following_utxo(home: UtxoHouse) -> AsyncIterator[None]:
    """Follow the chain and its mempool meanwhile, and look back; whatever ended one of the parts fails the test."""
    async with running(*home.parts()):
        yield


async def caught_up(home: UtxoHouse) -> None:
    """Wait until our cursor is the node's tip, by hash."""

    async def at_tip() -> bool:
        return await home.cursor() >= 0 and await home.cursor_hash() == await home.node.block_hash()

    await until(at_tip, "the cursor is the node's tip")


async def seeded(home: UtxoHouse) -> None:
    """Wait until older outputs of every address are known: from then on spends are found by their outpoints alone."""

    async def all_are() -> bool:
        (row,) = await home.fetch("select count(*) from addresses where outgoing_from is null and removed_at is null")
        return bool(row["count"] == 0)

    await until(all_are, "every address is seeded")


@asynccontextmanager
async def at_home(node: UtxoDaemon, url: str, **changes: Any) -> AsyncIterator[UtxoHouse]:
    """Follow a node's chain from its tip on."""
    async with utxo_house(node, url, **changes) as home, following_utxo(home):
        await started(home)
        yield home


async def pay(
    node: UtxoDaemon, coin: Coin | tuple[str, int], *outputs: tuple[str, int], sequence: int | None = None, send: bool = True
) -> str:
    """Spend a coin into these outputs; the txid, or the bytes if it shall not be sent."""
    options: dict[str, Any] = {} if sequence is None else {"sequence": sequence}
    return await node.raw_transaction([coin], outputs, send=send, **options)


async def told(home: UtxoHouse, txid: str) -> list[tuple[Any, ...]]:
    """Return type, position, status and fee of every record of a transaction."""
    rows = await home.fetch(
        "select type, position, status, fee from transactions where tx_hash = $1 order by type, position",
        bytes.fromhex(txid),
    )
    return [tuple(row) for row in rows]


async def own(node: UtxoDaemon, address: str, amount: int = COIN) -> Coin:
    """Pay an address, and return the coin, which the wallet spends in nothing else."""
    await node.send(address, amount)
    await node.mine()
    (coin,) = [coin for coin in await node.coins() if coin.address == address]
    await node.rpc("lockunspent", False, [{"txid": coin.txid, "vout": coin.vout}])
    return coin


async def abroad(node: UtxoDaemon) -> str:
    """Return an address of the node's wallet that nobody watches."""
    return await node.new_address()


async def evaluated(home: UtxoHouse, seconds: float) -> None:
    """Wait until views of the mempool were committed for so long: what can be dropped by then is dropped."""
    deadline = time.monotonic() + seconds
    seen = 0
    original = Tracker.observe

    async def counting(self: Tracker, fence: int, view: MempoolView, at: Any) -> Outcome | Lacking:
        nonlocal seen
        outcome = await original(self, fence, view, at)
        seen += isinstance(outcome, Committed) and view.loaded and time.monotonic() >= deadline
        return outcome

    async def twice() -> bool:
        return seen >= 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "observe", counting)
        await until(twice, f"mempools were told for {seconds} s", seconds + 20)
