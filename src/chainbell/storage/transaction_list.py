"""Tracked transactions as listings show them: the record as it stands, and how deep its block is below our cursor."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.errors import NotFoundError
from chainbell.domain.transaction import Status, Transaction, TransactionType
from chainbell.storage.accounts import Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Database, Record
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.transactions import OF_CHAIN, to_transaction

_COLUMNS = f"""
t.*, {OF_CHAIN},
coalesce(greatest(c.cursor_height - t.block_height + 1, 0), 0) as confirmations
"""

_ONE = f"""
select {_COLUMNS} from transactions t join chains c on c.name = t.chain
where ($1::text is null or c.mode = $1) and ($2::uuid is null or t.account_id = $2) and t.uid = $3
"""  # noqa: S608 - made of literals


@dataclass(frozen=True, slots=True)
class AddressOf:
    """An address, and the chains on which it is meant: the same script is written otherwise on others."""

    address: bytes
    chains: Collection[str] | None = None
    """Names of definitions; None: all."""


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which transactions to list; None stands for all."""

    type: TransactionType | None = None
    status: Status | None = None
    chain: str | None = None
    """Name of the chain's definition."""
    address: AddressOf | None = None
    """The watched side."""
    tx_hash: bytes | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    """A record, and its confirmations: 1 when its block is our cursor, 0 when it is in no block."""

    transaction: Transaction
    confirmations: int


def listing(wanted: TransactionFilter, viewer: Viewer, request: PageRequest) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments of a page.

    Each chain gives a page at most, which an index finds; so the cost does not follow the number of rows of others.
    """
    conditions, chains = Conditions(), Conditions()
    chains.arguments = conditions.arguments
    mode, account_id = viewer.parameters
    chains.equal("c.mode", mode)
    chains.equal("c.name", wanted.chain)
    chains.among("c.name", None if wanted.address is None else wanted.address.chains)
    conditions.equal("t.account_id", account_id)
    conditions.equal("t.account_id", wanted.account_id)
    conditions.equal("t.type", wanted.type and wanted.type.value)
    conditions.equal("t.status", wanted.status and wanted.status.value)
    conditions.equal("t.address", None if wanted.address is None else wanted.address.address)
    conditions.equal("t.tx_hash", wanted.tx_hash)
    conditions.before("t.created_at, t.uid", *request.after)
    order = f"order by t.created_at desc, t.uid desc limit {conditions.place(request.limit + 1)}"
    sql = f"""
        select {_COLUMNS} from chains c cross join lateral (
            select * from transactions t where t.chain = c.name and {conditions} {order}
        ) t where {chains} {order}
    """  # noqa: S608 - the same, and placeholders
    return sql, conditions.arguments


class TransactionList:
    """Reads tracked transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: TransactionFilter, viewer: Viewer, request: PageRequest) -> Page[ListedTransaction]:
        """Return a page of transactions, those first seen last in front."""
        sql, arguments = listing(wanted, viewer, request)
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *arguments)
        return to_page([_to_listed(row) for row in rows], request, _key)

    async def get(self, uid: str, viewer: Viewer) -> ListedTransaction:
        """Return one transaction. Raises `NotFoundError`, also for one that the viewer may not see."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ONE, *viewer.parameters, uid)
        if row is None:
            message = f"there is no transaction {uid}"
            raise NotFoundError(message)
        return _to_listed(row)


def _key(listed: ListedTransaction) -> tuple[datetime, str]:
    return listed.transaction.created_at, listed.transaction.uid


def _to_listed(row: Record) -> ListedTransaction:
    return ListedTransaction(to_transaction(row), row["confirmations"])
