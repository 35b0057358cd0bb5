"""Pruning: the oldest part of the feed goes for good, and nothing that somebody waits for, or that ids depend on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from chainbell.app.pruning import Pruned, prune
from chainbell.config.chains import load_chains
from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockRef
from chainbell.domain.following import Committed, CoverageChange, Leased
from chainbell.domain.identity import event_id
from chainbell.events.publish import publish
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.endpoints import EndpointStore
from chainbell.storage.event_list import EventList, FeedCursor, FeedPage, PrunedAway
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.partitions import ensure_attempt_partitions
from chainbell.storage.prune import Plan, Pruner, Step
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from tests import builders
from tests.builders_delivery import BOX, make_backlog, make_endpoint, make_event
from tests.feed_builders import with_a_chain
from tests.house import until

LONG_AGO = now() - timedelta(days=400)
BEFORE = now() - timedelta(days=100)
ROOT = BlockRef(0, builders.block_hash(0), bytes(32))


def _nothing(_done: int, _more: str) -> None:
    """Show no progress."""


async def _prune(database: Database) -> tuple[Plan, Pruned]:
    plan = await Pruner(database).plan(BEFORE)
    return plan, await prune(database, plan, BEFORE, _nothing)


async def _val(database: Database, sql: str, *args: object) -> Any:
    async with database.connection() as connection:
        return await connection.fetchval(sql, *args)


async def _run(database: Database, sql: str, *args: object) -> None:
    async with database.connection() as connection:
        await connection.execute(sql, *args)


async def test_what_is_older_goes_with_all_that_belongs_to_it(database_url: str) -> None:
    """Events, deliveries and attempts before the time go, later ones stay, and who reads the feed is told."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        await make_backlog(database, endpoint, 1200, resources=7, at=LONG_AGO)
        await _run(database, "update deliveries set status = 'succeeded'")
        await _run(
            database,
            "insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome) "
            "select id, account_id, $1, 5, 'delivered' from deliveries",
            LONG_AGO,
        )
        _, (kept,) = await make_event(database, endpoints=[endpoint], at=now())
        plan, pruned = await _prune(database)
        assert (plan.events, plan.held_back, list(plan.holders)) == (1200, 0, [])
        assert (pruned.events, pruned.deliveries) == (1200, 1200)
        assert await _val(database, "select array_agg(position) from events") == [1201]
        assert await _val(database, "select array_agg(id) from deliveries") == [kept]
        assert await _val(database, "select count(*) from attempts") == 0
        assert await _val(database, "select count(*) from audit where action = 'prune'") == 1
        feed = EventList(database)
        assert await feed.after(FeedCursor(0, 7), OPERATOR, 10) == PrunedAway(FeedCursor(0, 1200))
        page = await feed.after(FeedCursor(0, 1200), OPERATOR, 10)
        assert isinstance(page, FeedPage)
        assert len(page.events) == 1
        assert (await _prune(database))[1].events == 0


async def test_a_pending_delivery_holds_back_what_stands_behind_it(database_url: str) -> None:
    """It and all behind it stay, with the endpoint named; one of a deleted endpoint waits for nothing."""
    async with Database.open(database_url) as database:
        slow, _ = await make_endpoint(database, "https://slow.example/")
        gone, _ = await make_endpoint(database)
        for number in range(6):
            await make_event(database, endpoints=[gone] if number < 3 else [slow], at=LONG_AGO)
        await EndpointStore(database, BOX).delete(gone, now())
        plan, pruned = await _prune(database)
        assert (plan.events, plan.held_back, pruned.events) == (3, 3, 3)
        assert [(one.endpoint_id, one.url, one.pending, one.oldest_position) for one in plan.holders] == [
            (slow, "https://slow.example/", 3, 4)
        ]
        assert await _val(database, "select min(position) from events") == 4


async def test_a_delivery_that_is_replayed_meanwhile_stays(database_url: str) -> None:
    """A plan is no licence: each step looks again at who waits."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        ids = [(await make_event(database, endpoints=[endpoint], at=LONG_AGO))[1][0] for _ in range(4)]
        await _run(database, "update deliveries set status = 'exhausted'")
        plan = await Pruner(database).plan(BEFORE)
        assert (plan.events, plan.exhausted) == (4, 4)
        await _run(database, "update deliveries set status = 'pending' where id = $1", ids[2])
        pruned = await prune(database, plan, BEFORE, _nothing)
        assert pruned.events == 2
        assert await _val(database, "select array_agg(position order by position) from events") == [3, 4]


async def test_a_delivery_that_succeeds_while_a_step_looks_goes_with_its_event(database_url: str) -> None:
    """Pending when the step begins to look, taken before it has seen all: it is seen as it stands once it is locked."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        ids = [(await make_event(database, endpoints=[endpoint], at=LONG_AGO))[1][0] for _ in range(4)]
        await _run(database, "update deliveries set status = 'exhausted'")
        plan = await Pruner(database).plan(BEFORE)
        await _run(database, "update deliveries set status = 'pending' where id = $1", ids[2])
        async with database.transaction() as holder:
            await holder.execute("select from deliveries where id = $1 for update", ids[0])
            step = asyncio.create_task(Pruner(database).step(plan.through, plan.cut))
            await until(lambda: _somebody_waits(database), "the step waits for the first delivery")
            await _run(database, "update deliveries set status = 'succeeded' where id = $1", ids[2])
        assert await step == Step(4, 4)
        assert await _val(database, "select count(*) from deliveries") == 0


async def _somebody_waits(database: Database) -> bool:
    sql = (
        "select exists (select from pg_stat_activity "
        "where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)"
    )
    return bool(await _val(database, sql))


async def test_whole_months_of_attempts_go_at_once(database_url: str) -> None:
    """A month that holds attempts of pruned events alone is dropped; one that reaches into what stays is not."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        for at in (LONG_AGO, BEFORE + timedelta(days=1)):
            await ensure_attempt_partitions(database, at)
            _, (id_,) = await make_event(database, endpoints=[endpoint], at=at)
            await _run(database, "update deliveries set status = 'succeeded'")
            await _run(
                database,
                "insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome) "
                "select id, account_id, $2, 5, 'delivered' from deliveries where id = $1",
                id_,
                at,
            )
        month = f"attempts_{LONG_AGO:%Y_%m}"
        _, pruned = await _prune(database)
        assert pruned.partitions == 2
        assert await _val(database, "select to_regclass($1)", month) is None
        assert await _val(database, "select count(*) from attempts") == 1


@dataclass
class _Ledger:
    database: Database
    tracker: Tracker
    fence: int

    async def advance(self, *blocks: ScannedBlock) -> None:
        assert isinstance(await self.tracker.advance(self.fence, blocks, None, now()), Committed)

    async def retract(self, cursor: BlockRef, ancestor: BlockRef) -> None:
        assert isinstance(await self.tracker.retract(self.fence, cursor, ancestor, now()), Committed)


@asynccontextmanager
async def _made_up(url: str) -> AsyncIterator[_Ledger]:
    definition = load_chains()["anvil"]
    async with Database.open(url) as database:
        await with_a_chain(database)
        await WatchStore(database).add(NewWatch("anvil", builders.OURS), now())
        leased = await ChainStates(database).acquire("anvil", "test", timedelta(minutes=1))
        assert isinstance(leased, Leased)
        await ChainStates(database).cover(definition, leased.fence, CoverageChange((), ()), now())
        tracker = Tracker(LedgerStore(database, publish), definition, Policy(3, screening=False))
        yield _Ledger(database, tracker, leased.fence)


async def test_what_is_told_again_after_pruning_has_an_id_of_its_own(database_url: str) -> None:
    """A chain that returns to a block whose telling was pruned tells it under another id than the pruned one."""
    a = builders.block(1, [builders.movement()])
    b = builders.block(1, branch=7)
    b = replace(b, ref=replace(b.ref, parent_hash=ROOT.hash))
    async with _made_up(database_url) as ledger:
        for _ in range(2):
            await ledger.advance(a)
            await ledger.retract(a.ref, ROOT)
        await _run(ledger.database, "update events set created_at = $1", LONG_AGO)
        pruned_ids = await _val(ledger.database, "select array_agg(id) from events")
        assert len(pruned_ids) == 5
        _, pruned = await _prune(ledger.database)
        assert pruned.events == 5
        await ledger.advance(a)
        rows = await _val(ledger.database, "select array_agg(id || ' ' || type || ' ' || resource_id) from events")
        (told,) = [row.split() for row in rows]
        assert told[0] not in pruned_ids
        assert told[0] == event_id(told[2], told[1], (a.ref.hash,), 2)
        assert told[1] == "transaction.deposit.awaiting_confirmation"
        assert await _val(ledger.database, "select max(sequence) from events") == 6


async def test_old_orphans_are_forgotten(database_url: str) -> None:
    """A block that left our chain before the time is deleted; one that left it since, and those of our chain, stay."""
    async with _made_up(database_url) as ledger:
        for branch in (7, 8):
            block = builders.block(1, branch=branch)
            block = replace(block, ref=replace(block.ref, parent_hash=ROOT.hash))
            await ledger.advance(block)
            await ledger.retract(block.ref, ROOT)
        old = builders.block_hash(1, 7)
        await _run(ledger.database, "update blocks set orphaned_at = $1 where hash = $2", LONG_AGO, old)
        assert (await _prune(ledger.database))[1].orphans == 1
        assert await _val(ledger.database, "select count(*) from blocks") == 2
