"""The stall alarm: looks at every chain in the database, and logs when one begins to stand still, and when it ends.

Every process looks, whatever its roles: a follower that is frozen cannot say so itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import DatabaseError
from chainbell.storage.chain_facts import chain_facts
from chainbell.storage.database import Database
from chainbell.watcher.stall import Stalled, stalled

LOOK_SECONDS = 15.0

_log = structlog.get_logger()


class StallAlarm:
    """Looks until it is cancelled. A stall is told when two looks in a row have found it: one may fall into a hand-over."""

    def __init__(
        self,
        database: Database,
        definitions: Sequence[ChainDefinition],
        now: Callable[[], datetime],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._now = now
        self._look_seconds = look_seconds
        self._before: Mapping[str, Stalled] = {}
        self._told: dict[str, Stalled] = {}

    async def run(self) -> None:
        """Look for ever; while the database is away there is nothing to see."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                self._tell(await self._look())
            except DatabaseError as error:
                _log.debug("waiting", reason=str(error))

    async def _look(self) -> dict[str, Stalled]:
        now = self._now()
        async with self._database.connection() as connection:
            facts = await chain_facts(connection, self._definitions, now)
        judged = {chain: stalled(each, now) for chain, each in facts.items()}
        return {chain: found for chain, found in judged.items() if found is not None}

    def _tell(self, found: Mapping[str, Stalled]) -> None:
        for chain, stall in found.items():
            before, told = self._before.get(chain), self._told.get(chain)
            lasts = before is not None and before.kind is stall.kind
            if lasts and (told is None or told.kind is not stall.kind):
                self._told[chain] = stall
                _log.error("stalled", chain=chain, kind=stall.kind.value, since=stall.since.isoformat(), reason=stall.reason)
        for chain in self._told.keys() - found.keys():
            ended = self._told.pop(chain)
            _log.info("moving again", chain=chain, kind=ended.kind.value, stalled_since=ended.since.isoformat())
        self._before = found
