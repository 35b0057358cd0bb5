"""``/v2/scans``: blocks of the past that are read for addresses, and how far that is."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chainbell.api.access import Caller, Reader
from chainbell.api.chain_names import named_chain
from chainbell.api.documents import problems
from chainbell.api.history import FromHeight, Notify, asked_history
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.services import Services
from chainbell.api.views.scan import ScanView
from chainbell.api.views.wire import Items, Wire
from chainbell.api.writing import Writing
from chainbell.domain.address import parse_address
from chainbell.domain.errors import InputError
from chainbell.domain.history import Scan
from chainbell.storage.database import Connection
from chainbell.storage.scan_list import Only, ScanFilter, start_scan

router = APIRouter(prefix="/scans", tags=["scans"])


class NewScan(Wire):
    """Blocks to read again, for every address that is watched on their chain by now, or for one of them."""

    chain: Annotated[str, Field(max_length=64, examples=["ethereum"])]
    """Name of the chain's definition, or its name on the wire."""
    address: Annotated[str, Field(max_length=128, examples=["0x52908400098527886E0F7030069857D2E4169EE7"])] | None = None
    """A watched address that alone is looked for; absent: all that are watched on the chain."""
    from_height: FromHeight | None = None
    """The last block to read; it begins at the cursor."""
    notify: Notify | None = None
    """Whether endpoints are told of what it finds; it is on the feed in any case."""


class ScanQuery(PageQuery):
    """Which scans to list."""

    chain: str | None = None
    unfinished: bool = False
    """Only those that go on."""


@router.post("", status_code=HTTPStatus.CREATED, response_model=ScanView, responses=problems(HTTPStatus.NOT_FOUND))
async def add_scan(body: NewScan, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]) -> Response:
    """Read a chain's past again, for all of its addresses or for one: only what nobody has told yet is told.

    A key of one account gives ``address``, one of its own; only a key of every account reads for all.
    """
    if write.caller.account_id is not None and body.address is None:
        detail = "a scan of a whole chain is for API keys of every account: use one, or give address, one of your own"
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)
    chain = named_chain(services.chains, body.chain, write.caller.mode)
    history = asked_history(body.from_height, body.notify)
    if history is None:
        message = "fromHeight and notify are missing: say down to which block it reads, and whether endpoints are told"
        raise InputError(message)
    only = None if body.address is None else Only(parse_address(chain.addresses, body.address), write.caller.account_id)

    async def start(connection: Connection) -> bytes:
        return _view(await start_scan(connection, chain.name, history, write.now, only), write.caller).to_json()

    return await write.once(HTTPStatus.CREATED, start)


@router.get("", response_model=Items[ScanView], responses=problems())
async def list_scans(query: Annotated[ScanQuery, Query()], services: Services, caller: Reader) -> Response:
    """List scans, newest first, with their progress. A key of one account sees those of its addresses."""
    chain = None if query.chain is None else named_chain(services.chains, query.chain, caller.mode).name
    wanted = ScanFilter(chain, caller.account_id, caller.mode, query.unfinished)
    page = await services.scans.list(wanted, query.page)
    items = [_view(scan, caller) for scan in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/{scan_id}", response_model=ScanView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_scan(scan_id: UUID, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show how far a scan is."""
    scan = await services.scans.get(str(scan_id), caller.viewer)
    return Response(_view(scan, caller).to_json(), media_type="application/json")


def _view(scan: Scan, caller: Caller) -> ScanView:
    return ScanView.of(scan, inner_life=caller.account_id is None)
