"""Replays of many deliveries, worked off: by the deliverers for everybody, and by a command that waits for its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NoReturn

import structlog

from chainbell.domain.errors import DatabaseError
from chainbell.storage.database import Database
from chainbell.storage.replay_steps import step, step_any
from chainbell.storage.replays import Replay
from chainbell.telemetry.clock import now

_log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 2.0


async def work_off_replays(database: Database) -> NoReturn:
    """Work at whatever replay is unfinished, also those of processes that died, for ever."""
    while True:
        began = time.monotonic()
        try:
            replay = await step_any(database, now())
        except DatabaseError as error:
            _log.warning("replays_wait_for_database", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if replay is None:
            await asyncio.sleep(_LOOK_SECONDS)
            continue
        if replay.finished_at is not None:
            _log.info("replay_finished", replay_id=replay.id, endpoint_id=replay.endpoint_id, queued=replay.queued)
        await _let_others_go_on(began)


async def work_off(database: Database, replay: Replay) -> AsyncIterator[Replay]:
    """Work at one replay, and yield it after each step, until it is finished. Raises `DatabaseError`."""
    while replay.finished_at is None:
        began = time.monotonic()
        replay = await step(database, replay.id, now())
        yield replay
        await _let_others_go_on(began)


async def _let_others_go_on(began: float) -> None:
    """Rest as long as the step took: it held lanes in which results of deliveries are waiting to be written."""
    await asyncio.sleep(time.monotonic() - began)
