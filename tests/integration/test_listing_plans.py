"""Listings on full tables: each page is found by an index, also where nothing of the reader's own is in them."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import pytest

from chainbell.domain.chain import Mode
from chainbell.domain.delivery import DeliveryStatus
from chainbell.domain.transaction import Status
from chainbell.storage.accounts import Viewer
from chainbell.storage.chunks import KEYS_AT_ONCE, chunks
from chainbell.storage.database import Connection, Database
from chainbell.storage.delivery_log import DeliveryFilter, DeliveryLog
from chainbell.storage.delivery_log import listing as delivery_listing
from chainbell.storage.endpoints import EndpointStore
from chainbell.storage.event_list import EventList, FeedPage, reading
from chainbell.storage.paging import PageRequest
from chainbell.storage.replay_steps import looking_at_events, looking_at_exhausted
from chainbell.storage.scan_list import ScanFilter, ScanList
from chainbell.storage.scan_list import listing as scan_listing
from chainbell.storage.transaction_list import AddressOf, TransactionFilter, TransactionList, listing
from chainbell.storage.watches import WatchFilter, WatchStore, watches_among
from chainbell.storage.watches import listing as watch_listing
from chainbell.telemetry.clock import now
from tests.api_client import BOX, api_house

ROWS = 30_000
FEW = 10
PAGE = PageRequest(50)
LIVE = Viewer(Mode.LIVE)
TEST = Viewer(Mode.TEST)

_FILL = """
insert into addresses (chain, address, account_id, watched_from, created_at)
select 'ethereum', decode(lpad(to_hex(n), 40, '0'), 'hex'), $1, 1, now() + n * interval '1 ms'
from generate_series(1, $2::integer) n;
"""
_FILL_TRANSACTIONS = """
insert into transactions (uid, type, chain, tx_hash, asset, symbol, decimals, address, account_id, asset_id, amount,
    origin_sender, origin_nonce, may_return, status, screening, execution, told_depth, final, sequence,
    created_at, updated_at)
select 'trx_' || n, 'DEPOSIT', 'ethereum', decode(lpad(to_hex(n), 64, '0'), 'hex'), '', 'ETH', 18,
    decode(lpad(to_hex(n % 3000), 40, '0'), 'hex'), $1, $2, 1, '', 0, false, 'SUCCESS', 'UNSCREENED', 'SUCCEEDED', 1, true,
    1, now() + n * interval '1 ms', now()
from generate_series(1, $3::integer) n
"""
_FILL_EVENTS = """
insert into events (position, id, type, resource_id, sequence, occasion, mode, chain, account_id, generation,
    created_at, body_v2)
select n, 'evt_' || n, 'transaction.deposit.created', 'trx_' || n, 1, '', 'live', 'ethereum', $1, 0, now(), '{}'
from generate_series(1, $2::integer) n
"""
# An endpoint that has everything, of which the oldest few were not taken, and one beside it that has nothing.
_FILL_ENDPOINTS = """
insert into endpoints (url, version, mode, events, chains, accounts, created_at, updated_at)
select 'https://' || name || '.example/', 2, 'live', '{}', '{}', '{}', now(), now() from unnest('{a,b}'::text[]) as name
"""
_FILL_DELIVERIES = """
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, attempted_at, next_attempt_at,
    exhausted_at, created_at, updated_at)
select p.id, v.position, v.resource_id, v.account_id, case when v.position > 2 * $1 then 'succeeded'
    when v.position > $1 then 'pending' else 'exhausted' end, v.created_at, v.created_at,
    case when v.position <= $1 then now() end, v.created_at, v.created_at
from events v, endpoints p where p.url like '%a.example/'
"""
_FILL_ATTEMPTS = """
insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome, status_code)
select id, account_id, created_at, 1, 'succeeded', 200 from deliveries
"""


_FILL_SCANS = """
insert into scans (chain, account_id, from_height, through_height, next_height, next_hash, notify, created_at, advanced_at,
    finished_at)
select 'ethereum', $1, 1, 9, 0, '', false, now() + n * interval '1 ms', now(), now() from generate_series(1, $2::integer) n
"""


@pytest.fixture
async def full(database_url: str) -> AsyncIterator[Database]:
    """Fill a database with rows of one live account; nothing is of mode test, or of another account."""
    async with api_house(database_url) as house, Database.open(database_url, size=2) as database:
        account = await house.default_account(Mode.LIVE)
        async with database.transaction() as connection:
            asset = await connection.fetchval(
                "insert into assets (account_id, chain, contract, symbol, decimals, created_at) "
                "values ($1, 'ethereum', '', 'ETH', 18, now()) returning id",
                account,
            )
            await connection.execute(_FILL, account, ROWS)
            await connection.execute(_FILL_TRANSACTIONS, account, asset, ROWS)
            await connection.execute(_FILL_EVENTS, account, ROWS)
            await connection.execute(_FILL_SCANS, account, ROWS)
            await connection.execute("update installation set feed_position = $1", ROWS)
            await connection.execute(_FILL_ENDPOINTS)
            await connection.execute(_FILL_DELIVERIES, FEW)
            await connection.execute(_FILL_ATTEMPTS)
        async with database.connection() as connection:
            await connection.execute("vacuum analyze")
        yield database


async def _rows_read(connection: Connection, statement: tuple[str, Sequence[object]]) -> dict[str, int]:
    """Return how many rows the worse of both kinds of plan touches in the tables that grow, by index."""
    sql, arguments = statement
    read: dict[str, int] = {}
    for mode in ("force_custom_plan", "force_generic_plan"):
        await connection.execute(f"set plan_cache_mode = {mode}")
        answer = await connection.fetchval(f"explain (analyze, format json) {sql}", *arguments)
        _count(json.loads(answer)[0]["Plan"], read)
    await connection.execute("reset plan_cache_mode")
    return read


def _count(node: dict[str, Any], read: dict[str, int]) -> None:
    if node.get("Relation Name") in {"addresses", "transactions", "events", "deliveries", "scans"} or "Index Name" in node:
        name = node.get("Index Name", node["Node Type"])
        touched = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        read[name] = max(read.get(name, 0), round(touched))
    for child in node.get("Plans", ()):
        _count(child, read)


async def _uses(database: Database, statement: tuple[str, Sequence[object]], index: str | None, most: int) -> None:
    async with database.connection() as connection:
        read = await _rows_read(connection, statement)
    grown = {name: count for name, count in read.items() if not name.startswith(("chains", "Seq Scan on chains"))}
    assert "Seq Scan" not in grown, grown
    assert index is None or index in grown, grown
    assert max(grown.values(), default=0) <= most, grown


async def test_pages_of_the_feed_are_found_by_an_index(full: Database) -> None:
    """For all, for a mode with and without events, and for an account without any: a page reads a page at most."""
    nobody = str(uuid4())
    for viewer, index in (
        (Viewer(), None),
        (LIVE, None),
        (TEST, "events_of_mode"),
        (Viewer(Mode.LIVE, nobody), "events_of_account"),
    ):
        await _uses(full, reading(viewer, 0, ROWS, 51), index, 51)
    page = await EventList(full).after(None, Viewer(Mode.LIVE, nobody), 50)
    assert isinstance(page, FeedPage)
    assert (list(page.events), page.next_cursor.position) == ([], ROWS)


async def test_pages_of_deliveries_are_found_by_an_index(full: Database) -> None:
    """By endpoint, event and status, also a rare one, for a mode and an account without any, and on every page."""
    nothing = DeliveryFilter()
    nobody = str(uuid4())
    first = await DeliveryLog(full).list(nothing, PAGE, LIVE)
    assert len(first.items) == 50
    assert all(found.last is not None and found.last.status_code == HTTPStatus.OK for found in first.items)
    endpoint_id = first.items[0].endpoint_id
    for wanted, viewer, index in (
        (nothing, LIVE, "deliveries_of_endpoint"),
        (nothing, Viewer(), "deliveries_of_endpoint"),
        (nothing, TEST, None),
        (nothing, Viewer(Mode.LIVE, nobody), None),
        (DeliveryFilter(endpoint_id=endpoint_id), LIVE, "deliveries_of_endpoint"),
        (DeliveryFilter(endpoint_id=nobody), LIVE, None),
        (DeliveryFilter(event_id="evt_77"), LIVE, None),
        (DeliveryFilter(status=DeliveryStatus.SUCCEEDED), LIVE, "deliveries_of_endpoint"),
        (DeliveryFilter(status=DeliveryStatus.PENDING), LIVE, None),
        (DeliveryFilter(status=DeliveryStatus.EXHAUSTED), LIVE, "deliveries_exhausted_newest"),
        (DeliveryFilter(endpoint_id=endpoint_id, status=DeliveryStatus.EXHAUSTED), LIVE, "deliveries_exhausted_newest"),
    ):
        for request in (PAGE, PageRequest(50, first.next_cursor)):
            await _uses(full, delivery_listing(wanted, viewer, request), index, 51)


async def test_steps_of_replays_read_what_they_look_at(full: Database) -> None:
    """Wherever in the feed a replay is, its step reads a portion by position, and no table from end to end."""
    page = await EndpointStore(full, BOX).list(PAGE)
    for endpoint in (*page.items, replace(page.items[0], mode=Mode.TEST)):
        for stretch in ((0, ROWS), (ROWS // 2, ROWS), (ROWS - 5, ROWS)):
            await _uses(full, looking_at_events(endpoint, stretch, 100), None, 100)
            await _uses(full, looking_at_exhausted(endpoint, now(), stretch, 100), "deliveries_exhausted", 100)


async def test_pages_of_transactions_are_found_by_an_index(full: Database) -> None:
    """By address, status, hash and account, for a mode without any, and on every page."""
    nothing = TransactionFilter()
    nobody = str(uuid4())
    rare = bytes(19) + b"\7"
    first = await TransactionList(full).list(nothing, LIVE, PAGE)
    for wanted, viewer, index in (
        (nothing, LIVE, None),
        (nothing, TEST, None),
        (TransactionFilter(chain="ethereum"), LIVE, None),
        (TransactionFilter(address=AddressOf(rare)), LIVE, "transactions_of_address"),
        (TransactionFilter(chain="ethereum", address=AddressOf(rare)), LIVE, "transactions_of_address"),
        (TransactionFilter(status=Status.FAILED), LIVE, "transactions_in_status"),
        (TransactionFilter(status=Status.SUCCESS), LIVE, None),
        (TransactionFilter(tx_hash=bytes(32)), LIVE, "transactions_by_hash"),
        (nothing, Viewer(Mode.LIVE, nobody), "transactions_of_account"),
        (TransactionFilter(account_id=nobody), LIVE, "transactions_of_account"),
    ):
        for request in (PAGE, PageRequest(50, first.next_cursor)):
            await _uses(full, listing(wanted, viewer, request), index, 51)


async def test_pages_of_addresses_are_found_by_an_index(full: Database) -> None:
    """For a chain, for an account without any, and for a mode without any."""
    nobody = str(uuid4())
    first = await WatchStore(full).list(WatchFilter(), PAGE)
    for wanted, index in (
        (WatchFilter(), None),
        (WatchFilter(mode=Mode.TEST), None),
        (WatchFilter(chain="ethereum"), None),
        (WatchFilter(account_id=nobody), "addresses_of_account"),
        (WatchFilter(key_id=nobody), "addresses_newest_of_key"),
        (WatchFilter(chain="ethereum", mode=Mode.LIVE, account_id=nobody), "addresses_of_account"),
    ):
        for request in (PAGE, PageRequest(50, first.next_cursor)):
            await _uses(full, watch_listing(wanted, request), index, 51)


async def test_pages_of_scans_are_found_by_an_index(full: Database) -> None:
    """For all, for a chain, for an account without any, for a mode without any, and where all are finished."""
    nobody = str(uuid4())
    first = await ScanList(full).list(ScanFilter(), PAGE)
    for wanted, index in (
        (ScanFilter(), None),
        (ScanFilter(mode=Mode.TEST), None),
        (ScanFilter(chain="ethereum"), "scans_of_chain"),
        (ScanFilter(account_id=nobody), "scans_of_account"),
        (ScanFilter(unfinished=True), None),
        (ScanFilter(chain="ethereum", mode=Mode.LIVE, account_id=nobody), "scans_of_account"),
    ):
        for request in (PAGE, PageRequest(50, first.next_cursor)):
            await _uses(full, scan_listing(wanted, request), index, 51)


async def test_listings_over_chains_go_on_page_by_page(full: Database) -> None:
    """What each chain gives is one listing, newest first: every row once, in order, over all pages."""
    async with full.transaction() as connection:
        account: UUID = await connection.fetchval("select id from accounts where mode = 'test' and is_default")
        await connection.execute("delete from addresses where ctid in (select ctid from addresses limit $1)", ROWS - 150)
        await connection.execute(
            "insert into addresses (chain, address, account_id, watched_from, created_at) "
            "select 'anvil', address, $1, 1, created_at from addresses",
            account,
        )
    seen: list[tuple[object, object]] = []
    request = PageRequest(70)
    while True:
        page = await WatchStore(full).list(WatchFilter(), request)
        seen += [(watch.created_at, UUID(watch.id)) for watch in page.items]
        if page.next_cursor is None:
            break
        request = PageRequest(70, page.next_cursor)
    assert len(set(seen)) == len(seen) == 300
    assert seen == sorted(seen, reverse=True)


async def test_many_addresses_are_looked_up_in_portions(full: Database) -> None:
    """Of 20,000 keys all that are watched are found, with no array so long that PostgreSQL would read the whole table."""
    sent: list[int] = []
    keys = [number.to_bytes(20, "big") for number in range(ROWS - 10_000, ROWS + 10_000)]
    async with full.connection() as connection:
        connection.add_query_logger(lambda query: sent.append(len(query.args[1])))
        found = await watches_among(connection, "ethereum", keys)
    assert len(found) == 10_001
    assert sent == [KEYS_AT_ONCE] * 4


def test_portions_hold_every_key_once() -> None:
    """In their order, the last one shorter; of nothing there is none."""
    assert list(chunks(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([])) == []
