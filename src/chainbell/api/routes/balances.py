"""``/v2/addresses/{chain}/{address}/balance``: what a watched address holds."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.chain_names import chain_in_path
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery
from chainbell.api.services import Services
from chainbell.api.views.balance import BalanceView
from chainbell.domain.address import parse_address
from chainbell.domain.errors import NotFoundError
from chainbell.storage.balances import read_balance

router = APIRouter(prefix="/addresses", tags=["addresses"])


@router.get("/{chain}/{address}/balance", response_model=BalanceView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_balance(
    chain: str, address: str, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Show what an address of the Bitcoin family holds. Before what leaves it is covered, that is not known."""
    definition = chain_in_path(services.chains, chain, caller.mode)
    found = await read_balance(services.database, definition.name, parse_address(definition.addresses, address))
    if found is None or caller.account_id not in {None, found.watch.account_id}:
        message = f"this address is not watched on {definition.name}"
        raise NotFoundError(message)
    return Response(BalanceView.of(found, definition).to_json(), media_type="application/json")
