"""``chainbell run``: every part that runs side by side, built and joined."""

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from chainbell.api.app import create_api
from chainbell.api.server import listen as listen_on
from chainbell.api.server import serve
from chainbell.api.services import ApiServices
from chainbell.app.services import Services, open_services
from chainbell.config.node_url import NodeUrl
from chainbell.config.settings import Settings
from chainbell.delivery.schedule import DEFAULT_SCHEDULE, SHORT_SCHEDULE
from chainbell.delivery.sender import HttpSender
from chainbell.delivery.worker import DeliveryWorker, Pace
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import ConfigurationError, DatabaseError
from chainbell.events.publish import publish
from chainbell.nodes.endpoint import Endpoint as NodeEndpoint
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.pool import Surroundings, open_pool
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.idempotency import forget_old_keys
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.partitions import ensure_attempt_partitions
from chainbell.storage.wakeups import EVENTS_CHANNEL, listen
from chainbell.supervisor import Part, stop_on_signals, supervise
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.follower import Follower

_log = structlog.get_logger()

_RETRY_SECONDS = 2.0
_HOUSEKEEPING_SECONDS = 3600.0
_API_CONNECTIONS = 10
_API_STATEMENT_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Pools:
    """Everything twice: whoever asks the API much takes no connection from followers, leases and deliveries."""

    work: Services
    api: Services


@asynccontextmanager
async def open_pools(settings: Settings) -> AsyncIterator[Pools]:
    """Open and migrate what `run` works with. Raises as `open_services`."""
    async with (
        open_services(settings, migrating=True) as work,
        Database.open(work.dsn, size=_API_CONNECTIONS, statement_timeout=_API_STATEMENT_TIMEOUT) as for_api,
    ):
        yield Pools(work, Services.on(for_api, work.dsn, work.box, settings))


async def run(settings: Settings) -> None:
    """Follow every chain that has a node, deliver, and serve the API, until SIGTERM or SIGINT.

    Raises `ConfigurationError` for what must be mended before it can start.
    """
    _require_screening(settings)
    stop = asyncio.Event()
    with stop_on_signals(stop), closing(listen_on(settings.api_host, settings.api_port)) as listener:
        async with AsyncExitStack() as stack:
            pools = await _wait_for_pools(settings, stack, stop)
            if pools is not None:
                host, port = listener.getsockname()[:2]
                _log.info("running", api=f"http://{host}:{port}/v2", chains=sorted(settings.nodes))
                await supervise(_parts(pools, listener), stop)
    _log.info("stopped")


def _require_screening(settings: Settings) -> None:
    if settings.screening != "off":
        message = (
            "there is no AML screening yet: set CHAINBELL_SCREENING=off to say that deposits may succeed unscreened. "
            "Without it nothing starts, so that nobody takes silence for a check"
        )
        raise ConfigurationError(message)
    if not settings.nodes:
        _log.warning("no chain has a node, so none is followed: set CHAINBELL_NODES__ETHEREUM or another")


async def _wait_for_pools(settings: Settings, stack: AsyncExitStack, stop: asyncio.Event) -> Pools | None:
    """Open the pools, again and again while the database is away; None when asked to stop meanwhile."""
    while not stop.is_set():
        try:
            return await stack.enter_async_context(open_pools(settings))
        except DatabaseError as error:
            _log.warning("waiting", reason=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_SECONDS):
                await stop.wait()
    return None


def _parts(pools: Pools, listener: socket.socket) -> dict[str, Part]:
    """Return everything that runs side by side, each able to be started anew."""
    services = pools.work
    wake_delivery = asyncio.Event()
    followed = {name: services.chains[name] for name in services.settings.nodes}
    wake_follower = {name: asyncio.Event() for name in followed}
    parts: dict[str, Part] = {
        "api": partial(serve, create_api(_api_services(pools.api)), listener),
        "delivery": partial(_deliver, services, wake_delivery),
        "delivery wake-ups": partial(_hear_of_events, services.database, wake_delivery),
        "housekeeping": partial(_keep_house, services.database),
    }
    for name, definition in followed.items():
        urls = services.settings.nodes[name]
        parts[f"chain {name}"] = partial(_follow, services, definition, wake_follower[name])
        for number, url in enumerate(urls, start=1):
            if url.ws is not None:
                parts[f"chain {name} hints {number}"] = HeadHints(_node(url), wake_follower[name], random.random).run
    return parts


async def _follow(services: Services, definition: ChainDefinition, wake: asyncio.Event) -> None:
    """Follow one chain: nodes, watcher and tracker joined."""
    settings = services.settings
    pool = open_pool(
        definition,
        [_node(url) for url in settings.nodes[definition.name]],
        Surroundings(now, time.monotonic, random.random),
        genesis_hash=await services.chain_states.genesis(definition.name),
        timeout=settings.node_timeout_seconds,
    )
    policy = Policy(definition.required_depth, screening=settings.screening != "off")
    tracker = Tracker(LedgerStore(services.database, publish), definition, policy)
    identity = f"{socket.gethostname()}/{os.getpid()}/{random.getrandbits(32):08x}"
    follower = Follower(definition, pool, services.chain_states, tracker, identity=identity, wake=wake, clock=now)
    try:
        await follower.run()
    finally:
        await pool.close()


async def _deliver(services: Services, wake: asyncio.Event) -> None:
    settings = services.settings
    schedule = SHORT_SCHEDULE if settings.delivery_schedule == "short" else DEFAULT_SCHEDULE
    store = PostgresDeliveryStore(services.database, services.box, schedule)
    timeout = timedelta(seconds=settings.delivery_timeout_seconds)
    async with HttpSender(settings.allowed_networks, timeout=timeout) as sender:
        pace = Pace(concurrency=settings.delivery_concurrency)
        await DeliveryWorker(store, sender, wake=wake, jitter=random.random, pace=pace).run()


async def _hear_of_events(database: Database, wake: asyncio.Event) -> None:
    """Listen for new events for ever; while PostgreSQL is away the worker polls."""
    while True:
        try:
            await listen(database, EVENTS_CHANNEL, wake)
        except DatabaseError as error:
            _log.warning("waiting", reason=str(error))
        await asyncio.sleep(_RETRY_SECONDS)


async def _keep_house(database: Database) -> None:
    """Make room for attempts to come, and forget what need not be remembered."""
    while True:
        try:
            await ensure_attempt_partitions(database, now())
            await forget_old_keys(database, now())
        except DatabaseError as error:
            _log.warning("waiting", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)


def _node(url: NodeUrl) -> NodeEndpoint:
    return NodeEndpoint(name=url.masked, url=url.url, websocket=url.ws)


def _api_services(services: Services) -> ApiServices:
    return ApiServices(
        database=services.database,
        chains=services.chains,
        box=services.box,
        watches=services.watches,
        chain_states=services.chain_states,
        endpoints=services.endpoints,
        deliveries=services.deliveries,
        replays=services.replays,
        transactions=services.transactions,
        events=services.events,
        api_keys=services.api_keys,
        now=now,
    )
