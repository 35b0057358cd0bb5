"""How chains stand, joined from what the database knows of each."""

from collections.abc import Sequence
from datetime import datetime

from chainbell.api.views.chain import ChainView, StalledView
from chainbell.domain.chain import ChainDefinition
from chainbell.storage.chain_facts import chain_facts
from chainbell.storage.chains import ChainStates
from chainbell.storage.coverage import coverage_of
from chainbell.storage.database import Database
from chainbell.storage.node_states import NodeStates
from chainbell.watcher.stall import stalled


async def chain_report(
    database: Database, states: ChainStates, definitions: Sequence[ChainDefinition], now: datetime
) -> list[ChainView]:
    """Return how these chains stand, in their order, also those that were never started."""
    statuses = {status.name: status for status in await states.statuses(definitions, now)}
    names = [definition.name for definition in definitions]
    coverage = await coverage_of(database, names)
    nodes = await NodeStates(database).of(names, now)
    shown = [
        ChainView.of(definition, statuses.get(definition.name), coverage.get(definition.name, ()), nodes[definition.name])
        for definition in definitions
    ]
    stalls = await _stalls(database, definitions, now)
    return [chain.model_copy(update={"stalled": stalls.get(chain.name)}) for chain in shown]


async def _stalls(database: Database, definitions: Sequence[ChainDefinition], now: datetime) -> dict[str, StalledView]:
    async with database.connection() as connection:
        facts = await chain_facts(connection, definitions, now)
    judged = {name: stalled(each, now) for name, each in facts.items()}
    return {name: StalledView.of(found) for name, found in judged.items() if found is not None}
