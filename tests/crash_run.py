"""Run the `chainbell` command in this process, and die by SIGKILL when a named point was passed so many times.

    python -m tests.crash_run POINT COUNT COMMAND...      (POINT `-`: never)

Leases are short here, so that the next life need not wait long for the lease of the one that was killed.
"""

import os
import signal
import sys
from datetime import timedelta
from itertools import count

from chainbell.cli.main import main
from chainbell.telemetry import checkpoints
from chainbell.watcher import lease


def die_at(point: str, times: int) -> None:
    """Kill this process when a point was reached for the n-th time."""
    hits = count(1)

    def listener(reached: checkpoints.Checkpoint) -> None:
        if reached.value == point and next(hits) >= times:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.listen(listener)


if __name__ == "__main__":
    die_at(sys.argv[1], int(sys.argv[2]))
    lease.LEASE = timedelta(seconds=1.5)
    lease.RENEW_SECONDS = 0.4
    sys.argv = ["chainbell", *sys.argv[3:]]
    main()
