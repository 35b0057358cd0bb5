"""Windows of extended keys: what must be watched as addresses are handed out, and seen used.

Everything here runs inside an open transaction under the chain's lock, shared or not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from chainbell.custody.window import next_after, watched_until
from chainbell.domain.errors import ConflictError, UnderivedError
from chainbell.domain.watch import Purpose, Watch
from chainbell.storage.chunks import chunks
from chainbell.storage.database import Connection, Record
from chainbell.storage.watch_rows import to_watch

BRANCHES = """
select b.*, k.chain, k.account_id, k.label, k.gap_limit, c.cursor_height + 1 as watched_from, c.kind
from key_branches b join keys k on k.id = b.key_id join chains c on c.name = k.chain
"""

_LOCKED = f"{BRANCHES} where b.key_id = $1 and b.branch = $2 for update of b"

_LOCK_ALL = """
select from key_branches b join keys k on k.id = b.key_id where k.chain = $1 and k.account_id = $2
order by b.key_id, b.branch for update of b
"""

_TAKE = """
with taken as (
    delete from derived_addresses where key_id = $1 and branch = $2 and key_index < $3 returning key_index, address
)
select key_index, address from taken
where not exists (select from retired_addresses r where r.chain = $4 and r.address = taken.address)
    or exists (select from addresses a where a.chain = $4 and a.address = taken.address and a.removed_at is null)
order by address
"""

_WATCH = """
insert into addresses (chain, address, account_id, label, watched_from, created_at, purpose, outgoing_from, key_id, branch,
    key_index)
select $1, address, $2, $3, $4, $5, $6, $7, $8, $9, key_index
from unnest($10::bytea[], $11::bigint[]) as t (address, key_index)
on conflict do nothing
returning *
"""

# Registered by name before: it belongs to the key from now on, and was given to somebody.
_ADOPT = """
update addresses a set key_id = $3, branch = $4, key_index = t.key_index, handed_out_at = a.created_at,
    purpose = case when $5 = 'change' then $5 else a.purpose end
from unnest($6::bytea[], $7::bigint[]) as t (address, key_index)
where a.chain = $1 and a.address = t.address and a.account_id = $2 and a.key_id is null and a.removed_at is null
returning a.*
"""

_HELD = """
select a.* from unnest($2::bytea[]) as wanted (address) join addresses a using (address)
where a.chain = $1 and a.removed_at is null
"""

_PLACES = """
select distinct a.key_id, a.branch from unnest($3::bytea[]) as wanted (address) join addresses a using (address)
where a.chain = $1 and a.account_id = $2 and a.key_id is not null and a.handed_out_at is null and a.removed_at is null
order by a.key_id, a.branch
"""

_GIVE = """
update addresses a set handed_out_at = $3, label = coalesce(t.label, a.label), customer_id = t.customer_id,
    purpose = case when $4 = 'change' then $4 else a.purpose end
from unnest($5::bytea[], $6::text[], $7::uuid[]) as t (address, label, customer_id)
where a.chain = $1 and a.account_id = $2 and a.address = t.address
    and a.key_id is not null and a.handed_out_at is null and a.removed_at is null
returning a.*
"""

_MOVE = """
update key_branches set next_index = $3, watched_end = $4
where key_id = $1 and branch = $2
"""


@dataclass(frozen=True, slots=True)
class BranchState:
    """One branch of a key, as far as it is used, watched and derived."""

    key_id: str
    branch: int
    chain: str
    account_id: str
    label: str | None
    """Of the key: its addresses have it until they get their own."""
    gap_limit: int
    purpose: Purpose
    next_index: int
    watched_end: int
    derived_end: int
    end_index: int
    watched_from: int
    """First height that is covered for what is watched now."""
    outgoing_from: int | None
    """The same of what leaves it; None where older outputs must be looked for first."""


@dataclass(frozen=True, slots=True)
class Named:
    """An address that somebody registers by name."""

    address: bytes
    label: str | None
    customer_id: str | None


async def extend_windows(connection: Connection, hits: Collection[Watch], now: datetime) -> bool:
    """Watch further addresses of the keys whose addresses were hit; False when no window reaches further than before.

    Call it before the cursor moves: what it adds is watched from the block behind the cursor on, so what is committed now
    must be matched again. An address that another account or key holds stays where it is. Raises as `widen`.
    """
    places = sorted({(p.key_id, p.branch, p.index) for watch in hits if (p := watch.place) is not None})
    widened = False
    for (key_id, branch), group in groupby(places, key=lambda place: place[:2]):
        highest = max(index for _, _, index in group)
        state = await locked_branch(connection, key_id, branch)
        if highest >= state.next_index:
            widened |= await widen(connection, state, highest, now) > state.watched_end
    return widened


async def give_out(  # noqa: PLR0913 - whose they are, and what they are for
    connection: Connection,
    chain: str,
    account_id: str,
    named: Sequence[Named],
    now: datetime,
    purpose: Purpose = Purpose.DEPOSIT,
) -> Sequence[Watch]:
    """Hand out, by name, those addresses that a key of this account watches already and nobody was given; return them.

    This may widen windows, and what they reach only then is not given: whoever names several calls it until it gives none.
    Raises as `widen`.
    """
    addresses = [one.address for one in named]
    places = await connection.fetch(_PLACES, chain, account_id, addresses)
    # Branches before addresses: in the order of whoever hands out the next one.
    states = [await locked_branch(connection, str(row["key_id"]), row["branch"]) for row in places]
    if not states:
        return []
    labels, customers = [one.label for one in named], [one.customer_id for one in named]
    rows = await connection.fetch(_GIVE, chain, account_id, now, purpose.value, addresses, labels, customers)
    given = [to_watch(row) for row in rows]
    for state in states:
        taken = [p.index for watch in given if (p := watch.place) and (p.key_id, p.branch) == (state.key_id, state.branch)]
        await widen(connection, state, max(taken, default=None), now)
    return given


async def lock_branches(connection: Connection, chain: str, account_id: str) -> None:
    """Let no window of an account be moved by others until the end of the transaction: before it writes many addresses."""
    await connection.execute(_LOCK_ALL, chain, account_id)


async def locked_branch(connection: Connection, key_id: str, branch: int) -> BranchState:
    """Read a branch, and be the only one who moves it until the end of the transaction."""
    row = await connection.fetchrow(_LOCKED, key_id, branch)
    if row is None:
        message = f"key {key_id} has no branch {branch}"
        raise AssertionError(message)
    return to_branch(row)


async def widen(
    connection: Connection, state: BranchState, taken: int | None, now: datetime, *, strict: bool = False
) -> int:
    """Watch as far as must be once an index was taken; return the index behind the last that is watched now.

    Where it meets an address that was registered by name in the same account, that belongs to the key from then on, and
    counts as taken. One that `retired_addresses` names, and nobody watches, is left out. With `strict`, one that another
    account or key holds is a `ConflictError`. Raises `UnderivedError` where more must be derived first.
    """
    next_index = next_after(state.next_index, taken, state.end_index)
    watched_end = state.watched_end
    while (end := watched_until(next_index, state.gap_limit, watched_end, state.end_index)) > watched_end:
        if end > state.derived_end:
            raise UnderivedError(state.key_id, state.branch, end)
        rows = await connection.fetch(_TAKE, state.key_id, state.branch, end, state.chain)
        wanted = {row["address"]: row["key_index"] for row in rows}
        adopted = await _watch(connection, state, wanted, now, strict=strict)
        watched_end = end
        next_index = next_after(next_index, max(adopted, default=None), state.end_index)
    await connection.execute(_MOVE, state.key_id, state.branch, next_index, watched_end)
    return watched_end


def to_branch(row: Record) -> BranchState:
    """Read a branch from a row of `BRANCHES`."""
    return BranchState(
        key_id=str(row["key_id"]),
        branch=row["branch"],
        chain=row["chain"],
        account_id=str(row["account_id"]),
        label=row["label"],
        gap_limit=row["gap_limit"],
        purpose=Purpose(row["purpose"]),
        next_index=row["next_index"],
        watched_end=row["watched_end"],
        derived_end=row["derived_end"],
        end_index=row["end_index"],
        watched_from=row["watched_from"],
        outgoing_from=row["watched_from"] if row["kind"] == "evm" else None,
    )


async def _watch(
    connection: Connection, state: BranchState, wanted: Mapping[bytes, int], now: datetime, *, strict: bool
) -> Collection[int]:
    """Watch addresses; return the indexes of those that were registered by name before.

    What was held when it was to be inserted, and is free when its holder is looked for, is tried once more.
    """
    waiting, adopted = dict(wanted), list[int]()
    while waiting:
        rows: list[Record] = []
        for portion in chunks(waiting.items()):
            rows += await _insert(connection, state, portion, now)
        waiting = _without(waiting, rows)
        if not waiting:
            break
        taken_over = await _adopt(connection, state, waiting)
        adopted += [row["key_index"] for row in taken_over]
        waiting = _without(waiting, taken_over)
        held = await connection.fetch(_HELD, state.chain, list(waiting)) if waiting else []
        if held and strict:
            raise _held_elsewhere(state, held[0], wanted)
        waiting = _without(waiting, held)
    return adopted


async def _insert(
    connection: Connection, state: BranchState, portion: Sequence[tuple[bytes, int]], now: datetime
) -> list[Record]:
    return await connection.fetch(
        _WATCH,
        state.chain,
        state.account_id,
        state.label,
        state.watched_from,
        now,
        state.purpose.value,
        state.outgoing_from,
        state.key_id,
        state.branch,
        [address for address, _ in portion],
        [index for _, index in portion],
    )


async def _adopt(connection: Connection, state: BranchState, waiting: Mapping[bytes, int]) -> list[Record]:
    return await connection.fetch(
        _ADOPT,
        state.chain,
        state.account_id,
        state.key_id,
        state.branch,
        state.purpose.value,
        list(waiting),
        list(waiting.values()),
    )


def _without(waiting: Mapping[bytes, int], rows: Sequence[Record]) -> dict[bytes, int]:
    done = {row["address"] for row in rows}
    return {address: index for address, index in waiting.items() if address not in done}


def _held_elsewhere(state: BranchState, row: Record, wanted: Mapping[bytes, int]) -> ConflictError:
    """Say which address of a key is not free. Another account's id is not told: only that it is another one."""
    holder = "by another account" if str(row["account_id"]) != state.account_id else f"of key {row['key_id']} already"
    return ConflictError(
        f"address {wanted[row['address']]} of branch {state.branch} of this key is watched on {state.chain} {holder}: an "
        "address is registered once per chain. Remove it there, or leave this key out"
    )
