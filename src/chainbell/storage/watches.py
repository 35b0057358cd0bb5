"""Watched addresses: registered under the chain's shared lock, looked up by the block's own addresses."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from chainbell.domain.chain import Mode
from chainbell.domain.errors import ConflictError, InputError, NotFoundError, UnavailableError
from chainbell.domain.history import History
from chainbell.domain.label import check_label
from chainbell.domain.watch import Purpose, Watch
from chainbell.storage.chunks import chunks
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database
from chainbell.storage.deriving import with_derived
from chainbell.storage.key_windows import Named, give_out
from chainbell.storage.locks import lock_chain_shared
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.registrations import addresses_added, addresses_removed, note
from chainbell.storage.scans import open_scan
from chainbell.storage.watch_rows import to_watch

_AMONG = "select * from addresses where chain = $1 and address = any($2::bytea[]) and removed_at is null"

_INSERT = """
insert into addresses (chain, address, account_id, customer_id, label, watched_from, created_at, purpose, outgoing_from)
values ($1, $2, $3, $4, $5, $6, $7, $8, (select case kind when 'evm' then $6::bigint end from chains where name = $1))
returning *
"""

_DEFAULT_ACCOUNT = "select id from accounts where mode = $1 and is_default"

_REMOVE = """
update addresses set removed_at = $4
where chain = $1 and address = $2 and removed_at is null and ($3::uuid is null or account_id = $3) returning id
"""


@dataclass(frozen=True, slots=True)
class NewWatch:
    """What somebody asks to be watched. Without an account: the default one of the chain's mode."""

    chain: str
    address: bytes
    account_id: str | None = None
    customer_id: str | None = None
    label: str | None = None
    history: History | None = None
    """What of its past is looked for; None: nothing."""
    purpose: Purpose = Purpose.DEPOSIT

    def __post_init__(self) -> None:
        """Raise `InputError` for a label that cannot be shown, or is too long."""
        if self.label is not None:
            check_label(self.label)


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which watches to list; None stands for all."""

    chain: str | None = None
    account_id: str | None = None
    mode: Mode | None = None
    key_id: str | None = None
    """Only addresses of this key."""


async def watches_among(connection: Connection, chain: str, addresses: Collection[bytes]) -> Mapping[bytes, Watch]:
    """Look up which of these addresses are watched: the cost follows their number, not that of all watches."""
    found: dict[bytes, Watch] = {}
    for portion in chunks(addresses):
        rows = await connection.fetch(_AMONG, chain, portion)
        found |= {row["address"]: to_watch(row) for row in rows}
    return found


def listing(wanted: WatchFilter, request: PageRequest) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments of a page; each chain gives a page at most, which an index finds."""
    conditions, chains = Conditions(), Conditions()
    chains.arguments = conditions.arguments
    chains.equal("c.mode", wanted.mode and wanted.mode.value)
    chains.equal("c.name", wanted.chain)
    conditions.equal("a.account_id", wanted.account_id)
    conditions.equal("a.key_id", wanted.key_id)
    conditions.before("a.created_at, a.id", *request.after_key(UUID))
    order = f"order by a.created_at desc, a.id desc limit {conditions.place(request.limit + 1)}"
    sql = f"""
        select a.* from chains c cross join lateral (
            select * from addresses a where a.chain = c.name and a.removed_at is null and {conditions} {order}
        ) a where {chains} {order}
    """  # noqa: S608 - made of literals and placeholders
    return sql, conditions.arguments


class WatchStore:
    """Registers, lists and removes watches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, wanted: NewWatch, now: datetime) -> Watch:
        """Register a watch; when this returns, no block above the cursor can miss it.

        Raises `UnavailableError` while the chain has no cursor, `ConflictError` when the address is watched already, and
        `InputError` for an account or customer that is not there or of another mode.
        """

        async def work() -> Watch:
            async with self._database.transaction() as connection:
                return await add_watch(connection, wanted, now)

        return await with_derived(self._database, work)

    async def list(self, wanted: WatchFilter, request: PageRequest) -> Page[Watch]:
        """Return a page of watches, newest first."""
        sql, arguments = listing(wanted, request)
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *arguments)
        return to_page([to_watch(row) for row in rows], request, lambda watch: (watch.created_at, watch.id))

    async def get(self, chain: str, address: bytes) -> Watch:
        """Return one watch. Raises `NotFoundError`."""
        found = await self.find(chain, address)
        if found is None:
            raise _not_watched(chain)
        return found

    async def find(self, chain: str, address: bytes) -> Watch | None:
        """Return one watch; None where the address is not watched."""
        async with self._database.connection() as connection:
            found = await watches_among(connection, chain, [address])
        return found.get(address)

    async def remove(self, chain: str, address: bytes, account_id: str | None, now: datetime) -> None:
        """Stop new matches of an address; what is tracked is told to the end. Raises `NotFoundError`.

        With an account, only a watch of that account is removed.
        """
        async with self._database.transaction() as connection:
            await remove_watch(connection, chain, address, account_id, now)


async def add_watch(connection: Connection, wanted: NewWatch, now: datetime) -> Watch:
    """Register a watch inside an open transaction.

    Raises as `WatchStore.add`, and `UnderivedError` where addresses of a key must be derived first.
    """
    await lock_chain_shared(connection, wanted.chain)
    watched_from, mode = await covered_from(connection, wanted.chain)
    account_id = await holding_account(connection, wanted.chain, wanted.account_id, mode)
    await check_customer(connection, wanted.customer_id, account_id)
    watch = await _given_out(connection, wanted, account_id, now) or await _insert(
        connection, wanted, account_id, watched_from, now
    )
    note(connection, *addresses_added([watch], now))
    if wanted.history is not None:
        await open_scan(connection, watch.chain, watch.account_id, [watch.id], wanted.history, now)
    return watch


async def _given_out(connection: Connection, wanted: NewWatch, account_id: str, now: datetime) -> Watch | None:
    """Return the watch where a key of the account had it in its window, and it is handed out by this."""
    named = Named(wanted.address, wanted.label, wanted.customer_id)
    given = await give_out(connection, wanted.chain, account_id, [named], now, wanted.purpose)
    return given[0] if given else None


async def _insert(connection: Connection, wanted: NewWatch, account_id: str, watched_from: int, now: datetime) -> Watch:
    try:
        row = await connection.fetchrow(
            _INSERT,
            wanted.chain,
            wanted.address,
            account_id,
            wanted.customer_id,
            wanted.label,
            watched_from,
            now,
            wanted.purpose.value,
        )
    except asyncpg.UniqueViolationError as error:
        message = (
            f"this address is watched on {wanted.chain} already: an address is registered once per chain. "
            "`chainbell scan start --address` reads its past"
        )
        raise ConflictError(message) from error
    if row is None:
        message = "insert returned no row"
        raise AssertionError(message)
    return to_watch(row)


async def require_watch(connection: Connection, chain: str, address: bytes, account_id: str | None) -> Watch:
    """Return the watch of an address; with an account, only one of that account. Raises `NotFoundError`."""
    watch = (await watches_among(connection, chain, [address])).get(address)
    if watch is None or account_id not in {None, watch.account_id}:
        raise _not_watched(chain)
    return watch


async def remove_watch(connection: Connection, chain: str, address: bytes, account_id: str | None, now: datetime) -> None:
    """Stop new matches of an address inside an open transaction. Raises as `WatchStore.remove`."""
    await lock_chain_shared(connection, chain)
    removed = await connection.fetchval(_REMOVE, chain, address, account_id, now)
    if removed is None:
        raise _not_watched(chain)
    note(connection, addresses_removed(chain, [address], now))


async def covered_from(connection: Connection, chain: str) -> tuple[int, str]:
    """Return the first height that a watch registered now covers, and the chain's mode; the caller holds its lock.

    Raises `UnavailableError` while the chain has no cursor.
    """
    row = await connection.fetchrow("select cursor_height, mode from chains where name = $1", chain)
    if row is None:
        message = (
            f"{chain} takes no address yet: no node of it was reached. Set its URL in CHAINBELL_NODES__"
            f"{chain.upper().replace('-', '_')}, start `chainbell run`, and see in its log what the node answers"
        )
        raise UnavailableError(message)
    return row["cursor_height"] + 1, row["mode"]


async def holding_account(connection: Connection, chain: str, account_id: str | None, mode: str) -> str:
    """Return the account that addresses of a chain go to: the one that is named, or the default one of the chain's mode.

    Raises `InputError` for one that is not there, or of the other mode.
    """
    if account_id is None:
        return str(await connection.fetchval(_DEFAULT_ACCOUNT, mode))
    found = await connection.fetchval("select mode from accounts where id = $1", account_id)
    if found != mode:
        known = "there is no such account" if found is None else f"that account is of mode {found}, the chain of {mode}"
        message = f"account {account_id} cannot hold an address on {chain}: {known}"
        raise InputError(message)
    return account_id


async def check_customer(connection: Connection, customer_id: str | None, account_id: str) -> None:
    """Raise `InputError` for a customer whom the account does not have."""
    if customer_id is None:
        return
    owner = await connection.fetchval("select account_id from customers where id = $1", customer_id)
    if owner is None or str(owner) != account_id:
        message = f"account {account_id} has no customer {customer_id}"
        raise InputError(message)


def _not_watched(chain: str) -> NotFoundError:
    return NotFoundError(f"this address is not watched on {chain}: register it, or list the addresses to see which are")
