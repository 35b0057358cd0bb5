"""``/v2/chains``: how far each chain is followed."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from chainbell.api.access import Caller, Reader
from chainbell.api.chain_names import chain_in_path
from chainbell.api.chain_report import chain_report
from chainbell.api.documents import problems
from chainbell.api.paging import NoQuery
from chainbell.api.services import ApiServices, Services
from chainbell.api.views.chain import ChainView
from chainbell.api.views.wire import Wire
from chainbell.domain.chain import ChainDefinition

router = APIRouter(prefix="/chains", tags=["chains"])


class ChainsView(Wire):
    """Every chain of a mode, by name."""

    items: list[ChainView]


@router.get("", response_model=ChainsView, responses=problems())
async def list_chains(services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """List every chain of the API key's mode, also those that were never started.

    A key of one account sees no `trouble`, `follower`, `unsettled`, `stranded` and `nodes`: they are null.
    """
    wanted = [chain for chain in services.chains.values() if chain.mode is caller.mode]
    shown = ChainsView(items=await _report(services, caller, wanted))
    return Response(shown.to_json(), media_type="application/json")


@router.get("/{chain}", response_model=ChainView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_chain(chain: str, services: Services, caller: Reader, _query: Annotated[NoQuery, Query()]) -> Response:
    """Show one chain; to a key of one account, without the members that the list leaves out."""
    definition = chain_in_path(services.chains, chain, caller.mode)
    (shown,) = await _report(services, caller, [definition])
    return Response(shown.to_json(), media_type="application/json")


async def _report(services: ApiServices, caller: Caller, definitions: Sequence[ChainDefinition]) -> list[ChainView]:
    report = await chain_report(services.database, services.chain_states, definitions, services.now())
    return report if caller.account_id is None else [chain.without_inner_life() for chain in report]
