"""What every process answers over HTTP, whatever its roles: its health and its metrics; and ``/v2`` where it serves that.

The first three ask for no API key: they are for who runs the process. Only ``/v2`` is to be exposed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import chainbell
from chainbell.api.problems import RETRY_AFTER_SECONDS, answer_errors_with_problems, problem

LIVE, READY, METRICS = "/health/live", "/health/ready", "/metrics"

Exposition: TypeAlias = Callable[[], Awaitable[tuple[bytes, str]]]
"""Returns the metrics and their content type."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a process stands."""

    roles: tuple[str, ...]
    not_ready: str | None
    """Why it cannot do its work now, and what to do; None when it can."""
    database_answers: bool
    chains: Mapping[str, bool]
    """Whether somebody follows each chain now, in this process or another: told, and no part of being ready."""

    def members(self) -> dict[str, object]:
        """Return the members of its JSON document."""
        return {
            "version": chainbell.__version__,
            "roles": list(self.roles),
            "database": {"answers": self.database_answers},
            "chains": {name: {"followed": followed} for name, followed in self.chains.items()},
        }


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is no API to serve."""

    status: HTTPStatus
    detail: str


class Front:
    """The whole HTTP application of a process. `api` serves what lies beside its own pages; `Absent`: it is refused so."""

    def __init__(self, health: Callable[[], Awaitable[Health]], metrics: Exposition, api: ASGIApp | Absent) -> None:
        self.api = api
        self._own = _own_pages(health, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["path"] in {LIVE, READY, METRICS}:
            await self._own(scope, receive, send)
        elif isinstance(self.api, Absent):
            await _refuse(Request(scope), self.api)(scope, receive, send)
        else:
            await self.api(scope, receive, send)


def _own_pages(health: Callable[[], Awaitable[Health]], metrics: Exposition) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    async def live() -> Response:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> Response:
        found = await health()
        if found.not_ready is None:
            return JSONResponse({"status": "ready"} | found.members())
        return _unavailable(request, found.not_ready, found.members())

    async def show_metrics() -> Response:
        body, content_type = await metrics()
        return Response(body, media_type=content_type)

    for path, page in ((LIVE, live), (READY, ready), (METRICS, show_metrics)):
        app.add_api_route(path, page, methods=["GET", "HEAD"], response_model=None)
    answer_errors_with_problems(app)
    return app


def _refuse(request: Request, absent: Absent) -> Response:
    if absent.status is HTTPStatus.SERVICE_UNAVAILABLE:
        return _unavailable(request, absent.detail, {})
    return problem(request, absent.status, absent.detail)


def _unavailable(request: Request, detail: str, more: Mapping[str, object]) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers, more=more)
