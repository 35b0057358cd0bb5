"""``/v2/transactions``: deposits and transfers as they stand."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.chain_names import address_of, named_chain
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery, PageQuery
from chainbell.api.resource_ids import require_id
from chainbell.api.services import Services
from chainbell.api.views.transaction import TransactionView, transaction_json, transaction_members
from chainbell.api.views.wire import Items
from chainbell.domain.address import parse_hash
from chainbell.domain.transaction import Status, TransactionType
from chainbell.storage.transaction_list import TransactionFilter

router = APIRouter(prefix="/transactions", tags=["transactions"])


class TransactionQuery(PageQuery):
    """Which transactions to list."""

    type: TransactionType | None = None
    status: Status | None = None
    chain: str | None = None
    address: Annotated[str, Field(max_length=128)] | None = None
    """The watched side."""
    hash: Annotated[str, Field(pattern=r"^(0x)?[0-9a-fA-F]{64}$")] | None = None
    account_id: UUID | None = None


@router.get("", response_model=Items[TransactionView], responses=problems())
async def list_transactions(query: Annotated[TransactionQuery, Query()], services: Services, caller: Reader) -> Response:
    """List transactions, those first seen last in front."""
    chain = None if query.chain is None else named_chain(services.chains, query.chain, caller.mode)
    known = list(services.chains.values()) if chain is None else [chain]
    wanted = TransactionFilter(
        type=query.type,
        status=query.status,
        chain=None if chain is None else chain.name,
        address=None if query.address is None else address_of(known, query.address),
        tx_hash=None if query.hash is None else parse_hash(query.hash),
        account_id=None if query.account_id is None else str(query.account_id),
    )
    page = await services.transactions.list(wanted, caller.viewer, query.page)
    items = [transaction_members(listed, services.chains) for listed in page.items]
    return Response(orjson.dumps({"items": items, "nextCursor": page.next_cursor}), media_type="application/json")


@router.get("/{uid}", response_model=TransactionView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_transaction(uid: str, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show one transaction."""
    listed = await services.transactions.get(require_id(uid, "transaction"), caller.viewer)
    return Response(transaction_json(listed, services.chains), media_type="application/json")
