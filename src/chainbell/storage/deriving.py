"""Addresses of keys are derived while no transaction is open: it takes milliseconds each, and locks would wait for it.

What a transaction lacks it says by `UnderivedError`; it is rolled back, what it lacks is derived and kept, portion by
portion, and then it is tried again.

In one process nothing is derived twice at a time: of a branch, and of the keys that are registered, one caller derives, and
the others wait without a thread or a connection. Behind the wait each looks first whether there is anything left to do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar
from weakref import WeakValueDictionary

from chainbell.custody.account_key import stored_template
from chainbell.custody.deriver import derive_in_portions
from chainbell.domain.errors import UnavailableError, UnderivedError
from chainbell.storage.database import Connection, Database

T = TypeVar("T")

_LEAST_AHEAD = 100
_KEYS_AT_ONCE = 500
"""Derivations of what is kept at once: about a second."""
_REGISTERING = "registering"

_turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
"""Who derives what; a lock lives as long as somebody holds it or waits for it."""

_BRANCH = """
select k.template, b.watched_end, b.derived_end, b.end_index from key_branches b join keys k on k.id = b.key_id
where b.key_id = $1 and b.branch = $2
"""

_DERIVED = """
update key_branches set derived_end = $3 where key_id = $1 and branch = $2 and derived_end = $4 returning branch
"""

_KEEP = """
insert into derived_addresses (key_id, branch, key_index, address)
select $1, $2, $3 + place - 1, address from unnest($4::bytea[]) with ordinality as derived (address, place)
on conflict (key_id, branch, key_index) do nothing
"""


class UnpreparedKeyError(UnavailableError):
    """A key that is registered just now needs addresses, or more of them than were derived for it."""

    def __init__(self, derive_more: Callable[[], Awaitable[None]]) -> None:
        super().__init__("addresses of this key must be derived first; the same call may succeed later")
        self.derive_more = derive_more


async def with_derived(database: Database, work: Callable[[], Awaitable[T]]) -> T:
    """Do what opens a transaction of its own, and do it again, as often as it lacks derived addresses.

    Keys that are registered wait for one another before any is derived, and are tried again before it: by then the same
    request may have been answered, or the same key registered.
    """
    async with AsyncExitStack() as turn:
        has_turn = False
        while True:
            try:
                return await work()
            except UnderivedError as lacking:
                await derive_lacking(database, lacking)
            except UnpreparedKeyError as lacking:
                if has_turn:
                    await lacking.derive_more()
                else:
                    await turn.enter_async_context(_turn(_REGISTERING))
                    has_turn = True


async def derive_lacking(database: Database, lacking: UnderivedError) -> None:
    """Derive what a transaction lacked, and as many more as were in store: the next try reaches twice as far."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_BRANCH, lacking.key_id, lacking.branch)
    if row is not None:
        in_store = row["derived_end"] - row["watched_end"]
        await derive_until(database, lacking.key_id, lacking.branch, further(lacking.end, in_store))


def further(end: int, in_store: int) -> int:
    """Return until where to derive, where some were in store and an index behind them is needed."""
    return end + max(in_store, _LEAST_AHEAD)


async def derive_until(database: Database, key_id: str, branch: int, end: int) -> None:
    """Derive the addresses of a branch until before an index, where it has so many; each portion is kept by itself.

    Raises `UnavailableError` while what derives cannot be loaded.
    """
    lacking = True
    while lacking:
        async with _turn((key_id, branch)):
            lacking = await _derive_portion(database, key_id, branch, end)


async def _derive_portion(database: Database, key_id: str, branch: int, end: int) -> bool:
    """Derive and keep some of what lacks; False where nothing does."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_BRANCH, key_id, branch)
    if row is None or row["derived_end"] >= min(end, row["end_index"]):
        return False
    template, first = stored_template(row["template"]), row["derived_end"]
    portion = max(1, _KEYS_AT_ONCE // len(template.keys))
    last = min(first + portion, end, row["end_index"])
    addresses = await derive_in_portions(template, branch, first, last)
    async with database.transaction() as connection:
        # Whoever else derived meanwhile, in another process, was as good.
        if await connection.fetchval(_DERIVED, key_id, branch, last, first) is not None:
            await keep_derived(connection, key_id, branch, first, addresses)
    return True


async def keep_derived(connection: Connection, key_id: str, branch: int, first: int, addresses: Sequence[bytes]) -> None:
    """Keep what was derived ahead, from an index on."""
    await connection.execute(_KEEP, key_id, branch, first, list(addresses))


def _turn(of: Hashable) -> asyncio.Lock:
    return _turns.setdefault(of, asyncio.Lock())
