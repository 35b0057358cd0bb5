"""One chain followed in the test's own process: watcher, tracker and storage joined as the app joins them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chainbell.app.node_reports import NodeReporter
from chainbell.config.chains import load_chains
from chainbell.domain.chain import Token
from chainbell.domain.history import History
from chainbell.events.publish import publish
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint as NodeEndpoint
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.open_nodes import open_evm_nodes
from chainbell.nodes.pool import NodePool, Surroundings
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.node_states import NodeStates
from chainbell.storage.scans import ScanStore
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.back_scan import BackScanner
from chainbell.watcher.follower import Follower
from chainbell.watcher.leading import Leading
from tests.books import Books, running, started, until
from tests.chain_truth import Truth
from tests.nodes import Anvil

__all__ = ["ALICE", "BOB", "ETHER", "House", "caught_up", "following", "house", "started", "until"]

ETHER = 10**18
ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20


@dataclass(frozen=True, slots=True)
class House(Books):
    """One chain, its node and its database."""

    anvil: Anvil
    pool: NodePool[EvmNode]

    def tracker(self) -> Tracker:
        policy = Policy(self.definition.required_depth, screening=False)
        return Tracker(LedgerStore(self.database, publish), self.definition, policy)

    def follower(self) -> Follower[EvmNode]:
        return Follower(
            self.definition,
            self.pool,
            ChainStates(self.database),
            self.tracker(),
            identity=f"test-{random.random()}",
            wake=asyncio.Event(),
            clock=now,
        )

    def scanner(self, leading: Leading) -> BackScanner[EvmNode]:
        scans = ScanStore(self.database)
        return BackScanner(self.definition, self.pool, scans, self.tracker(), leading=leading, clock=now)

    def reporter(self, follower: Follower[EvmNode]) -> NodeReporter:
        states = NodeStates(self.database)
        return NodeReporter(self.definition.name, self.pool, states, follower=follower._identity, clock=now)

    async def watch_past(self, address: str, from_height: int, *, notify: bool) -> int:
        """Watch an address, look for its past, and return its `watchedFrom`."""
        history = History(from_height, notify)
        wanted = NewWatch(self.definition.name, bytes.fromhex(address[2:]), history=history)
        return (await WatchStore(self.database).add(wanted, now())).watched_from

    async def watch(self, address: str) -> int:
        """Watch an address and return its `watchedFrom`."""
        wanted = NewWatch(self.definition.name, bytes.fromhex(address[2:]))
        return (await WatchStore(self.database).add(wanted, now())).watched_from

    async def truths(self) -> list[Truth]:
        """What our records say, in the words of the judge."""
        return sorted(
            Truth(
                row["type"],
                "0x" + row["tx_hash"].hex(),
                "0x" + row["asset"].hex() if row["asset"] else "",
                "0x" + row["address"].hex(),
                row["position"],
                int(row["amount"]),
                row["status"],
            )
            for row in await self.records()
            if row["block_hash"] is not None
            and (row["execution"] == "SUCCEEDED" or (row["type"], row["execution"]) == ("TRANSFER", "REVERTED"))
        )

    async def cursor_hash(self) -> str:
        (row,) = await self.fetch("select cursor_hash from chains")
        return "0x" + str(row["cursor_hash"].hex())


@asynccontextmanager
async def house(
    anvil: Anvil,
    url: str,
    *,
    node_urls: Sequence[str] = (),
    tokens: Sequence[tuple[str, str, int]] = (),
    node_timeout: float = 5,
    backoff: Backoff | None = None,
    **changes: object,
) -> AsyncIterator[House]:
    """Open a house on a fresh database; `changes` go into the definition of anvil's chain."""
    listed = tuple(Token(symbol=s, contract=bytes.fromhex(c[2:]), decimals=d) for c, s, d in tokens)
    definition = load_chains()["anvil"].model_copy(update={"poll_seconds": 0.02, "tokens": listed} | changes)
    async with Database.open(url) as database:
        surroundings = Surroundings(now, time.monotonic, random.random)
        endpoints = [NodeEndpoint(f"node {number}", node) for number, node in enumerate(node_urls or [anvil.url], start=1)]
        pool = NodePool(definition, open_evm_nodes(definition, endpoints, node_timeout), surroundings, backoff=backoff)
        try:
            yield House(database, definition, url, anvil, pool)
        finally:
            await pool.close()


@asynccontextmanager
async def following(home: House) -> AsyncIterator[None]:
    """Follow the chain meanwhile, and look back; whatever ended one of the two fails the test."""
    follower = home.follower()
    async with running(follower.run, home.scanner(follower.leading).run, home.reporter(follower).run):
        yield


async def caught_up(home: House) -> None:
    """Wait until our cursor is the node's tip, by hash."""

    async def at_tip() -> bool:
        return await home.cursor() >= 0 and await home.cursor_hash() == await home.anvil.block_hash()

    await until(at_tip, "the cursor is the node's tip")
