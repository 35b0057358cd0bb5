"""Commits of made-up blocks on a real database: what no development node can be made to do on demand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from chainbell.config.chains import load_chains
from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockRef
from chainbell.domain.following import Committed, CoverageChange, Leased, Stale
from chainbell.events.publish import publish
from chainbell.storage.chains import ChainStates
from chainbell.storage.coverage import coverage_of
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from tests import builders
from tests.feed_builders import with_a_chain


@dataclass
class Ledger:
    """A chain whose blocks a test makes up."""

    database: Database
    tracker: Tracker
    fence: int

    async def advance(self, *blocks: ScannedBlock) -> None:
        assert isinstance(await self.tracker.advance(self.fence, blocks, None, now()), Committed)

    async def retract(self, cursor: BlockRef, ancestor: BlockRef) -> None:
        assert isinstance(await self.tracker.retract(self.fence, cursor, ancestor, now()), Committed)

    async def told(self) -> list[str]:
        async with self.database.connection() as connection:
            rows = await connection.fetch("select type, id from events order by position")
        assert len({row["id"] for row in rows}) == len(rows)
        return [row["type"].rpartition(".")[2] for row in rows]

    async def covered(self) -> dict[str, tuple[int, int]]:
        known = (await coverage_of(self.database, ["anvil"]))["anvil"]
        return {one.capability: (r.from_height, r.through_height) for one in known for r in one.coverage.ranges}


@asynccontextmanager
async def made_up(url: str, *watched: bytes) -> AsyncIterator[Ledger]:
    definition = load_chains()["anvil"]
    async with Database.open(url) as database:
        await with_a_chain(database)
        for address in watched:
            await WatchStore(database).add(NewWatch("anvil", address), now())
        leased = await ChainStates(database).acquire("anvil", "test", timedelta(minutes=1))
        assert isinstance(leased, Leased)
        await ChainStates(database).cover(definition, leased.fence, CoverageChange((), ()), now())
        tracker = Tracker(LedgerStore(database, publish), definition, Policy(3, screening=False))
        yield Ledger(database, tracker, leased.fence)


ROOT = BlockRef(0, builders.block_hash(0), bytes(32))


async def test_each_return_to_the_same_block_is_an_event_of_its_own(database_url: str) -> None:
    """A chain that flaps A-B-A tells each telling under another id: an endpoint that drops what it knows misses none."""
    a, b = builders.block(1, [builders.movement()]), builders.block(1, branch=7)
    b = replace(b, ref=replace(b.ref, parent_hash=ROOT.hash))
    async with made_up(database_url, builders.OURS) as ledger:
        for _ in range(2):
            await ledger.advance(a)
            await ledger.retract(a.ref, ROOT)
            await ledger.advance(b)
            await ledger.retract(b.ref, ROOT)
        await ledger.advance(a)
        again = ["awaiting_confirmation", "pending"] * 2
        assert await ledger.told() == ["created", *again, "awaiting_confirmation"]


async def test_a_conflict_and_its_settlement_can_be_one_commit(database_url: str) -> None:
    """A catch-up that brings the conflict deep enough tells `replaced`, with who took the nonce."""
    a = builders.block(1, [builders.movement()])
    rival = builders.on_chain(2, nonce=1)
    rivals = [builders.block(1, others=[rival], branch=7)]
    rivals[0] = replace(rivals[0], ref=replace(rivals[0].ref, parent_hash=ROOT.hash))
    rivals += [builders.block(height, branch=7) for height in (2, 3)]
    async with made_up(database_url, builders.OURS) as ledger:
        await ledger.advance(a)
        await ledger.retract(a.ref, ROOT)
        await ledger.advance(*rivals)
        assert await ledger.told() == ["created", "awaiting_confirmation", "pending", "replaced"]
        async with ledger.database.connection() as connection:
            row = await connection.fetchrow("select final, replaced_by from transactions")
        assert row is not None
        assert row["final"]
        assert row["replaced_by"] == rival.hash


async def test_what_a_block_itself_created_does_not_return(database_url: str) -> None:
    """Orphaned, an L1-derived deposit is dropped for good; after a success it is reverted for good."""
    mined = builders.on_chain(may_return=False)
    a = builders.block(1, [builders.movement(mined)])
    async with made_up(database_url, builders.OURS) as ledger:
        await ledger.advance(a)
        await ledger.retract(a.ref, ROOT)
        assert await ledger.told() == ["created", "awaiting_confirmation", "dropped"]
        await ledger.advance(a, builders.block(2), builders.block(3))
        await ledger.retract(builders.block(3).ref, ROOT)
        assert (await ledger.told())[-1] == "reverted"
        async with ledger.database.connection() as connection:
            assert await connection.fetchval("select final from transactions")


async def test_a_removed_watch_stops_new_matches_only(database_url: str) -> None:
    """What is tracked is told to the end, also through a reorg; what is new is not told."""
    a = builders.block(1, [builders.movement()])
    again = builders.block(1, [builders.movement(), builders.movement(builders.on_chain(5))], branch=7)
    again = replace(again, ref=replace(again.ref, parent_hash=ROOT.hash))
    async with made_up(database_url, builders.OURS) as ledger:
        await ledger.advance(a)
        await WatchStore(ledger.database).remove("anvil", builders.OURS, None, now())
        await ledger.retract(a.ref, ROOT)
        await ledger.advance(again, builders.block(2, branch=7), builders.block(3, branch=7))
        told = await ledger.told()
        assert told == ["created", "awaiting_confirmation", "pending", "awaiting_confirmation", "success"]


async def test_coverage_reaches_to_the_cursor_and_falls_back_with_it(database_url: str) -> None:
    """A range is extended in the block's own commit, taken back by a reorg, and covers the new branch from there on."""
    async with made_up(database_url) as ledger:
        await ledger.advance(builders.block(1), builders.block(2), builders.block(3))
        assert await ledger.covered() == {"coin": (1, 3), "logs": (1, 3)}
        await ledger.retract(builders.block(3).ref, builders.block(1).ref)
        assert await ledger.covered() == {"coin": (1, 1), "logs": (1, 1)}
        branch = builders.block(2, branch=7)
        await ledger.advance(replace(branch, ref=replace(branch.ref, parent_hash=builders.block(1).ref.hash)))
        assert await ledger.covered() == {"coin": (1, 2), "logs": (1, 2)}


async def test_a_leader_that_slept_cannot_say_what_is_covered(database_url: str) -> None:
    """Coverage, like everything else of a chain, is written under the fence of who follows it now."""
    definition = load_chains()["anvil"]
    async with made_up(database_url) as ledger:
        states = ChainStates(ledger.database)
        change = CoverageChange(tokens=(b"\x07" * 20,), switched_off=())
        assert not await states.cover(definition, ledger.fence - 1, change, now())
        assert not await states.redefine(definition, ledger.fence - 1)
        assert await ledger.covered() == {"coin": (1, 0), "logs": (1, 0)}


async def test_a_retraction_to_a_block_that_is_not_ours_writes_nothing(database_url: str) -> None:
    """An ancestor that the ledger does not hold proves that this was prepared on another chain than ours."""
    a = builders.block(1, [builders.movement()])
    async with made_up(database_url, builders.OURS) as ledger:
        await ledger.advance(a)
        foreign = replace(ROOT, hash=b"\xee" * 32)
        outcome = await ledger.tracker.retract(ledger.fence, a.ref, foreign, now())
        assert isinstance(outcome, Stale)
        assert await ledger.told() == ["created", "awaiting_confirmation"]
