"""``/v2/endpoints``: who receives webhooks."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.chain_names import named_chains
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.services import Services
from chainbell.api.views.endpoint import EndpointView, NewEndpointView
from chainbell.api.views.wire import Items, Wire
from chainbell.api.writing import Writing
from chainbell.domain.delivery import WebhookVersion
from chainbell.storage.database import Connection
from chainbell.storage.endpoints import EndpointChange, NewEndpoint

router = APIRouter(prefix="/endpoints", tags=["endpoints"])

_MOST = 100
Url = Annotated[str, Field(max_length=2048, examples=["https://example.com/webhooks"])]
Events = Annotated[
    list[Annotated[str, Field(max_length=100)]],
    Field(max_length=_MOST, examples=[["transaction.deposit.*", "transaction.transfer.success"]]),
]
Chains = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST, examples=[["ethereum"]])]
Accounts = Annotated[list[UUID], Field(max_length=_MOST)]


class NewEndpointRequest(Wire):
    """A receiver of webhooks. Its mode is that of the API key, and never changes. Empty filters stand for all."""

    url: Url
    version: Literal[1, 2] = 2
    events: Events = Field(default_factory=list)
    """Event types; a last segment ``*`` stands for all that begin so."""
    chains: Chains = Field(default_factory=list)
    accounts: Accounts = Field(default_factory=list)


class EndpointChangeRequest(Wire):
    """What to change; what is absent or null stays as it is."""

    url: Url | None = None
    events: Events | None = None
    chains: Chains | None = None
    accounts: Accounts | None = None
    enabled: bool | None = None
    """One that is enabled again gets everything it missed meanwhile."""


@router.post("", status_code=HTTPStatus.CREATED, response_model=NewEndpointView, responses=problems())
async def add_endpoint(
    body: NewEndpointRequest, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Register an endpoint. The answer shows its signing secret, this once; it gets every event from now on."""
    caller = write.caller
    wanted = NewEndpoint(
        url=body.url,
        mode=caller.mode,
        version=WebhookVersion(body.version),
        events=body.events,
        chains=named_chains(services.chains, body.chains, caller.mode),
        accounts=_texts(body.accounts),
        account_id=caller.account_id,
    )

    async def add(connection: Connection) -> bytes:
        endpoint, secret = await services.endpoints.create_in(connection, wanted, write.now)
        return NewEndpointView.of(endpoint, secret=secret).to_json()

    return await write.once(HTTPStatus.CREATED, add, secret=True)


@router.get("", response_model=Items[EndpointView], responses=problems())
async def list_endpoints(query: Annotated[PageQuery, Query()], services: Services, caller: Reader) -> Response:
    """List endpoints, newest first."""
    page = await services.endpoints.list(query.page, caller.viewer)
    items = [EndpointView.of(endpoint) for endpoint in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/{endpoint_id}", response_model=EndpointView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_endpoint(
    endpoint_id: UUID, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Show one endpoint."""
    endpoint = await services.endpoints.get(str(endpoint_id), caller.viewer)
    return Response(EndpointView.of(endpoint).to_json(), media_type="application/json")


@router.patch("/{endpoint_id}", response_model=EndpointView, responses=problems(HTTPStatus.NOT_FOUND))
async def change_endpoint(
    endpoint_id: UUID,
    body: EndpointChangeRequest,
    services: Services,
    write: Writing,
    _query: Annotated[NoQuery, Query()],
) -> Response:
    """Change an endpoint's URL or filters, disable or enable it. Version and mode never change."""
    change = EndpointChange(
        url=body.url,
        events=body.events,
        chains=None if body.chains is None else named_chains(services.chains, body.chains, write.caller.mode),
        accounts=None if body.accounts is None else _texts(body.accounts),
        enabled=body.enabled,
    )

    async def apply(connection: Connection) -> bytes:
        endpoint = await services.endpoints.update_in(connection, str(endpoint_id), change, write.now, write.caller.viewer)
        return EndpointView.of(endpoint).to_json()

    return await write.once(HTTPStatus.OK, apply)


@router.delete(
    "/{endpoint_id}", status_code=HTTPStatus.NO_CONTENT, response_model=None, responses=problems(HTTPStatus.NOT_FOUND)
)
async def remove_endpoint(
    endpoint_id: UUID, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Delete an endpoint: it gets nothing more, also not what is still waiting for it."""

    async def remove(connection: Connection) -> bytes:
        await services.endpoints.delete_in(connection, str(endpoint_id), write.now, write.caller.viewer)
        return b""

    return await write.once(HTTPStatus.NO_CONTENT, remove)


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(id_) for id_ in ids]
