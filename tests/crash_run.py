"""Run the `chainbell` command in this process, and die or freeze when a named point was passed so many times.

    python -m tests.crash_run POINT COUNT COMMAND...

POINT is ``-`` (never), a checkpoint (die by SIGKILL there), or ``freeze:`` and a checkpoint (SIGSTOP, once; it goes on when
somebody continues it). Leases are short here, so that nobody need wait long for that of a process that was killed or frozen.
"""

import os
import signal
import sys
from datetime import timedelta
from functools import partial
from itertools import count
from unittest.mock import patch

from chainbell.app import delivering, housekeeping
from chainbell.cli.main import main
from chainbell.cli.work import service
from chainbell.config.settings import Settings, load_settings
from chainbell.delivery.worker import Pace
from chainbell.telemetry import checkpoints
from chainbell.watcher import lease

LEASE_SECONDS = 1.5
"""Of a chain, and how long a transaction may stand still while others wait for it."""
DELIVERY_LEASE_SECONDS = 4.0


def end_at(point: str, times: int) -> None:
    """Kill this process when a point was reached for the n-th time, or freeze it."""
    hits = count(1)
    freezes = point.startswith("freeze:")
    name = point.removeprefix("freeze:")

    def listener(reached: checkpoints.Checkpoint) -> None:
        if reached.value != name:
            return
        hit = next(hits)
        if freezes and hit == times:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif not freezes and hit >= times:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.listen(listener)


def _quick_settings() -> Settings:
    """Read the settings, with a timeout of deliveries that no operator may choose."""
    return load_settings().model_copy(update={"delivery_timeout_seconds": DELIVERY_LEASE_SECONDS / 4})


def shorten() -> None:
    """Make every lease short."""
    margin = timedelta(seconds=DELIVERY_LEASE_SECONDS * 3 / 4)
    for patched in (
        patch.object(lease, "LEASE", timedelta(seconds=LEASE_SECONDS)),
        patch.object(lease, "RENEW_SECONDS", LEASE_SECONDS / 4),
        patch.object(housekeeping, "PATIENCE", timedelta(seconds=LEASE_SECONDS)),
        patch.object(housekeeping, "LOOK_SECONDS", LEASE_SECONDS / 4),
        patch.object(delivering, "Pace", partial(Pace, lease_margin=margin, poll=timedelta(seconds=1))),
        patch.object(service, "load_settings", _quick_settings),
    ):
        patched.start()


if __name__ == "__main__":
    end_at(sys.argv[1], int(sys.argv[2]))
    shorten()
    sys.argv = ["chainbell", *sys.argv[3:]]
    main()
