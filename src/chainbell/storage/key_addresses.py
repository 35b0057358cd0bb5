"""The next address of a key, handed out once."""

from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.errors import ConflictError, InputError, NotFoundError
from chainbell.domain.history import History
from chainbell.domain.label import check_label
from chainbell.domain.watch import Purpose, Watch
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.deriving import with_derived
from chainbell.storage.key_windows import locked_branch, widen
from chainbell.storage.locks import lock_chain_shared
from chainbell.storage.registrations import addresses_added, note
from chainbell.storage.scans import open_scan
from chainbell.storage.watch_rows import to_watch
from chainbell.storage.watches import check_customer, covered_from, holding_account

_BY_ID = "select id, account_id from keys where id = $1 and chain = $2 and ($3::uuid is null or account_id = $3)"

_OF_ACCOUNT = "select id, account_id from keys where chain = $1 and account_id = $2 order by created_at, id limit 2"

_BRANCH = "select branch from key_branches where key_id = $1 and purpose = $2"

_NEXT = """
update addresses set handed_out_at = $4, label = coalesce($5, label), customer_id = $6
where id = (
    select id from addresses
    where key_id = $1 and branch = $2 and key_index >= $3 and handed_out_at is null and removed_at is null
    order by key_index limit 1
)
returning *
"""


@dataclass(frozen=True, slots=True)
class NextAddress:
    """What somebody asks of a key. Without a key: the only one that the account has on the chain."""

    chain: str
    key_id: str | None = None
    account_id: str | None = None
    customer_id: str | None = None
    label: str | None = None
    """None: the address has the key's."""
    history: History | None = None
    purpose: Purpose = Purpose.DEPOSIT

    def __post_init__(self) -> None:
        """Raise `InputError` for a label that cannot be shown, or is too long."""
        if self.label is not None:
            check_label(self.label)


async def next_address(database: Database, wanted: NextAddress, now: datetime) -> Watch:
    """Hand out the next address of a key. Raises as `hand_out`, but for what must be derived: that is."""

    async def work() -> Watch:
        async with database.transaction() as connection:
            return await hand_out(connection, wanted, now)

    return await with_derived(database, work)


async def hand_out(connection: Connection, wanted: NextAddress, now: datetime) -> Watch:
    """Hand out the next address of a key inside an open transaction: none is handed out twice.

    It is the first behind all that were handed out or seen used, and was watched before. Raises `UnavailableError` while the
    chain has no cursor, `NotFoundError` for a key that is not there, `InputError` where no key is named and none stands out
    or it has no such branch, `ConflictError` where all were handed out, `UnderivedError` where more must be derived first.
    """
    await lock_chain_shared(connection, wanted.chain)
    _, mode = await covered_from(connection, wanted.chain)
    key = await _key(connection, wanted, mode)
    await check_customer(connection, wanted.customer_id, str(key["account_id"]))
    branch = await connection.fetchval(_BRANCH, key["id"], wanted.purpose.value)
    if branch is None:
        message = "this key has no branch for change: its descriptor names one branch, for payers. Leave the purpose out"
        raise InputError(message)
    watch = to_watch(await _take_next(connection, str(key["id"]), branch, wanted, now))
    note(connection, *addresses_added([watch], now))
    if wanted.history is not None:
        await open_scan(connection, watch.chain, watch.account_id, [watch.id], wanted.history, now)
    return watch


async def _key(connection: Connection, wanted: NextAddress, mode: str) -> Record:
    if wanted.key_id is not None:
        row = await connection.fetchrow(_BY_ID, wanted.key_id, wanted.chain, wanted.account_id)
        if row is None:
            message = f"there is no such key on {wanted.chain}: list the keys to see which there are"
            raise NotFoundError(message)
        return row
    account_id = await holding_account(connection, wanted.chain, wanted.account_id, mode)
    rows = await connection.fetch(_OF_ACCOUNT, wanted.chain, account_id)
    if len(rows) == 1:
        return rows[0]
    has = "several keys" if rows else "no key"
    do = "name one of them" if rows else "name an address to watch, or register an extended public key first"
    message = f"account {account_id} has {has} on {wanted.chain} to derive an address from: {do}"
    raise InputError(message)


async def _take_next(connection: Connection, key_id: str, branch: int, wanted: NextAddress, now: datetime) -> Record:
    while True:
        state = await locked_branch(connection, key_id, branch)
        row = await connection.fetchrow(_NEXT, key_id, branch, state.next_index, now, wanted.label, wanted.customer_id)
        if row is not None:
            await widen(connection, state, row["key_index"], now)
            return row
        if state.next_index >= state.end_index:
            message = "every address of this key was handed out: a descriptor without /* names one. Register another key"
            raise ConflictError(message)
        # All that are watched behind the last one are held by others, or were removed.
        await widen(connection, state, state.watched_end - 1, now)
