"""Replays of many deliveries: jobs that wait in a table until `storage/replay_steps.py` has worked them off."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chainbell.domain.errors import InputError, NotFoundError
from chainbell.events.v2 import wire_time
from chainbell.storage.accounts import OPERATOR, Viewer
from chainbell.storage.conditions import Conditions
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.endpoints import no_endpoint
from chainbell.storage.event_list import FeedCursor
from chainbell.storage.paging import Page, PageRequest, to_page

_FEED = "select generation, feed_position from installation"

_INSERT = """
insert into replays (endpoint_id, what, since, until, after_position, reached_position, through_position, total,
                     created_at, advanced_at)
values ($1, $2, $3, $4, $5, $5, $6, $7, $8, $8) returning *
"""


class ReplayKind(StrEnum):
    """What is sent again."""

    FAILED = "failed"
    """Every delivery that was exhausted at the moment of asking."""
    MISSING = "missing"
    """Every event that the endpoint's filter takes and that it has no delivery of."""
    RANGE = "range"
    """Every event that it has a delivery of, whatever became of that, and every missing one."""


@dataclass(frozen=True, slots=True)
class NewReplay:
    """What to send again to one endpoint. Only events that fit every bound that is given, and that are told by now."""

    endpoint_id: str
    what: ReplayKind
    since: datetime | None = None
    """Committed at this time or later."""
    until: datetime | None = None
    """Committed before this time."""
    after: FeedCursor | None = None
    """Behind this cursor of the feed."""
    through: FeedCursor | None = None
    """Up to this cursor of the feed, and with it."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A job, and how far it is."""

    id: str
    endpoint_id: str
    what: ReplayKind
    since: datetime | None
    until: datetime | None
    total: int
    """What it has to look at: exhausted deliveries for `FAILED`, else events of the endpoint's mode. An estimate, for
    others replay and prune meanwhile."""
    checked: int
    """How many of them it has looked at."""
    queued: int
    """Deliveries that it queued."""
    stopped_reason: str | None
    """Why it ended before it had looked at everything; None: it did not."""
    created_at: datetime
    advanced_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A stretch of the feed, and how much there is to look at in it."""

    after: int
    through: int
    total: int


class ReplayJobs:
    """Makes replays, and tells how far they are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, wanted: NewReplay, now: datetime, viewer: Viewer = OPERATOR) -> Replay:
        """Ask for a replay; `storage/replay_steps.py` works it off.

        Raises `NotFoundError` for an endpoint that is not there, and `InputError` for bounds that cannot be.
        """
        async with self._database.transaction() as connection:
            return await self.create_in(connection, wanted, now, viewer)

    async def create_in(self, connection: Connection, wanted: NewReplay, now: datetime, viewer: Viewer) -> Replay:
        """Ask for a replay inside an open transaction. Raises as `create`."""
        endpoint = await _endpoint(connection, wanted.endpoint_id, viewer)
        _check_bounds(wanted)
        asked = await _asked_stretch(connection, wanted)
        bounds = await _survey(connection, wanted, endpoint, asked, now)
        row = await connection.fetchrow(
            _INSERT,
            endpoint["id"],
            wanted.what.value,
            wanted.since,
            wanted.until,
            bounds.after,
            bounds.through,
            bounds.total,
            now,
        )
        if row is None:
            message = "insert returned no row"
            raise AssertionError(message)
        return to_replay(row)

    async def get(self, replay_id: str, viewer: Viewer = OPERATOR) -> Replay:
        """Return one replay. Raises `NotFoundError`, also for one that the viewer may not see."""
        conditions = _visible(viewer)
        conditions.equal("r.id", _parse(replay_id))
        sql = f"select r.* from replays r join endpoints p on p.id = r.endpoint_id where {conditions}"  # noqa: S608 - literals
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql, *conditions.arguments)
        if row is None:
            raise _no_replay(replay_id)
        return to_replay(row)

    async def list(self, endpoint_id: str | None, request: PageRequest, viewer: Viewer = OPERATOR) -> Page[Replay]:
        """Return a page of replays, newest first; those of one endpoint, or None for all.

        Raises `NotFoundError` for an endpoint id that is none.
        """
        conditions = _visible(viewer)
        conditions.equal("r.endpoint_id", None if endpoint_id is None else _parse_endpoint(endpoint_id))
        conditions.before("r.created_at, r.id", *request.after_key(UUID))
        sql = f"""
            select r.* from replays r join endpoints p on p.id = r.endpoint_id where {conditions}
            order by r.created_at desc, r.id desc limit {conditions.place(request.limit + 1)}
        """  # noqa: S608 - literals and placeholders
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, *conditions.arguments)
        return to_page([to_replay(row) for row in rows], request, lambda replay: (replay.created_at, replay.id))


def to_replay(row: Record) -> Replay:
    """Read a replay from its row."""
    return Replay(
        id=str(row["id"]),
        endpoint_id=str(row["endpoint_id"]),
        what=ReplayKind(row["what"]),
        since=row["since"],
        until=row["until"],
        total=row["total"],
        checked=row["checked"],
        queued=row["queued"],
        stopped_reason=row["stopped_reason"],
        created_at=row["created_at"],
        advanced_at=row["advanced_at"],
        finished_at=row["finished_at"],
    )


def _visible(viewer: Viewer) -> Conditions:
    """A replay is seen by whoever sees its endpoint, also when that was deleted."""
    mode, account_id = viewer.parameters
    conditions = Conditions()
    conditions.equal("p.mode", mode)
    conditions.equal("p.account_id", account_id)
    return conditions


async def _endpoint(connection: Connection, endpoint_id: str, viewer: Viewer) -> Record:
    conditions = _visible(viewer)
    conditions.equal("p.id", _parse_endpoint(endpoint_id))
    sql = f"select p.id, p.mode from endpoints p where {conditions} and p.deleted_at is null"  # noqa: S608 - literals
    row = await connection.fetchrow(sql, *conditions.arguments)
    if row is None:
        raise no_endpoint(endpoint_id)
    return row


def _check_bounds(wanted: NewReplay) -> None:
    if wanted.what is not ReplayKind.FAILED and wanted.since is None and wanted.after is None:
        message = (
            f"a replay of kind {wanted.what.value} needs a beginning: give since, a time, or after, a cursor of the feed"
        )
        raise InputError(message)
    if wanted.since is not None and wanted.until is not None and wanted.until <= wanted.since:
        message = f"until ({wire_time(wanted.until)}) must be later than since ({wire_time(wanted.since)}): swap them"
        raise InputError(message)


async def _asked_stretch(connection: Connection, wanted: NewReplay) -> tuple[int, int]:
    """Return the positions between the cursors that were given.

    Positions are written in the commits that give them out, under the feed lock. So every event up to the end that we see
    here is committed with its deliveries, and whatever comes later is fanned out by its own commit.
    """
    row = await connection.fetchrow(_FEED)
    if row is None:
        message = "the table installation is empty"
        raise AssertionError(message)
    for cursor in (wanted.after, wanted.through):
        if cursor is not None and (cursor.generation != row["generation"] or cursor.position > row["feed_position"]):
            message = "this cursor is of another generation of the database, or ahead of the feed: give a time instead"
            raise InputError(message)
    after = 0 if wanted.after is None else wanted.after.position
    through = row["feed_position"] if wanted.through is None else wanted.through.position
    if through < after:
        message = "the cursor through stands before the cursor after: swap them"
        raise InputError(message)
    return after, through


async def _survey(
    connection: Connection, wanted: NewReplay, endpoint: Record, asked: tuple[int, int], now: datetime
) -> _Bounds:
    """Find the first and the last position that there is something to look at, and count."""
    conditions = Conditions()
    position, source = "v.position", "events v"
    if wanted.what is ReplayKind.FAILED:
        position, source = "d.event_position", "deliveries d"
        exhausted(conditions, endpoint["id"], now)
    if wanted.what is not ReplayKind.FAILED:
        conditions.equal("v.mode", endpoint["mode"])
    elif wanted.since is not None or wanted.until is not None:
        source = "deliveries d join events v on v.position = d.event_position"
    conditions.at_least("v.created_at", wanted.since)
    conditions.before("v.created_at", wanted.until)
    conditions.behind(position, asked[0])
    conditions.up_to(position, asked[1])
    sql = f"select min({position}), max({position}), count(*) from {source} where {conditions}"  # noqa: S608 - the same
    row = await connection.fetchrow(sql, *conditions.arguments)
    if row is None or row["min"] is None:
        return _Bounds(asked[0], asked[0], 0)
    return _Bounds(row["min"] - 1, row["max"], row["count"])


def exhausted(conditions: Conditions, endpoint_id: UUID, before: datetime) -> None:
    """Demand deliveries `d` of an endpoint that were exhausted by a moment, in words that their index is found by."""
    conditions.equal("d.endpoint_id", endpoint_id)
    conditions.demand("d.status = 'exhausted'")
    conditions.up_to("d.exhausted_at", before)


def _no_replay(replay_id: str) -> NotFoundError:
    return NotFoundError(f"there is no replay {replay_id}: `chainbell replays` lists them")


def _parse(replay_id: str) -> UUID:
    try:
        return UUID(replay_id)
    except ValueError:
        raise _no_replay(replay_id) from None


def _parse_endpoint(endpoint_id: str) -> UUID:
    try:
        return UUID(endpoint_id)
    except ValueError:
        raise no_endpoint(endpoint_id) from None
