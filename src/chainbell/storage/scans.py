"""Scans of the past: opened with a registration, read window by window, newest block first."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from chainbell.domain.errors import InputError
from chainbell.domain.history import History, Scan, ScannedWatch, ScanWindow
from chainbell.storage.chunks import chunks
from chainbell.storage.coverage import GROWING, KEY, cover_again
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.watch_rows import to_watch

_OPEN = f"""
insert into scans (chain, account_id, from_height, through_height, next_height, next_hash, notify, covers, created_at,
    advanced_at)
select name, $2, $3, cursor_height, cursor_height, cursor_hash, $4, array(select {KEY} from ({GROWING}) g order by 1), $5, $5
from chains where name = $1 and cursor_height >= $3
returning *
"""  # noqa: S608 - constants

_MEMBERS = "insert into scan_addresses (scan_id, address_id) select $1, unnest($2::uuid[])"

# Scans that stand highest go on first, down to where the next ones wait: from there on they are one.
_WINDOW = """
with unfinished as (select * from scans where chain = $1 and finished_at is null),
highest as (select max(next_height) as height from unfinished where $3::uuid[] is null or id = any($3))
select u.id, u.next_height, u.next_hash,
    greatest(
        u.next_height - $2 + 1,
        (select max(from_height) from unfinished, highest where next_height = highest.height),
        (select max(next_height) + 1 from unfinished, highest where next_height < highest.height)
    ) as lowest
from unfinished u, highest where u.next_height = highest.height order by u.id
"""

_STANDING_AT = """
select count(*) from scans
where id = any($1::uuid[]) and finished_at is null and next_height = $2 and next_hash = $3
"""

_READ_DOWN_TO = """
update scans set next_height = $2, next_hash = $3, advanced_at = $4::timestamptz, trouble = null,
    finished_at = case when from_height > $2 then $4::timestamptz end
where id = any($1::uuid[])
returning *
"""

# What stands above an ancestor is left to the follower, which reads it again.
_RETRACT = """
update scans set next_height = greatest($2, from_height - 1), next_hash = $3, advanced_at = $4::timestamptz,
    finished_at = case when from_height > $2 then $4::timestamptz end
where chain = $1 and finished_at is null and next_height > $2
returning *
"""

_SCANNED = """
select a.*, bool_or(s.notify) as notify, bool_or(s.seeding) as late
from unnest($2::bytea[]) as wanted (address) join addresses a using (address) join scans s on s.id = any($3::uuid[])
where a.chain = $1 and a.removed_at is null and (
    exists (select from scan_addresses m where m.scan_id = s.id and m.address_id = a.id)
    or (s.account_id is null and not s.seeding and a.watched_from <= s.through_height + 1)
)
group by a.id
"""

# Its addresses know what was unspent just below it, and it has read what came since.
_OUTGOING = """
update addresses a set outgoing_from = s.from_height from scans s join scan_addresses m on m.scan_id = s.id
where s.id = any($1::uuid[]) and a.id = m.address_id and a.removed_at is null and a.seeded_height = s.from_height - 1
"""

_TROUBLE = "update scans set trouble = $2 where id = any($1::uuid[]) and trouble is distinct from $2"


async def open_scan(  # noqa: PLR0913 - what a scan is
    connection: Connection,
    chain: str,
    account_id: str | None,
    address_ids: Sequence[str],
    history: History,
    now: datetime,
) -> Scan | None:
    """Open a scan of addresses just registered, or, without an account, of all addresses of the chain.

    The caller holds the chain's lock, shared or not, so that the scan begins where the watch does not reach. None when
    the cursor lies below `from_height`: everything is read by the follower. Raises `InputError` for a negative height.
    """
    if history.from_height < 0:
        message = "a block's height is not negative: give the first block to look back to, 0 or higher"
        raise InputError(message)
    row = await connection.fetchrow(_OPEN, chain, account_id, history.from_height, history.notify, now)
    if row is None:
        return None
    for portion in chunks(address_ids):
        await connection.execute(_MEMBERS, row["id"], portion)
    return to_scan(row)


async def stand_at(connection: Connection, scan_ids: Collection[str], height: int, block_hash: bytes) -> bool:
    """Tell whether all of these scans read this block next; the caller holds the chain's lock."""
    standing = await connection.fetchval(_STANDING_AT, list(scan_ids), height, block_hash)
    return bool(standing == len(scan_ids))


async def read_down_to(
    connection: Connection, scan_ids: Collection[str], next_height: int, next_hash: bytes, now: datetime
) -> None:
    """Move scans down; one that has read its last block is finished, and one of all addresses then adds to the coverage."""
    rows = await connection.fetch(_READ_DOWN_TO, list(scan_ids), next_height, next_hash, now)
    await _cover_outgoing(connection, rows)
    for row in rows:
        if row["finished_at"] is not None and row["account_id"] is None and not row["seeding"]:
            scan = to_scan(row)
            await cover_again(connection, scan.chain, scan.covers, scan.from_height, scan.through_height, now)


async def retract_scans(connection: Connection, chain: str, height: int, block_hash: bytes, now: datetime) -> None:
    """Move unfinished scans down to an ancestor: what comes above it is read by the follower."""
    await _cover_outgoing(connection, await connection.fetch(_RETRACT, chain, height, block_hash, now))


async def _cover_outgoing(connection: Connection, scans: Sequence[Record]) -> None:
    finished = [row["id"] for row in scans if row["seeding"] and row["finished_at"] is not None]
    if finished:
        await connection.execute(_OUTGOING, finished)


async def scanned_among(
    connection: Connection, chain: str, scan_ids: Collection[str], addresses: Collection[bytes]
) -> dict[bytes, ScannedWatch]:
    """Look up which of these addresses some scans look for."""
    found: dict[bytes, ScannedWatch] = {}
    for portion in chunks(addresses):
        rows = await connection.fetch(_SCANNED, chain, portion, list(scan_ids))
        found |= {row["address"]: ScannedWatch(to_watch(row), row["notify"], row["late"]) for row in rows}
    return found


class ScanStore:
    """Reads what is to be scanned next, outside of a commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unfinished(self, chain: str) -> tuple[str, ...]:
        """Return the ids of every unfinished scan."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select id from scans where chain = $1 and finished_at is null", chain)
        return tuple(str(row["id"]) for row in rows)

    async def next_window(self, chain: str, most: int, among: Collection[str] | None = None) -> ScanWindow | None:
        """Return what to read next, `most` blocks at most, for the highest scan (of `among`); None where none is unfinished.

        Every other scan that stands at the same height is in it too.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_WINDOW, chain, most, None if among is None else list(among))
        if not rows:
            return None
        top = rows[0]
        return ScanWindow(tuple(str(row["id"]) for row in rows), top["lowest"], top["next_height"], top["next_hash"])

    async def note_trouble(self, scan_ids: Collection[str], trouble: str | None) -> None:
        """Record what keeps scans from going on; None: nothing does."""
        async with self._database.connection() as connection:
            await connection.execute(_TROUBLE, [UUID(scan_id) for scan_id in scan_ids], trouble)


def to_scan(row: Record) -> Scan:
    """Read a scan from its row."""
    return Scan(
        id=str(row["id"]),
        chain=row["chain"],
        account_id=None if row["account_id"] is None else str(row["account_id"]),
        from_height=row["from_height"],
        through_height=row["through_height"],
        next_height=row["next_height"],
        notify=row["notify"],
        covers=frozenset(row["covers"]),
        trouble=row["trouble"],
        created_at=row["created_at"],
        advanced_at=row["advanced_at"],
        finished_at=row["finished_at"],
    )
