"""Extended public keys and descriptors: registered with their first window, listed, and handed out from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg

from chainbell.custody.account_key import stored_template
from chainbell.custody.deriver import derive_in_portions, make_ready
from chainbell.custody.new_key import NewKey
from chainbell.custody.template import OutputType, Template
from chainbell.custody.window import derived_until
from chainbell.domain.errors import ConflictError, NotFoundError, UnderivedError
from chainbell.domain.watch import Purpose
from chainbell.storage.accounts import Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.deriving import UnpreparedKeyError, derive_until, further, keep_derived, with_derived
from chainbell.storage.key_windows import BRANCHES, locked_branch, to_branch, widen
from chainbell.storage.locks import lock_chain_shared
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.registrations import key_added, note
from chainbell.storage.watches import WatchFilter, covered_from, holding_account

_INSERT = """
insert into keys (chain, account_id, template, identity, label, gap_limit, first_index, watched_from, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *
"""

_INSERT_BRANCH = """
insert into key_branches (key_id, branch, purpose, next_index, watched_end, derived_end, end_index)
values ($1, $2, $3, $4, 0, $5, $6)
"""

_ONE = """
select k.* from keys k join chains c on c.name = k.chain
where k.id = $1 and ($2::text is null or c.mode = $2) and ($3::uuid is null or k.account_id = $3)
"""

_OF_KEYS = """
select b.*, a.address as first_address from key_branches b left join addresses a
    on a.key_id = b.key_id and a.branch = b.branch and a.key_index = 0 and a.removed_at is null
where b.key_id = any($1::uuid[]) order by b.key_id, b.branch
"""

_RUNNING_LOW = f"""
{BRANCHES} where b.derived_end < least(b.watched_end + 2 * k.gap_limit, b.end_index) order by b.key_id, b.branch limit 20
"""


@dataclass(frozen=True, slots=True)
class PreparedKey:
    """A key with its first addresses, which are derived while no lock is held, once it is known that they are needed."""

    wanted: NewKey
    addresses: list[list[bytes]] = field(default_factory=list)
    """Of each branch, from index 0 on."""

    async def derive_first(self) -> None:
        """Derive what each branch begins with."""
        for branch in range(len(self.addresses), len(self.wanted.template.branches)):
            self.addresses.append(await derive_in_portions(self.wanted.template, branch, 0, self.wanted.derived))

    async def derive_more(self, branch: int, end: int) -> None:
        """Derive addresses of a branch until behind an index at least; each time this reaches twice as far."""
        known = self.addresses[branch]
        end = min(further(end, len(known)), self.wanted.end_index)
        known += await derive_in_portions(self.wanted.template, branch, len(known), end)


@dataclass(frozen=True, slots=True)
class KeyBranch:
    """How far a branch of a key is used and watched."""

    branch: int
    purpose: Purpose
    next_index: int
    watched_end: int
    first_address: bytes | None
    """Of index 0; None where it is not watched any more."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An extended public key or descriptor whose addresses are watched."""

    id: str
    chain: str
    account_id: str
    type: OutputType
    text: str
    """The descriptor with its checksum; of an EVM chain the extended key."""
    ranged: bool
    label: str | None
    gap_limit: int
    first_index: int
    watched_from: int
    created_at: datetime
    branches: Sequence[KeyBranch]


async def add_key(connection: Connection, prepared: PreparedKey, now: datetime) -> AccountKey:
    """Register a key with its first window, inside an open transaction.

    Raises `UnavailableError` while the chain has no cursor, `InputError` for an account that is not there or of the other
    mode, `ConflictError` where the key is registered already, or another account or key holds one of the addresses, and
    `UnpreparedKeyError` where all else is well and nothing was derived yet, or so many of its addresses were registered by
    name that the window reaches behind what was derived: what to call then comes with it, when nothing is open any more.
    """
    wanted = prepared.wanted
    await lock_chain_shared(connection, wanted.chain)
    watched_from, mode = await covered_from(connection, wanted.chain)
    account_id = await holding_account(connection, wanted.chain, wanted.account_id, mode)
    row = await _insert(connection, wanted, account_id, watched_from, now)
    if len(prepared.addresses) < len(wanted.template.branches):
        raise UnpreparedKeyError(prepared.derive_first)
    try:
        for branch, addresses in enumerate(prepared.addresses):
            await _add_branch(connection, str(row["id"]), wanted, branch, addresses, now)
    except UnderivedError as lacking:
        raise UnpreparedKeyError(partial(prepared.derive_more, lacking.branch, lacking.end)) from lacking
    key = _to_key(row, await connection.fetch(_OF_KEYS, [row["id"]]))
    note(connection, key_added(_remembered(key, wanted.template), now))
    return key


class KeyStore:
    """Registers and lists keys, and keeps their addresses derived ahead."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, wanted: NewKey, now: datetime) -> AccountKey:
        """Register a key with its first window. Raises as `add_key`."""
        prepared = PreparedKey(wanted)

        async def work() -> AccountKey:
            async with self._database.transaction() as connection:
                return await add_key(connection, prepared, now)

        return await with_derived(self._database, work)

    async def get(self, key_id: str, viewer: Viewer) -> AccountKey:
        """Return a key that somebody may see. Raises `NotFoundError`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ONE, key_id, *viewer.parameters)
            if row is None:
                message = "there is no such key: list the keys to see which there are"
                raise NotFoundError(message)
            return _to_key(row, await connection.fetch(_OF_KEYS, [row["id"]]))

    async def list(self, wanted: WatchFilter, request: PageRequest) -> Page[AccountKey]:
        """Return a page of keys, newest first."""
        conditions = Conditions()
        conditions.equal("k.chain", wanted.chain)
        conditions.equal("k.account_id", wanted.account_id)
        conditions.equal("c.mode", wanted.mode and wanted.mode.value)
        conditions.before("k.created_at, k.id", *request.after_key(UUID))
        sql = (
            f"select k.* from keys k join chains c on c.name = k.chain where {conditions} "  # noqa: S608 - placeholders
            f"order by k.created_at desc, k.id desc limit {conditions.place(request.limit + 1)}"
        )
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *conditions.arguments)
            branches = await connection.fetch(_OF_KEYS, [row["id"] for row in rows])
        return to_page([_to_key(row, branches) for row in rows], request, lambda key: (key.created_at, key.id))

    async def make_ready(self) -> None:
        """Load what derives addresses, where there are keys: when a block needs it, it shall be there.

        Raises `UnavailableError` while it cannot be loaded.
        """
        async with self._database.connection() as connection:
            any_key = await connection.fetchval("select exists(select from keys)")
        if any_key:
            await make_ready()

    async def derive_ahead(self) -> bool:
        """Derive what the next widening of each window takes, while no transaction is open; False when nothing lacks.

        Raises `UnavailableError` while what derives cannot be loaded.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RUNNING_LOW)
        for state in map(to_branch, rows):
            end = derived_until(state.watched_end, state.gap_limit, state.end_index)
            await derive_until(self._database, state.key_id, state.branch, end)
        return bool(rows)


async def _insert(connection: Connection, wanted: NewKey, account_id: str, watched_from: int, now: datetime) -> Record:
    try:
        row = await connection.fetchrow(
            _INSERT,
            wanted.chain,
            account_id,
            wanted.template.body,
            wanted.template.identity,
            wanted.label,
            wanted.gap_limit,
            wanted.first_index,
            watched_from,
            now,
        )
    except asyncpg.UniqueViolationError as error:
        message = (
            f"this key is registered on {wanted.chain} already, perhaps written another way: it is registered once per chain"
        )
        raise ConflictError(message) from error
    if row is None:
        message = "insert returned no row"
        raise AssertionError(message)
    return row


async def _add_branch(  # noqa: PLR0913 - what a branch begins with
    connection: Connection, key_id: str, wanted: NewKey, branch: int, addresses: Sequence[bytes], now: datetime
) -> None:
    purpose = wanted.template.branches[branch]
    await connection.execute(
        _INSERT_BRANCH, key_id, branch, purpose.value, wanted.first_index, len(addresses), wanted.end_index
    )
    state = await locked_branch(connection, key_id, branch)
    await keep_derived(connection, key_id, branch, 0, addresses)
    await widen(connection, state, None, now, strict=True)


def _to_key(row: Record, branches: Sequence[Record]) -> AccountKey:
    template = stored_template(row["template"])
    return AccountKey(
        id=str(row["id"]),
        chain=row["chain"],
        account_id=str(row["account_id"]),
        type=template.type,
        text=template.text,
        ranged=template.ranged,
        label=row["label"],
        gap_limit=row["gap_limit"],
        first_index=row["first_index"],
        watched_from=row["watched_from"],
        created_at=row["created_at"],
        branches=[
            KeyBranch(one["branch"], Purpose(one["purpose"]), one["next_index"], one["watched_end"], one["first_address"])
            for one in branches
            if one["key_id"] == row["id"]
        ],
    )


def _remembered(key: AccountKey, template: Template) -> dict[str, object]:
    return {
        "id": key.id,
        "chain": key.chain,
        "accountId": key.account_id,
        "key": key.text,
        "identity": template.identity.hex(),
        "label": key.label,
        "gapLimit": key.gap_limit,
        "firstIndex": key.first_index,
        "watchedFrom": key.watched_from,
    }
