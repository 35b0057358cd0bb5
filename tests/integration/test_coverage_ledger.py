"""The coverage ledger on a real database: a gap or an overlap cannot be written, and a scan claims only what it read."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from chainbell.domain.chain import BlockRef, ChainDefinition, Token
from chainbell.domain.coverage import NEVER, Coverage
from chainbell.domain.following import CoverageChange
from chainbell.domain.history import History, Scan
from chainbell.events.publish import publish
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.coverage import coverage_of
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.migrate import migrations
from chainbell.storage.watches import NewWatch
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import CURSOR, ApiHouse, api_house

TOKEN = b"\x07" * 20


def ranges(known: Coverage) -> list[tuple[int, int]]:
    return [(one.from_height, one.through_height) for one in known.ranges]


def gaps(known: Coverage) -> list[tuple[int, int, str]]:
    return [(gap.from_height, gap.through_height, gap.reason) for gap in known.gaps]


async def known(house: ApiHouse, subject: str) -> Coverage:
    """Return what is known of ``coin`` or ``token`` on anvil."""
    (found,) = [one for one in (await coverage_of(house.database, ["anvil"]))["anvil"] if one.capability == subject]
    return found.coverage


async def cover(house: ApiHouse, *tokens: bytes, off: Sequence[tuple[bytes, str]] = ()) -> None:
    fence = await house.fetchval("select fence from chains where name = 'anvil'")
    change = CoverageChange(tokens, tuple(off))
    assert await house.services.chain_states.cover(definition(house), fence, change, now())


def definition(house: ApiHouse) -> ChainDefinition:
    listed = (Token(symbol="TUSD", contract=TOKEN, decimals=6),)
    return house.services.chains["anvil"].model_copy(update={"tokens": listed})


def ref(height: int) -> BlockRef:
    return BlockRef(height, builders.block_hash(height), builders.block_hash(height - 1))


async def scan_down(house: ApiHouse, scan: Scan, lowest: int) -> Scan:
    """Let a scan read down to a block, as the scanner commits it."""
    at = await house.services.scans.get(scan.id, OPERATOR)
    async with LedgerStore(house.database, publish).begin("anvil") as commit:
        await commit.standing()
        assert await commit.scan_down([scan.id], ref(at.next_height), ref(lowest), now())
    return await house.services.scans.get(scan.id, OPERATOR)


async def retract(house: ApiHouse, ancestor: int) -> None:
    async with LedgerStore(house.database, publish).begin("anvil") as commit:
        await commit.standing()
        await commit.retract(ref(ancestor), now())


_STEP = "insert into coverage (chain, capability, token, from_height, reason) values ('anvil', $1, $2, $3, $4)"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (("coin", b"", CURSOR + 1, "off"), asyncpg.UniqueViolationError),
        (("coin", b"", CURSOR + 2, "off"), asyncpg.CheckViolationError),
        (("coin", b"", CURSOR + 50, None), asyncpg.CheckViolationError),
        (("coin", b"", -1, None), asyncpg.CheckViolationError),
        (("coin", TOKEN, 5, None), asyncpg.CheckViolationError),
        (("token", b"", 5, None), asyncpg.CheckViolationError),
        (("traces", b"", 5, None), asyncpg.CheckViolationError),
    ],
)
async def test_neither_an_overlap_nor_a_claim_above_the_cursor_can_be_written(
    database_url: str, row: tuple[str, bytes, int, str | None], error: type[Exception]
) -> None:
    """Two states at one height, or one that begins beyond the block that is read next, are refused by the database."""
    async with api_house(database_url) as house:
        await cover(house)
        with pytest.raises(error):
            await house.fetchval(_STEP, *row)
        assert ranges(await known(house, "coin")) == [(CURSOR + 1, CURSOR)]


async def test_a_cursor_cannot_leave_a_gap(database_url: str) -> None:
    """It moves on only over blocks that are there and linked: what grows with it can hold no hole."""
    move = "update chains set cursor_height = $1, cursor_hash = $2 where name = 'anvil'"
    add = "insert into blocks (chain, height, hash, parent_hash) values ('anvil', $1, $2, $3)"
    async with api_house(database_url) as house:
        await cover(house)
        for missing in (CURSOR + 1, CURSOR + 3):
            with pytest.raises(asyncpg.CheckViolationError, match="would leave a gap"):
                await house.fetchval(move, missing, builders.block_hash(missing))
        stranger = (CURSOR + 1, builders.block_hash(CURSOR + 1, 7), builders.block_hash(CURSOR, 7))
        await house.fetchval(add, *stranger)
        with pytest.raises(asyncpg.CheckViolationError, match="would leave a gap"):
            await house.fetchval(move, *stranger[:2])
        await house.fetchval("update blocks set orphaned_at = now() where hash = $1", stranger[1])
        assert await house.grow(5) == CURSOR + 5
        assert ranges(await known(house, "coin")) == [(CURSOR + 1, CURSOR + 5)]


async def test_a_cursor_cannot_go_back_and_leave_coverage_ahead_of_it(database_url: str) -> None:
    """Whoever moves it back must take back what was covered, in the same commit."""
    async with api_house(database_url) as house:
        await house.grow(5)
        await cover(house)
        with pytest.raises(asyncpg.CheckViolationError, match="begins above the block that is read next"):
            await house.fetchval("update chains set cursor_height = $1 where name = 'anvil'", CURSOR)
        await retract(house, CURSOR)
        assert ranges(await known(house, "coin")) == [(CURSOR + 1, CURSOR)]


async def test_what_is_switched_off_is_a_gap_with_its_reason(database_url: str) -> None:
    """Off ends a range, on begins another, and what lies between is shown; so is a token that never could be matched."""
    async with api_house(database_url) as house:
        await cover(house, off=[(TOKEN, "there is no contract at its address")])
        await house.grow(5)
        assert gaps(await known(house, "token")) == [
            (0, CURSOR, NEVER),
            (CURSOR + 1, CURSOR + 5, "there is no contract at its address"),
        ]
        await cover(house, TOKEN)
        await house.grow(5)
        await cover(house, off=[(TOKEN, "says 18 decimals")])
        await house.grow(5)
        await cover(house, TOKEN)
        await house.grow(5)
        found = await known(house, "token")
        assert ranges(found) == [(CURSOR + 6, CURSOR + 10), (CURSOR + 16, CURSOR + 20)]
        assert gaps(found)[-1] == (CURSOR + 11, CURSOR + 15, "says 18 decimals")
        assert (found.ranges[0].ended_reason, found.ranges[1].grows) == ("says 18 decimals", True)


async def test_a_finished_scan_of_a_chain_covers_what_it_read(database_url: str) -> None:
    """For a token that is listed now, the past before it was listed is covered, once the scan is finished and no sooner."""
    async with api_house(database_url) as house:
        await cover(house)
        await house.grow(5)
        await cover(house, TOKEN)
        scan = await house.services.scans.start("anvil", History(50, notify=False), now())
        assert scan.covers == {"coin", "logs", f"token:{TOKEN.hex()}"}
        await house.grow(5)
        assert (await scan_down(house, scan, 80)).finished_at is None
        assert ranges(await known(house, "token")) == [(CURSOR + 6, CURSOR + 10)]
        assert (await scan_down(house, scan, 50)).finished_at is not None
        for subject in ("coin", "logs", "token"):
            found = await known(house, subject)
            assert (ranges(found), gaps(found)) == ([(50, CURSOR + 10)], [(0, 49, NEVER)])


async def test_a_scan_claims_only_what_it_looked_for_from_end_to_end(database_url: str) -> None:
    """A token that was listed, or switched off, while the scan ran is not covered by it."""
    late = b"\x08" * 20
    async with api_house(database_url) as house:
        await cover(house, TOKEN)
        scan = await house.services.scans.start("anvil", History(50, notify=False), now())
        await scan_down(house, scan, 80)
        await cover(house, off=[(TOKEN, "says 18 decimals")])
        await cover(house, TOKEN, late)
        await scan_down(house, scan, 50)
        assert ranges(await known(house, "coin")) == [(50, CURSOR)]
        tokens = [one for one in (await coverage_of(house.database, ["anvil"]))["anvil"] if one.token is not None]
        assert [ranges(one.coverage) for one in tokens] == [[(CURSOR + 1, CURSOR)]] * 2


async def test_a_scan_over_a_reorg_claims_nothing_that_nobody_read(database_url: str) -> None:
    """Above the ancestor the follower reads again, for what is on; what is off by then, a scan cannot answer for."""
    async with api_house(database_url) as house:
        await cover(house, TOKEN)
        await house.grow(5)
        scan = await house.services.scans.start("anvil", History(50, notify=False), now())
        await scan_down(house, scan, 90)
        await cover(house, off=[(TOKEN, "off")])
        await retract(house, CURSOR + 2)
        after = await scan_down(house, scan, 50)
        assert after.finished_at is not None
        assert after.covers == {"coin", "logs"}
        assert ranges(await known(house, "coin")) == [(50, CURSOR + 2)]
        assert ranges(await known(house, "token")) == [(CURSOR + 1, CURSOR + 2)]


async def test_a_scan_that_a_reorg_leaves_nothing_of_covers_nothing(database_url: str) -> None:
    """All that it was to read is read by the follower, which says so itself."""
    async with api_house(database_url) as house:
        await house.grow(5)
        await cover(house)
        scan = await house.services.scans.start("anvil", History(CURSOR + 4, notify=False), now())
        await retract(house, CURSOR + 1)
        assert (await house.services.scans.get(scan.id, OPERATOR)).finished_at is not None
        assert ranges(await known(house, "coin")) == [(CURSOR + 2, CURSOR + 1)]


async def test_a_scan_of_one_address_covers_it_and_not_its_chain(database_url: str) -> None:
    """What was read for one address is not covered for the others."""
    async with api_house(database_url) as house:
        await cover(house)
        watch = await house.services.watches.add(NewWatch("anvil", builders.OURS, history=History(50, notify=False)), now())
        scan = (await house.services.scans.of_watches([watch]))[watch.id]
        assert (await scan_down(house, scan, 50)).finished_at is not None
        assert ranges(await known(house, "coin")) == [(CURSOR + 1, CURSOR)]
        assert list(await house.services.scans.reading(watch)) == [await house.services.scans.get(scan.id, OPERATOR)]


async def test_the_coverage_of_an_older_database_is_kept(empty_database_url: str) -> None:
    """Ranges that grew go on, those that ended keep their end, when, and why; what lay between becomes a gap."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    async with Database.open(empty_database_url) as database, database.connection() as connection:
        for migration in migrations():
            if migration.name == "0006_coverage.sql":
                await connection.execute(
                    "insert into chains (name, caip2, kind, wire_name, coin_decimals, mode, genesis_hash, cursor_height, "
                    "cursor_hash, cursor_parent_hash, reorg_limit, advanced_at) "
                    "values ('anvil', 'eip155:31337', 'evm', 'ANVIL', 18, 'test', '', 60, '', '', 64, now())"
                )
                await connection.executemany(
                    "insert into coverage (chain, capability, token, from_height, through_height, ended_at, ended_reason) "
                    "values ('anvil', $1, $2, $3, $4, $5, $6)",
                    [
                        ("coin", b"", 11, 60, None, None),
                        ("token", TOKEN, 11, 20, at, "off"),
                        ("token", TOKEN, 31, 30, at, "off for no block"),
                        ("token", TOKEN, 41, 60, None, None),
                        ("token", b"\x08" * 20, 11, 20, at, "off"),
                        ("token", b"\x08" * 20, 21, 60, None, None),
                        ("token", b"\x09" * 20, 11, 60, at, "off"),
                    ],
                )
            await connection.execute(migration.sql)
        found = [(ranges(one.coverage), gaps(one.coverage)) for one in (await coverage_of(database, ["anvil"]))["anvil"]]
    below = (0, 10, NEVER)
    assert found == [
        ([(11, 60)], [below]),
        ([(11, 20), (41, 60)], [below, (21, 40, "off")]),
        ([(11, 60)], [below]),
        ([(11, 60)], [below]),
    ]
