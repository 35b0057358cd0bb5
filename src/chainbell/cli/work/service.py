"""What ``chainbell run`` and ``chainbell migrate`` do."""

import asyncio
from collections.abc import Collection

from chainbell.app.roles import Role
from chainbell.app.run import run as run_app
from chainbell.app.services import Services
from chainbell.cli.work.output import say
from chainbell.cli.work.session import with_services
from chainbell.config.settings import load_settings
from chainbell.telemetry.log import configure_logging


def run(roles: Collection[Role]) -> None:
    """Do the work of these roles until a signal ends it."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(run_app(settings, roles))


def migrate() -> None:
    """Bring the schema up to date."""

    async def work(services: Services) -> None:
        """Opening did it all."""

    with_services(work, migrating=True)
    say("the database is up to date")
