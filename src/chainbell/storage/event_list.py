"""The pull feed: events in commit order, after a position, for those who may see them."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, TypeAlias

from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.storage.accounts import Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.paging import MAX_LIMIT

_CURSOR = re.compile(r"(0|[1-9][0-9]{0,8}):(0|[1-9][0-9]{0,17})")

_END = "select generation, feed_position from installation"

# What was pruned ends below the smallest position kept; with nothing kept, at the end of the feed.
_START = "select coalesce((select min(position) from events) - 1, $1)"

# Where a generation ended for us: behind which position the next one of ours began; it must be one of ours.
_COMMON = """
select n.began_behind from generations g join generations n on n.generation > g.generation
where g.generation = $1 order by n.generation limit 1
"""

_BEGAN = "select began_behind from generations where generation = $1"

_ONE = """
select * from events where ($1::text is null or mode = $1) and ($2::uuid is null or account_id = $2) and id = $3
"""


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """How far somebody has read, in which generation of the database. Opaque to who holds it."""

    generation: int
    position: int

    def __str__(self) -> str:
        """Write it as it is handed out."""
        return base64.urlsafe_b64encode(f"{self.generation}:{self.position}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `__str__` wrote. Raises `InputError` for anything else."""
        try:
            found = _CURSOR.fullmatch(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode())
        except (binascii.Error, ValueError):
            found = None
        cursor = None if found is None else cls(int(found[1]), int(found[2]))
        if cursor is None or str(cursor) != text:
            message = "this is no cursor of the feed: pass one as it was handed out, or none to read from the beginning"
            raise InputError(message)
        return cursor


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the feed, with its body as it was rendered in its commit."""

    cursor: FeedCursor
    id: str
    type: str
    resource_id: str
    sequence: int
    mode: Mode
    chain: str
    account_id: str
    generation: int
    created_at: datetime
    body_v2: bytes


@dataclass(frozen=True, slots=True)
class FeedPage:
    """What stands in the feed after a cursor, in commit order."""

    events: Sequence[StoredEvent]
    next_cursor: FeedCursor
    """Where to read on: never before an event that this reader may see and has not been given."""
    has_more: bool
    """Whether more stood behind this page when it was read."""


@dataclass(frozen=True, slots=True)
class ForeignCursor:
    """The cursor is of another generation, or ahead of the feed: a backup was restored under its reader.

    From ``resume_from`` on this feed may tell what the reader has never seen; before it, it has told nothing else.
    """

    resume_from: FeedCursor


@dataclass(frozen=True, slots=True)
class PrunedAway:
    """What follows the cursor was pruned by the operator; ``resume_from`` is where the feed begins now."""

    resume_from: FeedCursor


FeedAnswer: TypeAlias = FeedPage | ForeignCursor | PrunedAway


@dataclass(frozen=True, slots=True)
class _Extent:
    generation: int
    start: int
    """Everything up to here was pruned."""
    end: int


class EventList:
    """Reads the feed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, cursor: FeedCursor | None, viewer: Viewer, limit: int) -> FeedAnswer:
        """Return what follows a cursor; without one, from the oldest event that is kept.

        Raises `InputError` for a limit out of range.
        """
        if not 1 <= limit <= MAX_LIMIT:
            message = f"limit must be from 1 to {MAX_LIMIT}, not {limit}"
            raise InputError(message)
        async with self._database.connection() as connection:
            extent = await _extent(connection)
            if cursor is not None and (cursor.generation != extent.generation or cursor.position > extent.end):
                return ForeignCursor(await _common(connection, cursor, extent))
            position = extent.start if cursor is None else cursor.position
            if position < extent.start:
                return PrunedAway(FeedCursor(extent.generation, extent.start))
            return await _page(connection, viewer, position, extent, limit)

    async def get(self, id_: str, viewer: Viewer) -> StoredEvent:
        """Return one event. Raises `NotFoundError`, also for one that the viewer may not see."""
        async with self._database.connection() as connection:
            generation = await connection.fetchval("select generation from installation")
            row = await connection.fetchrow(_ONE, *viewer.parameters, id_)
        if row is None:
            message = f"there is no event {id_}"
            raise NotFoundError(message)
        return _to_event(row, generation)

    async def end(self) -> FeedCursor:
        """Return the cursor behind the newest event."""
        async with self._database.connection() as connection:
            extent = await _extent(connection)
        return FeedCursor(extent.generation, extent.end)


async def _extent(connection: Connection) -> _Extent:
    row = await connection.fetchrow(_END)
    if row is None:
        message = "the table installation is empty"
        raise AssertionError(message)
    start = await connection.fetchval(_START, row["feed_position"])
    return _Extent(row["generation"], start, row["feed_position"])


def reading(viewer: Viewer, after: int, end: int, count: int) -> tuple[str, Sequence[object]]:
    """Return the SQL and the arguments that read what a viewer may see of a stretch of the feed, by an index of its own."""
    conditions = Conditions()
    mode, account_id = viewer.parameters
    conditions.equal("mode", mode)
    conditions.equal("account_id", account_id)
    conditions.behind("position", after)
    conditions.up_to("position", end)
    sql = f"select * from events where {conditions} order by position limit {conditions.place(count)}"  # noqa: S608 - literals
    return sql, conditions.arguments


async def _page(connection: Connection, viewer: Viewer, position: int, extent: _Extent, limit: int) -> FeedPage:
    # The end was read by an earlier statement. Positions are given out under the feed lock, which is held until the
    # commit, and the end is written with them: so when we see it, every position up to it is committed, and a plain
    # select can skip none. What was committed since then is above the end, and is left to the next page.
    sql, arguments = reading(viewer, position, extent.end, limit + 1)
    rows = await connection.fetch(sql, *arguments)
    events = [_to_event(row, extent.generation) for row in rows[:limit]]
    has_more = len(rows) > limit
    reached = events[-1].cursor if has_more else FeedCursor(extent.generation, extent.end)
    return FeedPage(events, reached, has_more)


async def _common(connection: Connection, cursor: FeedCursor, extent: _Extent) -> FeedCursor:
    """Return the last position up to which the reader's feed and ours are surely the same.

    Each restore raises the generation. A reader of an earlier one of ours shares with us what was written until the next
    one began. One that is ahead of us in our own generation comes from a feed that we lost, and left ours somewhere after
    this generation began. A generation that is not ours began nobody knows where, in a restore that was itself lost.
    Reading again is harmless, ids are equal.
    """
    sql = _BEGAN if cursor.generation == extent.generation else _COMMON
    shared = await connection.fetchval(sql, cursor.generation) or 0
    return FeedCursor(extent.generation, max(min(shared, cursor.position), extent.start))


def _to_event(row: Record, generation: int) -> StoredEvent:
    return StoredEvent(
        cursor=FeedCursor(generation, row["position"]),
        id=row["id"],
        type=row["type"],
        resource_id=row["resource_id"],
        sequence=row["sequence"],
        mode=Mode(row["mode"]),
        chain=row["chain"],
        account_id=str(row["account_id"]),
        generation=row["generation"],
        created_at=row["created_at"],
        body_v2=row["body_v2"],
    )
