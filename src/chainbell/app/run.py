"""``chainbell run``: the parts of the roles that this process has, built and joined.

What a role runs is built in ``watching``, ``delivering`` and here (the API); what every process does, in ``housekeeping``.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus

import structlog
from fastapi import FastAPI

from chainbell.api.app import create_api
from chainbell.api.front import Absent, Front
from chainbell.api.server import listen as listen_on
from chainbell.api.server import serve
from chainbell.api.services import ApiServices
from chainbell.app.delivering import delivery_parts
from chainbell.app.gauges import Exposition
from chainbell.app.housekeeping import housekeeping_parts
from chainbell.app.readiness import Readiness
from chainbell.app.roles import EVERY_ROLE, Role
from chainbell.app.services import Services, open_services
from chainbell.app.stall_alarm import StallAlarm
from chainbell.app.watching import watcher_parts
from chainbell.config.chains import configured_chains
from chainbell.config.settings import Settings
from chainbell.domain.errors import ConfigurationError, DatabaseError
from chainbell.storage.database import Database
from chainbell.supervisor import Part, beside, stop_on_signals, supervise
from chainbell.telemetry.clock import now

_log = structlog.get_logger()

_RETRY_SECONDS = 2.0
_API_CONNECTIONS = 10
_API_STATEMENT_TIMEOUT = timedelta(seconds=10)
_OBSERVER_CONNECTIONS = 3
_OBSERVER_STATEMENT_TIMEOUT = timedelta(seconds=5)

_STARTING = Absent(HTTPStatus.SERVICE_UNAVAILABLE, "the API is not there yet: it starts when the database was reached")
_STOPPING = Absent(HTTPStatus.SERVICE_UNAVAILABLE, "this process is stopping: ask another one, or try again")


@dataclass(frozen=True, slots=True)
class Pools:
    """Connections apart: whoever asks the API much takes none from followers, leases and deliveries, nor from health."""

    work: Services
    api: Services | None
    """None where the API is not served."""
    observer: Database
    """For health, metrics, and the look at who holds up others."""


@asynccontextmanager
async def open_pools(settings: Settings, roles: Collection[Role] = EVERY_ROLE) -> AsyncIterator[Pools]:
    """Open and migrate what `run` works with. Raises as `open_services`."""
    async with AsyncExitStack() as stack:
        work = await stack.enter_async_context(open_services(settings, migrating=True))
        observing = Database.open(work.dsn, size=_OBSERVER_CONNECTIONS, statement_timeout=_OBSERVER_STATEMENT_TIMEOUT)
        observer = await stack.enter_async_context(observing)
        api = None
        if Role.API in roles:
            opening = Database.open(work.dsn, size=_API_CONNECTIONS, statement_timeout=_API_STATEMENT_TIMEOUT)
            for_api = await stack.enter_async_context(opening)
            for_api.journal = work.database.journal
            api = Services.on(for_api, work.dsn, work.box, settings)
        yield Pools(work, api, observer)


async def run(settings: Settings, roles: Collection[Role] = EVERY_ROLE) -> None:
    """Do the work of these roles, and answer for health and metrics from the first moment on, until SIGTERM or SIGINT.

    Raises `ConfigurationError` for what must be mended before it can start.
    """
    _refuse_work_undone(settings, roles)
    stop = asyncio.Event()
    readiness = Readiness(roles, settings.nodes if Role.WATCHER in roles else (), stop)
    metrics = Exposition(list(configured_chains(settings).values()), now)
    front = Front(readiness.look, metrics, _STARTING if Role.API in roles else _no_api(roles))
    with stop_on_signals(stop), closing(listen_on(settings.api_host, settings.api_port)) as listener:
        host, port = listener.getsockname()[:2]
        http = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log.info("listening", http=http, roles=sorted(roles))
        # The pools outlive the server: requests under way at the end still need their connections.
        async with AsyncExitStack() as stack, beside({"http": partial(serve, front, listener)}):
            pools = await _wait_for_pools(settings, roles, stack, readiness, stop)
            if pools is not None:
                readiness.reached(pools.observer)
                metrics.reached(pools.observer)
                await supervise(_parts(pools, roles, front, http), stop)
    _log.info("stopped")


def _refuse_work_undone(settings: Settings, roles: Collection[Role]) -> None:
    """Refuse to start where a role could not do what it is there for."""
    if Role.WATCHER not in roles:
        return
    if settings.screening != "off":
        message = (
            "there is no AML screening yet: set CHAINBELL_SCREENING=off to say that deposits may succeed unscreened. "
            "Without it nothing starts, so that nobody takes silence for a check"
        )
        raise ConfigurationError(message)
    if not settings.nodes:
        trouble = "no chain has a node, so none is followed: set CHAINBELL_NODES__ETHEREUM or another"
        if set(roles) == {Role.WATCHER}:
            raise ConfigurationError(trouble)
        _log.warning(trouble)


def _no_api(roles: Collection[Role]) -> Absent:
    detail = (
        f"this process has {'the role' if len(roles) == 1 else 'the roles'} {', '.join(sorted(roles))} and serves no API: "
        "ask one that runs with --role api; "
        "here are /health/live, /health/ready and /metrics"
    )
    return Absent(HTTPStatus.NOT_FOUND, detail)


async def _wait_for_pools(
    settings: Settings, roles: Collection[Role], stack: AsyncExitStack, readiness: Readiness, stop: asyncio.Event
) -> Pools | None:
    """Open the pools, again and again while the database is away; None when asked to stop meanwhile."""
    while not stop.is_set():
        try:
            return await stack.enter_async_context(open_pools(settings, roles))
        except DatabaseError as error:
            _log.warning("waiting", reason=str(error))
            readiness.waits_for(str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_SECONDS):
                await stop.wait()
    return None


def _parts(pools: Pools, roles: Collection[Role], front: Front, http: str) -> dict[str, Part]:
    """Return everything that runs side by side, each able to be started anew."""
    parts = housekeeping_parts(pools.work.database, pools.observer)
    parts["stall alarm"] = StallAlarm(pools.observer, list(pools.work.chains.values()), now).run
    told: dict[str, object] = {"roles": sorted(roles), "http": http}
    if Role.WATCHER in roles:
        parts |= watcher_parts(pools.work)
        told["chains"] = sorted(pools.work.settings.nodes)
    if Role.DELIVERY in roles:
        parts |= delivery_parts(pools.work)
    if pools.api is not None:
        api = front.api = create_api(_api_services(pools.api))
        parts["api"] = partial(_serve_api, front, api)
        told["api"] = f"{http}/v2"
    _log.info("running", **told)
    return parts


async def _serve_api(front: Front, api: FastAPI) -> None:
    """Have requests of the API answered until cancelled; from then on they are refused, and those under way go on."""
    front.api = api
    try:
        await asyncio.Event().wait()
    finally:
        front.api = _STOPPING


def _api_services(services: Services) -> ApiServices:
    return ApiServices(
        database=services.database,
        chains=services.chains,
        box=services.box,
        watches=services.watches,
        registry=services.registry,
        keys=services.keys,
        chain_states=services.chain_states,
        endpoints=services.endpoints,
        deliveries=services.deliveries,
        replays=services.replays,
        replay_jobs=services.replay_jobs,
        scans=services.scans,
        transactions=services.transactions,
        events=services.events,
        api_keys=services.api_keys,
        now=now,
    )
