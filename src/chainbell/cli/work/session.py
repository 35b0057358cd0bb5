"""One command's use of the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chainbell.app.services import Services, open_services
from chainbell.config.settings import load_settings
from chainbell.telemetry.log import configure_logging

T = TypeVar("T")


def with_services(work: Callable[[Services], Awaitable[T]], *, migrating: bool = False) -> T:
    """Open what the settings name, do the work, close it, and return what the work did.

    Raises whatever `open_services` and the work raise.
    """
    settings = load_settings()
    # A command answers on stdout; of what goes on beside it only trouble is told, unless somebody looks for it.
    level = "debug" if settings.log_level == "debug" else "warning"
    configure_logging(level, settings.log_format)

    async def opened() -> T:
        async with open_services(settings, migrating=migrating) as services:
            return await work(services)

    return asyncio.run(opened())
