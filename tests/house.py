"""One chain followed in the test's own process: watcher, tracker and storage joined as the app joins them."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import pytest

from chainbell.app.node_reports import NodeReporter
from chainbell.config.chains import load_chains
from chainbell.domain.chain import ChainDefinition, Token
from chainbell.domain.errors import DatabaseError
from chainbell.domain.history import History
from chainbell.events.publish import publish
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint as NodeEndpoint
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.pool import NodePool, Surroundings, open_pool
from chainbell.storage.chains import ChainStates
from chainbell.storage.coverage import coverage_of
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
from tests.chain_truth import Truth
from tests.nodes import Anvil

ETHER = 10**18
ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
RETRACTIONS = {"pending", "processing", "dropped", "reverted"}


@dataclass(frozen=True, slots=True)
class House:
    """One chain, its node and its database."""

    database: Database
    definition: ChainDefinition
    anvil: Anvil
    pool: NodePool
    url: str

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

    async def scanned(self) -> bool:
        """Tell whether every scan of the past is finished."""
        (row,) = await self.fetch("select count(*) as unfinished from scans where finished_at is null")
        return bool(row["unfinished"] == 0)

    async def watch(self, address: str) -> int:
        """Watch an address and return its `watchedFrom`."""
        wanted = NewWatch(self.definition.name, bytes.fromhex(address[2:]))
        return (await WatchStore(self.database).add(wanted, now())).watched_from

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        async with self.database.connection() as connection:
            return await connection.fetch(sql, *args)

    async def told(self) -> list[str]:
        """Types of all events in the order of the feed, without the common prefix."""
        rows = await self.fetch("select type from events order by position")
        return [row["type"].removeprefix("transaction.") for row in rows]

    async def events(self) -> list[tuple[str, str]]:
        rows = await self.fetch("select resource_id, type from events order by position")
        return [(row["resource_id"], row["type"]) for row in rows]

    async def records(self) -> list[Any]:
        return await self.fetch("select * from transactions order by uid")

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

    async def cursor(self) -> int:
        (row,) = await self.fetch("select coalesce(max(cursor_height), -1) as height from chains")
        return int(row["height"])

    async def cursor_hash(self) -> str:
        (row,) = await self.fetch("select cursor_hash from chains")
        return "0x" + str(row["cursor_hash"].hex())

    async def fence(self) -> int:
        (row,) = await self.fetch("select fence from chains")
        return int(row["fence"])

    async def fees(self) -> int:
        (row,) = await self.fetch("select count(*) as fees from fees where block_hash is not null")
        return int(row["fees"])

    async def coverage(self) -> set[tuple[str, str, bool]]:
        """Capability, token, and whether it still grows; a growing range must reach the cursor."""
        known = (await coverage_of(self.database, [self.definition.name])).get(self.definition.name, ())
        found = [(one, part) for one in known for part in one.coverage.ranges]
        assert all(part.through_height == one.cursor for one, part in found if part.grows)
        return {(one.capability, f"0x{one.token.hex()}" if one.token else "", part.grows) for one, part in found}

    async def cut_connections(self) -> None:
        """End every other connection to this database, as an operator or a crash would."""
        own = await asyncpg.connect(self.url)
        await own.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await own.close()

    async def in_trouble(self) -> bool:
        (row,) = await self.fetch("select trouble from chains")
        return row["trouble"] is not None

    async def check_stories(self) -> None:
        """Check each record's events: no gap, `created` first, each success once until it is taken back."""
        rows = await self.fetch("select * from events order by position")
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        assert len({row["id"] for row in rows}) == len(rows)
        stories: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            stories[row["resource_id"]].append(row)
        statuses = {row["uid"]: row["status"] for row in await self.records()}
        assert set(stories) == set(statuses)
        for uid, story in stories.items():
            names = [row["type"].rpartition(".")[2] for row in story]
            assert [row["sequence"] for row in story] == list(range(1, len(story) + 1)), names
            assert names.index("created") == 0, names
            assert names.count("created") == 1, names
            assert orjson.loads(story[-1]["body_v2"])["data"]["status"] == statuses[uid], names
            _check_each_success_is_taken_back(names)


def _check_each_success_is_taken_back(names: Sequence[str]) -> None:
    standing = False
    for name in names:
        assert not (name == "success" and standing), names
        if name == "success":
            standing = True
        elif name in RETRACTIONS:
            standing = False


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
        pool = open_pool(definition, endpoints, surroundings, timeout=node_timeout, backoff=backoff)
        try:
            yield House(database, definition, anvil, pool, url)
        finally:
            await pool.close()


@asynccontextmanager
async def following(home: House) -> AsyncIterator[None]:
    """Follow the chain meanwhile, and look back; whatever ended one of the two fails the test."""
    follower = home.follower()
    parts = (follower, home.scanner(follower.leading), home.reporter(follower))
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    """Wait for a condition, and say what was waited for in vain."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(DatabaseError):  # a test may have cut the very connection that is asked
            if await condition():
                return
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain until {what}")
        await asyncio.sleep(0.01)


async def started(home: House) -> None:
    """Wait until the chain has a cursor."""

    async def has_cursor() -> bool:
        return await home.cursor() >= 0

    await until(has_cursor, "the chain has a cursor")


async def caught_up(home: House) -> None:
    """Wait until our cursor is the node's tip, by hash."""

    async def at_tip() -> bool:
        return await home.cursor() >= 0 and await home.cursor_hash() == await home.anvil.block_hash()

    await until(at_tip, "the cursor is the node's tip")
