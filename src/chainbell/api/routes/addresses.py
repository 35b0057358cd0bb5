"""``/v2/addresses``: which addresses are watched."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from chainbell.api.access import Caller, Reader
from chainbell.api.chain_names import chain_in_path, named_chain
from chainbell.api.documents import problems
from chainbell.api.history import FromHeight, Notify, asked_history
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.services import ApiServices, Services
from chainbell.api.views.address import AddressView
from chainbell.api.views.scan import ScanView
from chainbell.api.views.wire import Items, Wire
from chainbell.api.writing import Writing
from chainbell.domain.address import parse_address
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.domain.history import Scan
from chainbell.domain.watch import Purpose, Watch, check_purpose
from chainbell.storage.database import Connection
from chainbell.storage.key_addresses import NextAddress, hand_out
from chainbell.storage.paging import Page
from chainbell.storage.scan_list import scans_of
from chainbell.storage.watches import NewWatch, WatchFilter, add_watch, remove_watch

router = APIRouter(prefix="/addresses", tags=["addresses"])


class NewAddress(Wire):
    """An address to watch from now on, for every listed asset of its chain: one that is named, or the next of a key."""

    chain: Annotated[str, Field(max_length=64, examples=["ethereum"])]
    """Name of the chain's definition, or its name on the wire."""
    address: Annotated[str, Field(max_length=128, examples=["0x52908400098527886E0F7030069857D2E4169EE7"])] | None = None
    """Absent: the next address of a key is derived, which nobody was given before."""
    key_id: UUID | None = None
    """Which key it is derived of; absent: the only one that the account has on the chain. Not beside ``address``."""
    purpose: Purpose = Purpose.DEPOSIT
    """``change``: what its own account pays to it is no deposit. Of a key, the next of the branch for that."""
    label: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    account_id: UUID | None = None
    """Absent: the API key's account, else the default account of the chain's mode."""
    customer_id: UUID | None = None
    from_height: FromHeight | None = None
    """Read its past too, from this block on; needs ``notify``. Above the cursor there is nothing to read."""
    notify: Notify | None = None
    """Whether endpoints are told of what is found in its past; it is on the feed in any case. Needs ``fromHeight``."""


class AddressQuery(PageQuery):
    """Which addresses to list."""

    chain: str | None = None
    account_id: UUID | None = None
    key_id: UUID | None = None
    """Only addresses of this extended key."""


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=AddressView,
    responses=problems(HTTPStatus.CONFLICT),
)
async def add_address(body: NewAddress, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]) -> Response:
    """Watch an address. Once this returned 201, no block from ``watchedFrom`` on can miss it, whatever crashes."""
    chain = named_chain(services.chains, body.chain, write.caller.mode)
    wanted = _wanted(body, chain, write.caller)

    async def add(connection: Connection) -> bytes:
        if isinstance(wanted, NextAddress):
            watch = await hand_out(connection, wanted, write.now)
        else:
            watch = await add_watch(connection, wanted, write.now)
        return _shown(services, write.caller, watch, await scans_of(connection, [watch])).to_json()

    return await write.once(HTTPStatus.CREATED, add)


@router.get("", response_model=Items[AddressView], responses=problems())
async def list_addresses(query: Annotated[AddressQuery, Query()], services: Services, caller: Reader) -> Response:
    """List watched addresses, newest first."""
    chain = None if query.chain is None else named_chain(services.chains, query.chain, caller.mode).name
    account = None if query.account_id is None else str(query.account_id)
    page: Page[Watch] = Page([], None)
    if caller.account_id is None or account in {None, caller.account_id}:
        key_id = None if query.key_id is None else str(query.key_id)
        wanted = WatchFilter(chain, account or caller.account_id, caller.mode, key_id)
        page = await services.watches.list(wanted, query.page)
    scans = await services.scans.of_watches(page.items)
    items = [_shown(services, caller, watch, scans) for watch in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/{chain}/{address}", response_model=AddressView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_address(
    chain: str, address: str, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Show one watched address."""
    name, parsed = _named(services, chain, address, caller)
    watch = await services.watches.get(name, parsed)
    if caller.account_id not in {None, watch.account_id}:
        message = f"this address is not watched on {name}"
        raise NotFoundError(message)
    scans = await services.scans.of_watches([watch])
    return Response(_shown(services, caller, watch, scans).to_json(), media_type="application/json")


@router.delete(
    "/{chain}/{address}", status_code=HTTPStatus.NO_CONTENT, response_model=None, responses=problems(HTTPStatus.NOT_FOUND)
)
async def remove_address(
    chain: str, address: str, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Stop new matches of an address. What is tracked already is told to the end."""
    name, parsed = _named(services, chain, address, write.caller)

    async def remove(connection: Connection) -> bytes:
        await remove_watch(connection, name, parsed, write.caller.account_id, write.now)
        return b""

    return await write.once(HTTPStatus.NO_CONTENT, remove)


def _wanted(body: NewAddress, chain: ChainDefinition, caller: Caller) -> NewWatch | NextAddress:
    account_id = caller.account_for(body.account_id)
    customer_id = None if body.customer_id is None else str(body.customer_id)
    history = asked_history(body.from_height, body.notify)
    if body.address is None:
        key_id = None if body.key_id is None else str(body.key_id)
        return NextAddress(chain.name, key_id, account_id, customer_id, body.label, history, body.purpose)
    if body.key_id is not None:
        message = "address and keyId exclude each other: leave address out to get the next one of the key, or keyId"
        raise InputError(message)
    check_purpose(chain.kind, body.purpose)
    address = parse_address(chain.addresses, body.address)
    return NewWatch(chain.name, address, account_id, customer_id, body.label, history, body.purpose)


def _shown(services: ApiServices, caller: Caller, watch: Watch, scans: Mapping[str, Scan]) -> AddressView:
    found = scans.get(watch.id)
    scan = None if found is None else ScanView.of(found, inner_life=caller.account_id is None)
    return AddressView.of(watch, services.chains, scan)


def _named(services: ApiServices, chain: str, address: str, caller: Caller) -> tuple[str, bytes]:
    definition = chain_in_path(services.chains, chain, caller.mode)
    return definition.name, parse_address(definition.addresses, address)
