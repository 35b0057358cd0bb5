"""The API as an ASGI application."""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

import chainbell
from chainbell.api.body_limit import BodyLimit
from chainbell.api.documents import describe
from chainbell.api.problems import answer_errors_with_problems
from chainbell.api.routes import (
    addresses,
    balances,
    bulk_addresses,
    chains,
    coverage,
    deliveries,
    endpoints,
    events,
    keys,
    replays,
    scans,
    transactions,
)
from chainbell.api.services import ApiServices

PREFIX = "/v2"
BODY_LIMIT_BYTES = 1_000_000

_RESOURCES = (
    *(addresses, balances, bulk_addresses, keys, endpoints, transactions, events, deliveries, replays, scans, chains),
    coverage,
)


def create_api(services: ApiServices) -> FastAPI:
    """Return the API, with its OpenAPI document at ``/v2/openapi.json``.

    FastAPI's own pages for people are left out: they load scripts from elsewhere.
    """
    app = FastAPI(
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    version = APIRouter(prefix=PREFIX)
    for resource in _RESOURCES:
        version.include_router(resource.router)
    app.include_router(version)
    answer_errors_with_problems(app)
    describe(app, chainbell.__version__)
    streamed = {version.prefix + bulk_addresses.PATH: bulk_addresses.BULK_LIMIT_BYTES}
    app.add_middleware(BodyLimit, limit=BODY_LIMIT_BYTES, streamed=streamed)
    return app


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its function, so that generated clients read well."""
    return route.name
