"""How chains stand, joined from what the database knows of each."""

from collections.abc import Sequence
from datetime import datetime

from chainbell.api.views.chain import ChainView
from chainbell.domain.chain import ChainDefinition
from chainbell.storage.chains import ChainStates
from chainbell.storage.coverage import coverage_of
from chainbell.storage.database import Database


async def chain_report(
    database: Database, states: ChainStates, definitions: Sequence[ChainDefinition], now: datetime
) -> list[ChainView]:
    """Return how these chains stand, in their order, also those that were never started."""
    statuses = {status.name: status for status in await states.statuses(definitions, now)}
    coverage = await coverage_of(database, [definition.name for definition in definitions])
    return [
        ChainView.of(definition, statuses.get(definition.name), coverage.get(definition.name, ()))
        for definition in definitions
    ]
