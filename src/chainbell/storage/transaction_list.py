"""Tracked transactions as listings show them: the record as it stands, and how deep its block is below our cursor."""

from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.errors import NotFoundError
from chainbell.domain.transaction import Status, Transaction, TransactionType
from chainbell.storage.accounts import Viewer
from chainbell.storage.database import Database, Record
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.transactions import to_transaction

_SELECT = """
select t.*, c.caip2, c.kind, c.wire_name, c.mode, c.coin_decimals,
    coalesce(greatest(c.cursor_height - t.block_height + 1, 0), 0) as confirmations
from transactions t join chains c on c.name = t.chain
where ($1::text is null or c.mode = $1) and ($2::uuid is null or t.account_id = $2)
"""

_LIST = f"""{_SELECT}
    and ($3::text is null or t.type = $3) and ($4::text is null or t.status = $4)
    and ($5::text is null or t.chain = $5) and ($6::bytea is null or t.address = $6)
    and ($7::bytea is null or t.tx_hash = $7) and ($8::uuid is null or t.account_id = $8)
    and ($9::timestamptz is null or (t.created_at, t.uid) < ($9, $10::text))
order by t.created_at desc, t.uid desc limit $11
"""

_ONE = f"{_SELECT} and t.uid = $3"


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which transactions to list; None stands for all."""

    type: TransactionType | None = None
    status: Status | None = None
    chain: str | None = None
    """Name of the chain's definition."""
    address: bytes | None = None
    """The watched side."""
    tx_hash: bytes | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    """A record, and its confirmations: 1 when its block is our cursor, 0 when it is in no block."""

    transaction: Transaction
    confirmations: int


class TransactionList:
    """Reads tracked transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: TransactionFilter, viewer: Viewer, request: PageRequest) -> Page[ListedTransaction]:
        """Return a page of transactions, those first seen last in front."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _LIST,
                *viewer.parameters,
                None if wanted.type is None else wanted.type.value,
                None if wanted.status is None else wanted.status.value,
                wanted.chain,
                wanted.address,
                wanted.tx_hash,
                wanted.account_id,
                *request.after,
                request.limit + 1,
            )
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
