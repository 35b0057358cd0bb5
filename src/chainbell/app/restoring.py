"""``chainbell restored``: what a restore from a backup took back, and the generation that begins after it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from chainbell.app.deep_reorg import actor
from chainbell.app.journaling import journal_path
from chainbell.app.services import Services
from chainbell.storage.audit import Deed
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import JournalLines, moment_of, read_journals
from chainbell.storage.losses import Losses, losses, remember
from chainbell.storage.restore import NewGeneration, RestoredState, begin_generation, registered_now, restored_state
from chainbell.telemetry.clock import now

_CLOCKS_DIFFER = timedelta(days=1)
"""A line that is so much older than the newest moment of the backup is in the backup, whoever's clock wrote it."""

_LEAST_LEAP = 2**32
"""More than any life of a database raises a fence, or gives ids to deliveries."""


@dataclass(frozen=True, slots=True)
class Findings:
    """A database as it came back, beside what journals know."""

    state: RestoredState
    journals: Sequence[Path]
    """Those that were read."""
    lines: JournalLines
    losses: Losses
    next_generation: int
    """At least; another `restored` may be faster."""


async def find(services: Services, journals: Sequence[Path] | None, above: int) -> Findings:
    """Compare the database with journals: those named, else that of the data directory, if there is one.

    Raises `InputError` for a journal that cannot be read.
    """
    paths = list(journals) if journals is not None else [path for path in [journal_path(services.settings)] if path.exists()]
    async with services.database.connection() as connection:
        installation = await read_installation(connection)
    lines = read_journals(paths, installation.id)
    state = await restored_state(services.database)
    since = min([moment for moment in (state.reach, state.former_reach) if moment is not None], default=None)
    since = None if since is None else since - _CLOCKS_DIFFER
    remembered = remember([line for line in lines.lines if since is None or moment_of(line) >= since])
    lost = losses(remembered, await registered_now(services.database, remembered))
    newest = max(state.generation, lines.newest_generation, above)
    return Findings(state, paths, lines, lost, newest + 1)


async def begin(services: Services, findings: Findings) -> NewGeneration:
    """Begin the next generation."""
    reach = findings.state.reach
    deed = Deed(actor(), now(), {"backupReaches": None if reach is None else reach.isoformat()})
    leap = _LEAST_LEAP + secrets.randbelow(_LEAST_LEAP)
    above, retired = findings.next_generation - 1, findings.losses.retired
    return await begin_generation(services.database, deed, reach, above=above, leap=leap, retired=retired)
