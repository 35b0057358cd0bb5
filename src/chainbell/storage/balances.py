"""What an address of the Bitcoin family holds, from the ledger of single inputs and outputs."""

from dataclasses import dataclass

from chainbell.domain.watch import Watch
from chainbell.storage.database import Database
from chainbell.storage.watch_rows import to_watch

# An output counts once a block of our chain has it, until one has what spends it, or a node's set has it no more.
_BALANCE = """
select a.*, c.cursor_height, (
    select coalesce(sum(o.amount), 0) from outputs o
    where o.chain = a.chain and o.script = a.address and o.block_height is not null and o.gone_at is null
        and not exists (
            select from inputs i where i.chain = o.chain and i.outpoint = o.outpoint and i.block_height is not null
        )
) as amount
from addresses a join chains c on c.name = a.chain
where a.chain = $1 and a.address = $2 and a.removed_at is null
"""


@dataclass(frozen=True, slots=True)
class Balance:
    """What the ledger knows of one address at one moment."""

    watch: Watch
    as_of_height: int
    """The cursor of that moment."""
    amount: int
    """In base units; what it is worth depends on `watch.outgoing_from`: before, what was spent may be in it."""


async def read_balance(database: Database, chain: str, address: bytes) -> Balance | None:
    """Return what an address of the Bitcoin family holds; None where it is not watched."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_BALANCE, chain, address)
    return None if row is None else Balance(to_watch(row), row["cursor_height"], int(row["amount"]))
