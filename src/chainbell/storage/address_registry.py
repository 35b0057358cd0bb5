"""Many watches in one commit: what nobody watches yet is registered, and what somebody does is told."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from chainbell.custody.address_file import Entry
from chainbell.custody.registration import Batch, Order, Refusal, Refused
from chainbell.domain.watch import Purpose, Watch
from chainbell.storage.chunks import chunks
from chainbell.storage.database import Connection, Database
from chainbell.storage.deriving import with_derived
from chainbell.storage.key_windows import Named, give_out, lock_branches
from chainbell.storage.locks import lock_chain_shared
from chainbell.storage.registrations import addresses_added, note
from chainbell.storage.scans import open_scan
from chainbell.storage.watch_rows import to_watch
from chainbell.storage.watches import covered_from, holding_account

_INSERT = """
insert into addresses (chain, address, account_id, customer_id, label, watched_from, created_at, purpose, outgoing_from)
select $1, wanted.address, $2, wanted.customer_id, wanted.label, $6, $7, wanted.purpose,
    (select case kind when 'evm' then $6::bigint end from chains where name = $1)
from unnest($3::bytea[], $4::uuid[], $5::text[], $8::text[]) as wanted (address, customer_id, label, purpose)
on conflict (chain, address) where removed_at is null do nothing
returning *
"""

_HOLDERS = """
select a.address, a.account_id, a.key_id is not null and a.handed_out_at is null as to_give
from unnest($2::bytea[]) as wanted (address) join addresses a using (address)
where a.chain = $1 and a.removed_at is null
"""

# Locked, so that none of them is gone before those who name it are committed.
_CUSTOMERS = """
select c.id from unnest($2::uuid[]) as wanted (id) join customers c using (id)
where c.account_id = $1 order by c.id for key share of c
"""


class AddressRegistry:
    """Registers addresses in bulk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def holding_account(self, chain: str, account_id: str | None) -> str:
        """Return the account that addresses of a chain go to. Raises as `WatchStore.add`."""
        async with self._database.connection() as connection:
            _, mode = await covered_from(connection, chain)
            return await holding_account(connection, chain, account_id, mode)

    async def known_customers(self, account_id: str, customer_ids: Collection[str]) -> Collection[str]:
        """Return which of these customers the account has."""
        async with self._database.connection() as connection:
            return await _known_customers(connection, account_id, customer_ids)

    async def register(self, order: Order, entries: Sequence[Entry], now: datetime) -> Batch:
        """Register what nobody watches yet; when this returns, no block above the cursor can miss it.

        The addresses of all entries differ. Raises `UnavailableError` while the chain has no cursor.
        """
        return await with_derived(self._database, partial(self._register, order, entries, now))

    async def _register(self, order: Order, entries: Sequence[Entry], now: datetime) -> Batch:
        async with self._database.transaction() as connection:
            await lock_chain_shared(connection, order.chain)
            watched_from, _ = await covered_from(connection, order.chain)
            named = {entry.customer_id for entry in entries if entry.customer_id is not None}
            customers = await _known_customers(connection, order.account_id, named)
            sound = [entry for entry in entries if entry.customer_id is None or entry.customer_id in customers]
            added, holders = await _insert(connection, order, sound, watched_from, now)
            scan_id = await _look_back(connection, order, added, now)
            note(connection, *addresses_added(added, now))
        return Batch(
            first_line=entries[0].line,
            last_line=entries[-1].line,
            registered=len(added),
            already=sum(holder == order.account_id for holder in holders.values()),
            refused=_refused(order, entries, customers, holders),
            watched_from=watched_from if added else None,
            scan_id=scan_id,
        )


async def _insert(
    connection: Connection, order: Order, entries: Sequence[Entry], watched_from: int, now: datetime
) -> tuple[list[Watch], Mapping[bytes, str]]:
    """Insert in the order of keys; return what was, and the accounts that hold the others.

    What an extended key of the account has in its window is handed out by this, as if it were new, and so is what the
    window reaches only by that.

    What was held when it was to be inserted, and is free when its holder is looked for, is tried once more; and so is what
    a key that was registered meanwhile has in its window.
    """
    waiting = {entry.address: entry for entry in sorted(entries, key=lambda entry: entry.address)}
    added: list[Watch] = []
    holders: dict[bytes, str] = {}
    await lock_branches(connection, order.chain, order.account_id)
    while waiting:
        added += await _give_out(connection, order, waiting, now)
        rows = await connection.fetch(
            _INSERT,
            order.chain,
            order.account_id,
            list(waiting),
            [entry.customer_id for entry in waiting.values()],
            [entry.label for entry in waiting.values()],
            watched_from,
            now,
            [entry.purpose.value for entry in waiting.values()],
        )
        added += [to_watch(row) for row in rows]
        for row in rows:
            del waiting[row["address"]]
        if waiting:
            found = await connection.fetch(_HOLDERS, order.chain, list(waiting))
            held = [row for row in found if not (row["to_give"] and str(row["account_id"]) == order.account_id)]
            holders |= {row["address"]: str(row["account_id"]) for row in held}
            for row in held:
                del waiting[row["address"]]
    return added, holders


async def _give_out(connection: Connection, order: Order, waiting: dict[bytes, Entry], now: datetime) -> list[Watch]:
    """Hand out what windows have of those that wait, until they have none, and take that from them."""
    given: list[Watch] = []
    handed = True
    while handed:
        handed = False
        for purpose in Purpose:
            named = [Named(e.address, e.label, e.customer_id) for e in waiting.values() if e.purpose is purpose]
            watches = await give_out(connection, order.chain, order.account_id, named, now, purpose) if named else []
            for watch in watches:
                del waiting[watch.address]
            given += watches
            handed = handed or bool(watches)
    return given


async def _look_back(connection: Connection, order: Order, added: Sequence[Watch], now: datetime) -> str | None:
    if order.history is None or not added:
        return None
    ids = [watch.id for watch in added]
    scan = await open_scan(connection, order.chain, order.account_id, ids, order.history, now)
    return None if scan is None else scan.id


async def _known_customers(connection: Connection, account_id: str, customer_ids: Collection[str]) -> Collection[str]:
    found: set[str] = set()
    for portion in chunks(sorted(customer_ids)):
        rows = await connection.fetch(_CUSTOMERS, account_id, portion)
        found |= {str(row["id"]) for row in rows}
    return found


def _refused(
    order: Order, entries: Sequence[Entry], customers: Collection[str], holders: Mapping[bytes, str]
) -> list[Refused]:
    refused: list[Refused] = []
    for entry in entries:
        if entry.customer_id is not None and entry.customer_id not in customers:
            refused.append(Refused(entry, Refusal.UNKNOWN_CUSTOMER))
        elif holders.get(entry.address, order.account_id) != order.account_id:
            refused.append(Refused(entry, Refusal.WATCHED_ELSEWHERE))
    return refused
