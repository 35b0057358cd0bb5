"""The deliverer's role: send webhooks, woken by whoever commits events."""

import asyncio
import random
from datetime import timedelta
from functools import partial

import structlog

from chainbell.app.replaying import work_off_replays
from chainbell.app.services import Services
from chainbell.delivery.schedule import DEFAULT_SCHEDULE, SHORT_SCHEDULE
from chainbell.delivery.sender import HttpSender
from chainbell.delivery.worker import DeliveryWorker, Pace
from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Database
from chainbell.storage.deliveries import PostgresDeliveryStore
from chainbell.storage.wakeups import EVENTS_CHANNEL, listen
from chainbell.supervisor import Part

_log = structlog.get_logger()

_RETRY_SECONDS = 2.0


def delivery_parts(services: Services) -> dict[str, Part]:
    """Return what runs side by side to send webhooks."""
    wake = asyncio.Event()
    return {
        "delivery": partial(_deliver, services, wake),
        "delivery wake-ups": partial(_hear_of_events, services.database, wake),
        "replays": partial(work_off_replays, services.database),
    }


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
