"""What some process must do at all times, whatever its roles: each of them does it, under locks."""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from chainbell.domain.errors import DatabaseError, UnavailableError
from chainbell.storage.database import Database
from chainbell.storage.idempotency import forget_old_keys
from chainbell.storage.keys import KeyStore
from chainbell.storage.partitions import ensure_attempt_partitions
from chainbell.storage.standstill import end_standing_still
from chainbell.supervisor import Part
from chainbell.telemetry.clock import now

PATIENCE = timedelta(seconds=5)
"""How long a transaction may stand still while others wait for it; as long as the lease of a chain."""
LOOK_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_PAUSE_SECONDS = 3600.0

_log = structlog.get_logger()


def housekeeping_parts(work: Database, observer: Database) -> dict[str, Part]:
    """Return what runs side by side in every process."""
    return {
        "housekeeping": partial(_keep_house, work),
        "keys": partial(_derive_ahead, KeyStore(work)),
        "standstill": partial(_free_locks, observer),
    }


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
        await asyncio.sleep(_PAUSE_SECONDS)


async def _derive_ahead(keys: KeyStore) -> None:
    """Derive what the windows of extended keys will need, so that no commit has to."""
    ready = False
    while True:
        try:
            if not ready:
                await keys.make_ready()
                ready = True
            if await keys.derive_ahead():
                continue
        except DatabaseError as error:
            _log.debug("waiting", reason=str(error))
        except UnavailableError as error:
            _log.warning("waiting", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)


async def _free_locks(database: Database) -> None:
    """End the transactions of frozen processes that hold up others."""
    while True:
        try:
            for ended in await end_standing_still(database, PATIENCE):
                _log.warning(
                    "transaction ended",
                    session=ended.session,
                    backend=ended.backend,
                    reason=(
                        f"it stood still for {PATIENCE.total_seconds():g} s while others waited for its locks: look "
                        "whether that process is stopped, or its machine suspended or out of processor time"
                    ),
                )
        except DatabaseError as error:
            _log.debug("waiting", reason=str(error))
        await asyncio.sleep(LOOK_SECONDS)
