"""``/v2/coverage``: what is known of each chain, and of an address, and from when on."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from chainbell.api.access import Reader
from chainbell.api.chain_names import named_chain
from chainbell.api.coverage_report import coverage_report
from chainbell.api.documents import problems
from chainbell.api.services import Services
from chainbell.api.views.coverage import CoverageReportView
from chainbell.api.views.wire import Wire

router = APIRouter(prefix="/coverage", tags=["chains"])


class CoverageQuery(Wire):
    """What to say the coverage of; without anything, every chain of the key's mode."""

    chain: str | None = None
    address: str | None = None
    """Only of this watched address."""


@router.get("", response_model=CoverageReportView, responses=problems(HTTPStatus.NOT_FOUND))
async def get_coverage(query: Annotated[CoverageQuery, Query()], services: Services, caller: Reader) -> Response:
    """Show what was scanned, per chain, capability and token, what was not and why, and what scans it."""
    if query.chain is None:
        chains = [chain for chain in services.chains.values() if chain.mode is caller.mode]
    else:
        chains = [named_chain(services.chains, query.chain, caller.mode)]
    report = await coverage_report(services, chains, query.address, caller.account_id)
    return Response(report.to_json(), media_type="application/json")
