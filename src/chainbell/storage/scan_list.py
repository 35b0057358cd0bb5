"""Scans as somebody looks at them: listed, one, those of addresses, what is unfinished; and scans that are asked for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.domain.history import History, Scan
from chainbell.domain.watch import Watch
from chainbell.storage.accounts import Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database
from chainbell.storage.locks import lock_chain_shared
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.scans import open_scan, to_scan
from chainbell.storage.watches import covered_from, require_watch

_OF_ADDRESSES = """
select m.address_id, s.* from scan_addresses m join scans s on s.id = m.scan_id where m.address_id = any($1::uuid[])
    and not s.seeding
order by s.created_at, s.id
"""

_ONE = """
select s.* from scans s join chains c on c.name = s.chain
where s.id = $1 and not s.seeding and ($2::text is null or c.mode = $2) and ($3::uuid is null or s.account_id = $3)
"""

# Its own, and those of all addresses that were there when they were asked for.
_READING = """
select s.* from scan_addresses m join scans s on s.id = m.scan_id where m.address_id = $1 and not s.seeding
union all
select s.* from scans s where s.chain = $2 and s.account_id is null and not s.seeding and s.created_at >= $3
order by created_at, id
"""

_WHOLE = (
    "select * from scans where chain = any($1::text[]) and account_id is null and not seeding and finished_at is null "
    "order by created_at"
)

_UNFINISHED = """
select chain, count(*) as scans, max(next_height) as next_height, min(from_height) as from_height,
    array_agg(distinct trouble) filter (where trouble is not null) as troubles
from scans where chain = any($1::text[]) and finished_at is null and not seeding group by chain order by chain
"""


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """Which scans to list; None stands for all."""

    chain: str | None = None
    account_id: str | None = None
    mode: Mode | None = None
    unfinished: bool = False
    """Only those that go on."""


@dataclass(frozen=True, slots=True)
class Only:
    """The one watched address that a scan is for."""

    address: bytes
    account_id: str | None = None
    """Whose it must be; None: anybody's."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What of a chain's past is still to be read."""

    chain: str
    scans: int
    next_height: int
    """Highest block that one of them reads next."""
    from_height: int
    """Lowest block that one of them reads."""
    troubles: tuple[str, ...]


def listing(wanted: ScanFilter, request: PageRequest) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments of a page; each chain gives a page at most, which an index finds."""
    conditions, chains = Conditions(), Conditions()
    chains.arguments = conditions.arguments
    chains.equal("c.mode", wanted.mode and wanted.mode.value)
    chains.equal("c.name", wanted.chain)
    conditions.equal("s.account_id", wanted.account_id and UUID(wanted.account_id))
    conditions.before("s.created_at, s.id", *request.after_key(UUID))
    state = "s.finished_at is null" if wanted.unfinished else "true"
    order = f"order by s.created_at desc, s.id desc limit {conditions.place(request.limit + 1)}"
    sql = f"""
        select s.* from chains c cross join lateral (
            select * from scans s where s.chain = c.name and not s.seeding and {state} and {conditions} {order}
        ) s where {chains} {order}
    """  # noqa: S608 - made of literals and placeholders
    return sql, conditions.arguments


class ScanList:
    """Reads scans, whatever their state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: ScanFilter, request: PageRequest) -> Page[Scan]:
        """Return a page of scans, newest first."""
        sql, arguments = listing(wanted, request)
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *arguments)
        return to_page([to_scan(row) for row in rows], request, lambda scan: (scan.created_at, scan.id))

    async def get(self, scan_id: str, viewer: Viewer) -> Scan:
        """Return one scan that somebody may see. Raises `NotFoundError`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ONE, UUID(scan_id), *viewer.parameters)
        if row is None:
            message = "there is no scan of this id: list them to see which there are"
            raise NotFoundError(message)
        return to_scan(row)

    async def of_watches(self, watches: Collection[Watch]) -> Mapping[str, Scan]:
        """Return the latest scan of each of these watches alone, by the watch's id."""
        async with self._database.connection() as connection:
            return await scans_of(connection, watches)

    async def reading(self, watch: Watch) -> Sequence[Scan]:
        """Return every scan that looks, or has looked, for one address, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_READING, UUID(watch.id), watch.chain, watch.created_at)
        return [to_scan(row) for row in rows]

    async def whole(self, chains: Collection[str]) -> Sequence[Scan]:
        """Return the unfinished scans of all addresses of these chains, oldest first."""
        async with self._database.connection() as connection:
            return [to_scan(row) for row in await connection.fetch(_WHOLE, list(chains))]

    async def unfinished(self, chains: Collection[str]) -> Sequence[Unfinished]:
        """Return what is still to be read of each of these chains; those without a scan are left out."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_UNFINISHED, list(chains))
        return [
            Unfinished(row["chain"], row["scans"], row["next_height"], row["from_height"], tuple(row["troubles"] or ()))
            for row in rows
        ]

    async def start(self, chain: str, history: History, now: datetime, only: Only | None = None) -> Scan:
        """Begin a scan of a chain. Raises as `start_scan`."""
        async with self._database.transaction() as connection:
            return await start_scan(connection, chain, history, now, only)


async def scans_of(connection: Connection, watches: Collection[Watch]) -> Mapping[str, Scan]:
    """Return the latest scan of each of these watches alone, by the watch's id."""
    rows = await connection.fetch(_OF_ADDRESSES, [UUID(watch.id) for watch in watches])
    return {str(row["address_id"]): to_scan(row) for row in rows}


async def start_scan(connection: Connection, chain: str, history: History, now: datetime, only: Only | None = None) -> Scan:
    """Begin a scan of all addresses that are watched on a chain, or of one of them, inside an open transaction.

    Raises `UnavailableError` while the chain has no cursor, `NotFoundError` for an address that is not watched, and
    `InputError` for a height above the cursor.
    """
    await lock_chain_shared(connection, chain)
    next_height, _ = await covered_from(connection, chain)
    if only is None:
        scan = await open_scan(connection, chain, None, (), history, now)
    else:
        watch = await require_watch(connection, chain, only.address, only.account_id)
        scan = await open_scan(connection, chain, watch.account_id, [watch.id], history, now)
    if scan is None:
        message = (
            f"block {history.from_height} of {chain} is not read yet, so there is nothing to look back to: give a height "
            f"below {next_height}"
        )
        raise InputError(message)
    return scan
