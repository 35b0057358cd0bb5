"""What `/metrics` says of the database, and the stall alarm, against a real node and a real PostgreSQL."""

import asyncio
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from chainbell.api.chain_report import chain_report
from chainbell.app import gauges
from chainbell.app.gauges import Exposition
from chainbell.app.stall_alarm import StallAlarm
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.node import NodeState, NodeStatus, Tip
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.gauges import read_gauges
from chainbell.storage.node_states import NodeStates
from chainbell.telemetry.clock import now
from chainbell.watcher.stall import Stall
from tests.builders_delivery import NOW, SECOND, make_endpoint, make_event
from tests.command import SECRET_KEY, environment
from tests.house import ALICE, ETHER, House, caught_up, following, house, started
from tests.nodes import Anvil
from tests.processes import life
from tests.receivers import until

Shown = dict[tuple[str, tuple[str, ...]], float]


def samples(page: bytes) -> Shown:
    """Return every value by the name and the labels' values."""
    families = text_string_to_metric_families(page.decode())
    return {(each.name, tuple(each.labels.values())): each.value for family in families for each in family.samples}


def expected_to_mine(home: House) -> ChainDefinition:
    """Make of anvil's chain one that is no development chain: blocks are expected of it, every twelve seconds."""
    return home.definition.model_copy(update={"genesis_hash": bytes(32), "block_seconds": 12.0})


async def scrape(home: House, at: datetime | None = None) -> Shown:
    page = Exposition([expected_to_mine(home)], lambda: at or now())
    page.reached(home.database)
    body, content_type = await page()
    assert content_type.startswith("text/plain")
    return samples(body)


async def report(home: House, height: int, mined_at: datetime, state: NodeState = NodeState.HEALTHY) -> None:
    """Tell how the one node is, as the process that follows would."""
    (row,) = await home.fetch("select follower from chains")
    status = NodeStatus("node 1", state, None, now(), Tip(height, mined_at))
    assert await NodeStates(home.database).report(home.definition.name, row["follower"], [status], now())


async def test_a_followed_chain_is_shown_as_it_stands(anvil: Anvil, database_url: str) -> None:
    """Cursor, tip, lag, follower and node state of a chain; what it told is counted by chain and type."""
    async with house(anvil, database_url) as home:
        before = await scrape(home)
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await caught_up(home)
            height = await home.cursor()
            (block,) = await home.fetch("select mined_at from blocks where height = $1 and orphaned_at is null", height)
            await report(home, height + 4, block["mined_at"] + timedelta(seconds=48))
            after = await scrape(home)
            told = await home.told()
    chain = ("anvil",)

    def more(name: str, *labels: str) -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert more("chainbell_transitions_total", "anvil", "transaction.deposit.created") == told.count("deposit.created") == 1
    assert more("chainbell_blocks_total", *chain) == 1
    assert more("chainbell_movements_total", *chain) == 1
    assert more("chainbell_commit_seconds_count", "anvil", "advance") == 1
    assert after["chainbell_chain_cursor_height", chain] == height
    assert after["chainbell_chain_tip_height", chain] == height + 4
    assert after["chainbell_chain_lag_blocks", chain] == 4
    assert after["chainbell_chain_lag_seconds", chain] == 48
    assert after["chainbell_chain_followed", chain] == 1
    assert after["chainbell_node_state", ("anvil", "1", "healthy")] == 1
    assert after["chainbell_node_state", ("anvil", "1", "failing")] == 0
    assert after["chainbell_feed_position", ()] == len(told)
    assert after["chainbell_database_up", ()] == 1


async def test_what_a_reorg_takes_back_is_found_by_the_hash_of_its_block(anvil: Anvil, database_url: str) -> None:
    """Where no block includes a transaction any more, its line in the log names the one that did."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            with capture_logs() as lines:
                await anvil.send(anvil.accounts[0], ALICE, ETHER)
                await caught_up(home)
                block = await anvil.block_hash()
                await anvil.reorg(1)
                await anvil.mine(1)
                await caught_up(home)
                told = await home.told()
    found = [line for line in lines if line["event"] == "told" and block in {line["block"], line["occasion"]}]
    assert [line["type"].removeprefix("transaction.") for line in found] == told
    assert found[-1]["type"] == "transaction.deposit.pending"
    assert [line["position"] for line in found] == list(range(1, len(told) + 1))


async def test_a_reorg_is_counted_with_its_depth(anvil: Anvil, database_url: str) -> None:
    """One reorg more, of so many blocks."""
    async with house(anvil, database_url) as home:
        before = await scrape(home)
        async with following(home):
            await started(home)
            await anvil.mine(3)
            await caught_up(home)
            await anvil.reorg(2)
            await anvil.mine(1)
            await caught_up(home)
        after = await scrape(home)
    for name in ("chainbell_reorgs_total", "chainbell_reorg_depth_blocks_count"):
        assert after[name, ("anvil",)] - before.get((name, ("anvil",)), 0) == 1
    depth = "chainbell_reorg_depth_blocks_sum"
    assert after[depth, ("anvil",)] - before.get((depth, ("anvil",)), 0) == 2


async def test_backlogs_are_told_apart_by_whether_their_endpoints_answer(anvil: Anvil, database_url: str) -> None:
    """What waits for endpoints that answer is our backlog; what waits for the others is theirs."""
    async with house(anvil, database_url) as home:
        well, _ = await make_endpoint(home.database, "https://a.example/")
        failing, _ = await make_endpoint(home.database, "https://b.example/")
        disabled, _ = await make_endpoint(home.database, "https://c.example/")
        for number in range(3):
            await make_event(home.database, resource=f"trx_{number}", endpoints=[well, failing, disabled])
        await home.fetch("update endpoints set failing_since = $2 where id = $1::uuid", failing, NOW)
        await home.fetch("update endpoints set enabled = false where id = $1::uuid", disabled)
        await home.fetch("update deliveries set status = 'exhausted' where endpoint_id = $1::uuid", failing)
        shown = await scrape(home, at=NOW + 90 * SECOND)
    states = ("answering", "failing", "disabled")
    assert [shown["chainbell_endpoints", (state,)] for state in states] == [1, 1, 1]
    assert [shown["chainbell_deliveries_pending", (state,)] for state in states] == [3, 0, 3]
    assert [shown["chainbell_deliveries_exhausted", (state,)] for state in states] == [0, 3, 0]
    assert [shown["chainbell_deliveries_oldest_pending_seconds", (state,)] for state in states] == [90, 0, 90]
    assert [shown["chainbell_deliveries_overdue_seconds", (state,)] for state in states] == [90, 0, 90]


async def test_counting_a_backlog_is_bounded(anvil: Anvil, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits, no more rows are read than a number, shared evenly by the endpoints."""
    monkeypatch.setattr("chainbell.storage.gauges.MOST_COUNTED", 5)
    monkeypatch.setattr("chainbell.storage.gauges._FEWEST_COUNTED", 1)
    async with house(anvil, database_url) as home:
        endpoint, _ = await make_endpoint(home.database, "https://a.example/")
        other, _ = await make_endpoint(home.database, "https://b.example/")
        for number in range(3):
            await make_event(home.database, resource=f"trx_{number}", endpoints=[endpoint, other])
        (backlog,) = (await read_gauges(home.database, [home.definition], NOW)).backlogs
    assert backlog.pending == 4


async def test_scrapes_in_quick_succession_read_the_database_once(
    anvil: Anvil, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever scrapes often, or many times at once, costs one read in some seconds."""
    reads = 0

    async def counted(*args: Any) -> object:
        nonlocal reads
        reads += 1
        return await read_gauges(*args)

    monkeypatch.setattr(gauges, "read_gauges", counted)
    async with house(anvil, database_url) as home:
        page = Exposition([home.definition], now)
        page.reached(home.database)
        await asyncio.gather(*(page() for _ in range(5)))
    assert reads == 1


async def test_without_a_database_the_page_is_there_and_says_so(anvil: Anvil, database_url: str) -> None:
    """Before the first connection, and after the last: never an error, what is counted is shown, `up` is 0."""
    async with house(anvil, database_url) as home:
        page = Exposition([home.definition], now)
        first, _ = await page()
        async with Database.open(database_url) as closed:
            pass
        page = Exposition([home.definition], now)
        page.reached(closed)
        last, _ = await page()
    for body in (first, last):
        shown = samples(body)
        assert shown["chainbell_database_up", ()] == 0
        assert ("chainbell_chain_cursor_height", ("anvil",)) not in shown
        assert b"# TYPE chainbell_chain_cursor_height gauge" in body
        assert ("process_resident_memory_bytes", ()) in shown


async def test_the_alarm_tells_when_a_stall_begins_and_when_it_ends(anvil: Anvil, database_url: str) -> None:
    """Another process than the follower's sees it in the database: one error line, then one that it moves again."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)

        async def unfollowed() -> bool:
            # Stopped while it takes its lease, a follower does not give it back: it ends by itself.
            (row,) = await home.fetch("select coalesce(lease_until < clock_timestamp(), true) as ended from chains")
            return bool(row["ended"])

        await until(unfollowed)
        later = timedelta(minutes=5)
        alarm = StallAlarm(home.database, [expected_to_mine(home)], lambda: now() + later, look_seconds=0.01)
        with capture_logs() as lines:
            task = asyncio.create_task(alarm.run())

            async def told(event: str) -> bool:
                return any(line["event"] == event for line in lines)

            await until(lambda: told("stalled"))
            await home.fetch("update chains set advanced_at = $1", now() + later)
            await until(lambda: told("moving again"))
            task.cancel()
            await asyncio.wait([task])
    (began,) = [line for line in lines if line["event"] == "stalled"]
    assert (began["log_level"], began["chain"], began["kind"]) == ("error", "anvil", "unfollowed")
    (ended,) = [line for line in lines if line["event"] == "moving again"]
    assert (ended["log_level"], ended["chain"], ended["kind"]) == ("info", "anvil", "unfollowed")


async def test_a_frozen_follower_is_seen_by_another_process(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """Stopped in the middle of its work it says nothing, and its task is alive: its lease ends, and that is seen."""
    settings = environment(
        DATABASE_URL=database_url, NODES__ANVIL=anvil.url, SECRET_KEY=SECRET_KEY, SCREENING="off", API_PORT="0"
    )
    async with life(settings, tmp_path / "log", ["watcher"]) as watcher, house(anvil, database_url) as home:
        await watcher.event("following")
        watcher.send(signal.SIGSTOP)
        await watcher.frozen()

        async def seen() -> bool:
            shown = await scrape(home, at=now() + timedelta(minutes=2))
            return shown["chainbell_chain_stalled", ("anvil", "unfollowed")] == 1

        await until(seen)
        watcher.send(signal.SIGCONT)


async def test_each_stall_is_shown_with_its_reason(anvil: Anvil, database_url: str) -> None:
    """Unfollowed, behind, still and halted are told apart by what stands in the database."""

    async def reasons(later: timedelta) -> set[str]:
        shown = await scrape(home, at=now() + later)
        return {labels[1] for (name, labels), value in shown.items() if name == "chainbell_chain_stalled" and value}

    minutes = timedelta(minutes=3)
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await home.fetch("update chains set lease_until = clock_timestamp() + interval '1 hour'")
            assert await reasons(timedelta()) == set()
            assert await reasons(minutes) == {"still"}
            await home.fetch("update node_states set reported_at = reported_at + interval '1 hour'")
            await report(home, await home.cursor() + 9, now())
            await home.fetch("update node_states set reported_at = reported_at + interval '1 hour'")
            assert await reasons(minutes) == {"behind"}
            states = ChainStates(home.database)
            (shown,) = await chain_report(home.database, states, [expected_to_mine(home)], now() + minutes)
            assert shown.stalled is not None
            assert shown.stalled.kind is Stall.BEHIND
            (shown,) = await chain_report(home.database, states, [expected_to_mine(home)], now())
            assert shown.stalled is None
        assert await reasons(minutes) == {"unfollowed"}
        (row,) = await home.fetch("select follower from chains")
        await ChainStates(home.database).note_trouble("anvil", row["follower"] or "us", "a deep reorg", halted=True)
        assert await reasons(timedelta()) == {"halted"}
        await ChainStates(home.database).note_trouble("anvil", row["follower"] or "us", None)
        assert await reasons(timedelta()) == set()
