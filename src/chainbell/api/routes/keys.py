"""``/v2/keys``: extended public keys and descriptors whose addresses are watched."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.chain_names import named_chain
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.services import Services
from chainbell.api.views.key import KeyView
from chainbell.api.views.wire import Items, Wire
from chainbell.api.writing import Writing
from chainbell.custody.account_key import LONGEST_KEY, key_rules, parse_account_key
from chainbell.custody.new_key import NewKey
from chainbell.custody.window import DEFAULT_GAP_LIMIT, MOST_FIRST_INDEX, MOST_GAP
from chainbell.storage.database import Connection
from chainbell.storage.keys import AccountKey, PreparedKey, add_key
from chainbell.storage.paging import Page
from chainbell.storage.watches import WatchFilter

router = APIRouter(prefix="/keys", tags=["keys"])


class NewKeyBody(Wire):
    """A key whose addresses are to be watched. Never a private one: that is refused, and not stored."""

    chain: Annotated[str, Field(max_length=64, examples=["bitcoin"])]
    """Name of the chain's definition, or its name on the wire."""
    key: Annotated[str, Field(max_length=LONGEST_KEY)]
    """An extended public key (xpub, ypub, zpub, tpub, ...), or a descriptor of public keys with its checksum."""
    account_id: UUID | None = None
    """Absent: the API key's account, else the default account of the chain's mode."""
    label: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    gap_limit: Annotated[int, Field(strict=True, ge=1, le=MOST_GAP)] = DEFAULT_GAP_LIMIT
    """So many unused addresses at least are watched behind the last one that was handed out or used.

    ``(firstIndex + 4 x gapLimit) x branches x keys`` is at most 12,000: so many public keys are derived in 20 seconds.
    """
    first_index: Annotated[int, Field(strict=True, ge=0, le=MOST_FIRST_INDEX)] = 0
    """The first that is handed out. All below it are watched too."""


class KeyQuery(PageQuery):
    """Which keys to list."""

    chain: str | None = None
    account_id: UUID | None = None


@router.post("", status_code=HTTPStatus.CREATED, response_model=KeyView, responses=problems(HTTPStatus.CONFLICT))
async def register_key(
    body: NewKeyBody, services: Services, write: Writing, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Watch the addresses of a key. Once this returned 201, its first window is watched from ``watchedFrom`` on."""
    chain = named_chain(services.chains, body.chain, write.caller.mode)
    wanted = NewKey(
        chain=chain.name,
        template=parse_account_key(body.key, key_rules(chain)),
        account_id=write.caller.account_for(body.account_id),
        label=body.label,
        gap_limit=body.gap_limit,
        first_index=body.first_index,
    )
    prepared = PreparedKey(wanted)

    async def add(connection: Connection) -> bytes:
        return KeyView.of(await add_key(connection, prepared, write.now), services.chains).to_json()

    return await write.once(HTTPStatus.CREATED, add)


@router.get("", response_model=Items[KeyView], responses=problems())
async def list_keys(query: Annotated[KeyQuery, Query()], services: Services, caller: Reader) -> Response:
    """List keys, newest first."""
    chain = None if query.chain is None else named_chain(services.chains, query.chain, caller.mode).name
    account = None if query.account_id is None else str(query.account_id)
    page: Page[AccountKey] = Page([], None)
    if caller.account_id is None or account in {None, caller.account_id}:
        page = await services.keys.list(WatchFilter(chain, account or caller.account_id, caller.mode), query.page)
    items = [KeyView.of(key, services.chains) for key in page.items]
    return Response(Items(items=items, next_cursor=page.next_cursor).to_json(), media_type="application/json")


@router.get("/{key_id}", response_model=KeyView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_key(key_id: UUID, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show a key, and how far its branches are used and watched."""
    key = await services.keys.get(str(key_id), caller.viewer)
    return Response(KeyView.of(key, services.chains).to_json(), media_type="application/json")
