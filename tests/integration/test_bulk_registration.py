"""Many addresses at once: each exactly once whoever else registers them, and none of their deposits missed meanwhile."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path

from chainbell.custody.address_file import Entry
from chainbell.custody.registration import Batch, Order, Refusal, Tally, register_in_batches
from chainbell.domain.history import History
from chainbell.events.publish import publish
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.database import Database
from chainbell.storage.journal import FILE_NAME, Journal
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from tests import builders
from tests.bulk import address, held_back, somebody_waits
from tests.feed_builders import with_a_chain
from tests.house import ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil

MANY = 4_000
SMALL = 250
PAYEES = (5_001, 5_002)


def entries(numbers: Sequence[int]) -> list[Entry]:
    return [Entry(line, bytes.fromhex(address(number)[2:]), None, None) for line, number in enumerate(numbers, start=2)]


async def _accounts(database: Database) -> tuple[str, str]:
    async with database.connection() as connection:
        first = await connection.fetchval("select id from accounts where is_default and mode = 'test'")
        second = await connection.fetchval("insert into accounts (mode, name) values ('test', 'second') returning id")
    return str(first), str(second)


async def _import(database: Database, account: str, numbers: Sequence[int], size: int = SMALL) -> list[Batch]:
    batches = register_in_batches(AddressRegistry(database), Order("anvil", account), entries(numbers), now, size)
    return [batch async for batch in batches]


def _sum(batches: Sequence[Batch]) -> Tally:
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    return tally


async def test_overlapping_imports_register_each_address_once(database_url: str, seed: int) -> None:
    """Two of one account and one of another, in different orders: what one did not get, another has, and all say so."""
    chance = random.Random(seed)
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        first, second = await _accounts(database)
        files = [chance.sample(range(MANY), MANY * 3 // 4) for _ in range(3)]
        accounts = [first, first, second]
        done = await asyncio.gather(*map(_import, [database] * 3, accounts, files))
        async with database.connection() as connection:
            rows = await connection.fetch("select address, account_id from addresses")
        holders = {row["address"]: str(row["account_id"]) for row in rows}
        assert len(holders) == len(rows)
        assert set(holders) == {bytes.fromhex(address(number)[2:]) for number in set().union(*files)}
        assert sum(_sum(batches).registered for batches in done) == len(rows)
        for account, numbers, batches in zip(accounts, files, done, strict=True):
            refused = {one.entry.address for batch in batches for one in batch.refused}
            lost = {entry.address for entry in entries(numbers) if holders[entry.address] != account}
            assert refused == lost
            assert all(one.refusal is Refusal.WATCHED_ELSEWHERE for batch in batches for one in batch.refused)
            assert _sum(batches).lines == len(numbers)


async def test_what_somebody_registered_meanwhile_is_told(database_url: str) -> None:
    """A batch waits for who was before it at one of its addresses, and then reports that line alone."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        _, second = await _accounts(database)
        async with held_back(database_url, 7) as other:
            importing = asyncio.create_task(_import(database, second, range(20)))
            await somebody_waits(other)
        (batch,) = await importing
        assert (batch.registered, batch.refused) == (20, [])
        await WatchStore(database).remove("anvil", bytes.fromhex(address(7)[2:]), None, now())
        await WatchStore(database).add(NewWatch("anvil", bytes.fromhex(address(7)[2:])), now())
        (batch,) = await _import(database, second, range(21))
        assert (batch.registered, batch.already, [one.entry.line for one in batch.refused]) == (1, 19, [9])


async def test_a_batch_waits_for_the_commit_under_way(database_url: str) -> None:
    """Its `watched_from` lies above every block that was matched without it."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        account, _ = await _accounts(database)
        block = builders.block(1)
        async with LedgerStore(database, publish).begin("anvil") as commit, database.connection() as other:
            await commit.standing()
            importing = asyncio.create_task(_import(database, account, PAYEES))
            waiting = "select exists (select from pg_locks where not granted)"
            while not await other.fetchval(waiting) and not importing.done():
                await asyncio.sleep(0.005)
            assert not importing.done()
            await commit.append([block], now())
        (batch,) = await importing
        assert batch.watched_from == block.ref.height + 1


async def test_a_customer_who_is_gone_is_told(database_url: str) -> None:
    """The line is refused, and the rest of its batch stands."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        first, second = await _accounts(database)
        async with database.connection() as connection:
            made = "insert into customers (account_id, created_at) values ($1, now()) returning id"
            own, strange = [str(await connection.fetchval(made, account)) for account in (first, second)]
        wanted = [
            Entry(line, entry.address, None, customer)
            for line, (entry, customer) in enumerate(zip(entries(range(3)), [own, strange, None], strict=True), start=2)
        ]
        batch = await AddressRegistry(database).register(Order("anvil", first), wanted, now())
        assert batch.registered == 2
        assert [(one.entry.line, one.refusal) for one in batch.refused] == [(3, Refusal.UNKNOWN_CUSTOMER)]


async def _records(home: House) -> list[tuple[str, int, bool]]:
    rows = await home.fetch("select * from transactions where type = 'DEPOSIT' order by block_height")
    return [("0x" + row["address"].hex(), row["block_height"], row["historical_until"] is not None) for row in rows]


async def test_deposits_between_two_batches_are_seen(manual_anvil: Anvil, database_url: str) -> None:
    """The first batch is watched while the second waits, whose `watched_from` lies above; its past is left to its scan."""
    async with house(manual_anvil, database_url) as home, following(home):
        await started(home)
        account, _ = await _accounts(home.database)
        begun = await home.cursor()
        order = Order("anvil", account, History(begun + 1, notify=False))
        batches = register_in_batches(AddressRegistry(home.database), order, entries(PAYEES), now, 1)
        first = await anext(batches)
        assert (first.watched_from, first.scan_id) == (begun + 1, None)
        for number in PAYEES:
            await manual_anvil.send(manual_anvil.accounts[0], address(number), ETHER)
        await manual_anvil.mine(1)
        await caught_up(home)
        assert await _records(home) == [(address(PAYEES[0]), begun + 1, False)]
        second = await anext(batches)
        assert second.watched_from == begun + 2
        (scan,) = await home.fetch("select * from scans")
        assert (str(scan["id"]), scan["from_height"], scan["through_height"]) == (second.scan_id, begun + 1, begun + 1)
        await manual_anvil.send(manual_anvil.accounts[0], address(PAYEES[1]), ETHER)
        await manual_anvil.mine(1)
        await caught_up(home)

        async def both() -> bool:
            seen = [(to, height) for to, height, _ in await _records(home)]
            return {(address(PAYEES[0]), begun + 1), (address(PAYEES[1]), begun + 2)} <= set(seen)

        await until(both, "both deposits are records")
        assert len(await home.fetch("select from events where type like '%.deposit.created'")) >= 2


async def test_the_journal_hears_of_each_batch_once(database_url: str, tmp_path: Path) -> None:
    """One line of it for each batch, with what was new in it; none where nothing was."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        account, _ = await _accounts(database)
        database.journal = Journal(tmp_path / FILE_NAME, "this one", 0)
        await _import(database, account, range(SMALL + 1))
        await _import(database, account, range(SMALL))
    said = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [len(line["addresses"]) for line in said] == [SMALL, 1]
    assert said[1]["addresses"] == [{"address": address(SMALL)}]
    assert (said[1]["accountId"], said[1]["watchedFrom"]) == (account, 1)
