"""``/v2/events``: the pull feed, everything that an endpoint could have missed, in commit order."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.documents import problems
from chainbell.api.paging import Limit, NoQuery
from chainbell.api.problems import problem
from chainbell.api.resource_ids import require_id
from chainbell.api.services import Services
from chainbell.api.views.event import EventView, FeedView, event_json, feed_json
from chainbell.api.views.wire import Wire
from chainbell.storage.event_list import FeedCursor, FeedPage, ForeignCursor, PrunedAway
from chainbell.storage.paging import DEFAULT_LIMIT

router = APIRouter(prefix="/events", tags=["events"])


class FeedQuery(Wire):
    """Where to read on."""

    after: str | None = None
    """``nextCursor`` of the page before, or the ``cursor`` of an event; absent: from the oldest event that is kept."""
    limit: Limit = DEFAULT_LIMIT


@router.get("", response_model=FeedView, responses=problems(HTTPStatus.CONFLICT, HTTPStatus.GONE))
async def read_feed(request: Request, query: Annotated[FeedQuery, Query()], services: Services, caller: Reader) -> Response:
    """Read the feed after a cursor, in commit order; no event that was committed is ever skipped.

    Always pass ``nextCursor`` on, also that of an empty page. 409: the database was restored under this cursor, and 410:
    what follows it was pruned; both name in ``resumeFrom`` the cursor to go on from. Events may then come again, under
    the same ids.
    """
    after = None if query.after is None else FeedCursor.parse(query.after)
    match await services.events.after(after, caller.viewer, query.limit):
        case FeedPage() as page:
            return Response(feed_json(page), media_type="application/json")
        case ForeignCursor(resume_from):
            detail = (
                "this cursor is of another generation of the database, or ahead of the feed: a backup was restored. Go on "
                "from resumeFrom, and expect events that you know: their ids are the same"
            )
            return problem(request, HTTPStatus.CONFLICT, detail, more={"resumeFrom": str(resume_from)})
        case PrunedAway(resume_from):
            detail = (
                "events after this cursor were pruned by the operator and cannot be read any more: compare what you have "
                "with GET /v2/transactions, and go on from resumeFrom"
            )
            return problem(request, HTTPStatus.GONE, detail, more={"resumeFrom": str(resume_from)})


@router.get("/{event_id}", response_model=EventView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_event(event_id: str, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show one event."""
    event = await services.events.get(require_id(event_id, "event"), caller.viewer)
    return Response(event_json(event), media_type="application/json")
