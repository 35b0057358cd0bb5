"""``/v2/deliveries``: what was sent to whom, and sending it again."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.resource_ids import require_id
from chainbell.api.services import Services
from chainbell.api.views.delivery import DeliveryDetailView, DeliveryView, ReplayView
from chainbell.api.views.wire import Items
from chainbell.api.writing import Writing
from chainbell.domain.delivery import DeliveryStatus
from chainbell.storage.database import Connection
from chainbell.storage.delivery_log import DeliveryFilter

router = APIRouter(prefix="/deliveries", tags=["deliveries"])

DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class DeliveryQuery(PageQuery):
    """Which deliveries to list."""

    endpoint_id: UUID | None = None
    event_id: str | None = None
    status: DeliveryStatus | None = None


@router.get("", response_model=Items[DeliveryView], responses=problems(HTTPStatus.NOT_FOUND))
async def list_deliveries(query: Annotated[DeliveryQuery, Query()], services: Services, caller: Reader) -> Response:
    """List deliveries, newest first. A key of one account sees those to its own endpoints."""
    wanted = DeliveryFilter(
        endpoint_id=None if query.endpoint_id is None else str(query.endpoint_id),
        event_id=None if query.event_id is None else require_id(query.event_id, "event"),
        status=query.status,
    )
    page = await services.deliveries.list(wanted, query.page, caller.viewer)
    items = [DeliveryView.of(delivery) for delivery in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/{delivery_id}", response_model=DeliveryDetailView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_delivery(
    delivery_id: DeliveryId, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Show one delivery with its attempts, oldest first."""
    delivery, attempts = await services.deliveries.get(delivery_id, caller.viewer)
    shown = DeliveryDetailView.with_attempts(delivery, attempts)
    return Response(shown.to_json(), media_type="application/json")


@router.post(
    "/{delivery_id}/replay",
    status_code=HTTPStatus.ACCEPTED,
    response_model=ReplayView,
    responses=problems(HTTPStatus.NOT_FOUND),
)
async def replay_delivery(
    delivery_id: DeliveryId, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Send a delivery again, whatever its state: the same id and bytes, on a fresh schedule."""

    async def replay(connection: Connection) -> bytes:
        replayed = await services.replays.delivery_in(connection, delivery_id, write.now, write.caller.viewer)
        return ReplayView(delivery_id=replayed.delivery_id).to_json()

    return await write.once(HTTPStatus.ACCEPTED, replay)
