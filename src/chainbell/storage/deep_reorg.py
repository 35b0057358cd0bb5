"""A reorg deeper than the limit: what of our chain is still known, what would be taken back, and the commit that does it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NotFoundError
from chainbell.domain.transaction import BlockPoint
from chainbell.storage.audit import Deed, write_audit
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerCommit, LedgerStore, Publish
from chainbell.storage.locks import lock_chain

_STANDING = "select cursor_height, cursor_hash, cursor_parent_hash, reorg_limit from chains where name = $1"

# Our chain is known by the blocks that are kept, milestones among them, and by those that records stand in.
_OURS = """
select height, hash from (
    (select height, hash from blocks where chain = $1 and orphaned_at is null and height <= $2
        order by height desc limit 1)
    union all
    (select block_height, block_hash from transactions where chain = $1 and block_height <= $2
        order by block_height desc limit 1)
    union all
    (select conflict_height, conflict_hash from transactions where chain = $1 and conflict_height <= $2
        order by conflict_height desc limit 1)
) ours order by height desc limit 1
"""

_TOUCHED = "chain = $1 and (block_height > $2 or conflict_height > $2)"

_TAKEN_BACK = f"""
select type, status, symbol, decimals, count(*) as transactions, sum(amount) as amount
from transactions where {_TOUCHED} group by type, status, symbol, decimals order by type, status, symbol, decimals
"""  # noqa: S608 - made of literals

_UIDS = f"select uid from transactions where {_TOUCHED} order by block_height, uid"  # noqa: S608 - the same

# By force: whoever followed finds that its fence is no more in force, and waits for the lease to end.
_TAKE_OVER = """
update chains set follower = $3, fence = fence + 1, lease_until = clock_timestamp() + $4
where name = $1 and cursor_hash = $2 returning fence
"""

_GIVE_BACK = """
update chains set follower = null, lease_until = null, trouble = null, halted = false where name = $1 and fence = $2
"""

_KNOWN_AGAIN = """
insert into blocks (chain, height, hash, parent_hash) values ($1, $2, $3, $4)
on conflict (chain, hash) do update set orphaned_at = null
"""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Transactions of one type and status, in one asset, whose block leaves our chain."""

    type: str
    status: str
    symbol: str
    decimals: int
    transactions: int
    amount: int
    """In base units, of all of them together."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chain stands."""

    cursor: BlockRef
    reorg_limit: int


class DeepReorgs:
    """Reads what is needed to judge a reorg that is deeper than the limit, and takes a chain over to follow it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standing(self, chain: str) -> Standing:
        """Return where a chain stands. Raises `NotFoundError` before its first start."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_STANDING, chain)
        if row is None:
            message = f"{chain} was never started: there is nothing that a reorg could take back"
            raise NotFoundError(message)
        return Standing(BlockRef(row["cursor_height"], row["cursor_hash"], row["cursor_parent_hash"]), row["reorg_limit"])

    async def newest_known(self, chain: str, height: int) -> BlockPoint | None:
        """Return the highest block of our chain, at or below a height, of which the hash is known."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_OURS, chain, height)
        return None if row is None else BlockPoint(row["height"], row["hash"])

    async def taken_back(self, chain: str, height: int) -> tuple[list[TakenBack], list[str]]:
        """Return what stands in blocks above a height, in groups, and the uids of all of it."""
        async with self._database.connection() as connection:
            groups = await connection.fetch(_TAKEN_BACK, chain, height)
            uids = [row["uid"] for row in await connection.fetch(_UIDS, chain, height)]
        return [TakenBack(**{**row, "amount": int(row["amount"])}) for row in groups], uids

    async def take_over(self, chain: str, cursor: BlockRef, identity: str, duration: timedelta) -> int | None:
        """Take a chain's lease, whoever holds it, and return its new fence; None when the cursor is elsewhere by now."""
        async with self._database.transaction() as connection:
            await lock_chain(connection, chain)
            fence: int | None = await connection.fetchval(_TAKE_OVER, chain, cursor.hash, identity, duration)
        return fence

    async def give_back(self, chain: str, fence: int) -> None:
        """End the lease, and forget what kept the chain from going on: whoever follows it goes on."""
        async with self._database.connection() as connection:
            await connection.execute(_GIVE_BACK, chain, fence)


@dataclass(frozen=True, slots=True)
class AcceptedReorg:
    """What an operator agreed to."""

    fence: int
    cursor: BlockRef
    ledger: Sequence[BlockRef]
    """Linked blocks that end with the common ancestor: the ledger from which the chain is followed on."""
    deed: Deed


class AcceptedReorgStore(LedgerStore):
    """Opens the commit of an accepted reorg: it knows the ancestor again, and keeps the record of who agreed."""

    def __init__(self, database: Database, publish: Publish, accepted: AcceptedReorg) -> None:
        super().__init__(database, publish)
        self._accepted = accepted

    @asynccontextmanager
    async def begin(self, chain: str) -> AsyncIterator[LedgerCommit]:
        """Open the commit; nothing is written where the chain does not stand as it was shown to the operator."""
        async with super().begin(chain) as commit:
            standing = await commit.standing()
            if (standing.fence, standing.cursor.hash) == (self._accepted.fence, self._accepted.cursor.hash):
                refs = [(chain, ref.height, ref.hash, ref.parent_hash) for ref in self._accepted.ledger]
                await commit.connection.executemany(_KNOWN_AGAIN, refs)
                result = {"chain": chain, "ancestor": self._accepted.ledger[-1].height}
                await write_audit(commit.connection, "chain.accept_reorg", self._accepted.deed, result)
            yield commit
