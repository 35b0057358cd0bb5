"""``/v2/replays``: sending much again to one endpoint, and how far that is."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.services import Services
from chainbell.api.times import NamedTime
from chainbell.api.views.replay import ReplayJobView
from chainbell.api.views.wire import Items, Wire
from chainbell.api.writing import Writing
from chainbell.storage.database import Connection
from chainbell.storage.event_list import FeedCursor
from chainbell.storage.replays import NewReplay, ReplayKind

router = APIRouter(tags=["replays"])

_LOCATION: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {
        "headers": {"Location": {"description": "Where its progress is shown.", "schema": {"type": "string"}}}
    }
}


class NewReplayRequest(Wire):
    """What to send again: only events that fit every bound that is given, of those that are told by now."""

    what: ReplayKind
    """``failed``: every delivery that is exhausted. ``missing``: every event that the endpoint's filter takes and that it
    has no delivery of. ``range``: everything that it was sent, whatever became of that, and what is missing."""
    since: NamedTime | None = None
    """Only events committed at this time or later. ``missing`` and ``range`` need this, or ``after``."""
    until: NamedTime | None = None
    """Only events committed before this time."""
    after: str | None = None
    """Only events behind this cursor of the feed."""
    through: str | None = None
    """Only events up to this cursor of the feed, and with it."""


class ReplayQuery(PageQuery):
    """Which replays to list."""

    endpoint_id: UUID | None = None


@router.post(
    "/endpoints/{endpoint_id}/replays",
    status_code=HTTPStatus.ACCEPTED,
    response_model=ReplayJobView,
    responses=problems(HTTPStatus.NOT_FOUND) | _LOCATION,
)
async def add_replay(
    request: Request,
    endpoint_id: UUID,
    body: NewReplayRequest,
    services: Services,
    write: Writing,
    _query: Annotated[NoQuery, Query()],
) -> Response:
    """Send much again to one endpoint: the same ids and bytes, each on a fresh schedule.

    The answer comes at once; deliverers then work it off, oldest event first. Nothing is refused as a duplicate.
    """
    wanted = NewReplay(
        endpoint_id=str(endpoint_id),
        what=body.what,
        since=body.since,
        until=body.until,
        after=None if body.after is None else FeedCursor.parse(body.after),
        through=None if body.through is None else FeedCursor.parse(body.through),
    )

    async def add(connection: Connection) -> bytes:
        made = await services.replay_jobs.create_in(connection, wanted, write.now, write.caller.viewer)
        return ReplayJobView.of(made).to_json()

    answer = await write.once(HTTPStatus.ACCEPTED, add)
    made_before = orjson.loads(answer.body)["id"]
    answer.headers["Location"] = str(request.app.url_path_for("get_replay", replay_id=made_before))
    return answer


@router.get("/replays", response_model=Items[ReplayJobView], responses=problems(HTTPStatus.NOT_FOUND))
async def list_replays(query: Annotated[ReplayQuery, Query()], services: Services, caller: Reader) -> Response:
    """List replays, newest first, with their progress."""
    endpoint_id = None if query.endpoint_id is None else str(query.endpoint_id)
    page = await services.replay_jobs.list(endpoint_id, query.page, caller.viewer)
    items = [ReplayJobView.of(replay) for replay in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/replays/{replay_id}", response_model=ReplayJobView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_replay(replay_id: UUID, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show how far a replay is."""
    replay = await services.replay_jobs.get(str(replay_id), caller.viewer)
    return Response(ReplayJobView.of(replay).to_json(), media_type="application/json")
