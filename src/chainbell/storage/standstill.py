"""Whoever stands still in a transaction while others wait for its locks: a process that is frozen, or cut off.

The server cannot tell a process that is stopped (SIGSTOP, a suspended machine, an overloaded one) from one that thinks: to
it, both are clients that send nothing. Its own ``idle_in_transaction_session_timeout`` is long, so that no honest commit
ends by it, and does not count while a statement is half sent. Here somebody waits, so that less patience is right.
"""

from dataclasses import dataclass
from datetime import timedelta

from chainbell.storage.database import APPLICATION, Database

# Waiting for its client, in the middle of a transaction, whatever its state is called: after half of a statement it is
# "active" for ever. Sessions of another database user show no wait_event to us, and are left alone.
_END = """
select distinct b.pid, b.application_name, b.state_change, pg_terminate_backend(b.pid) as ended
from pg_stat_activity w
    cross join lateral unnest(pg_blocking_pids(w.pid)) as blocking (pid)
    join pg_stat_activity b on b.pid = blocking.pid
where w.datname = current_database() and w.wait_event_type = 'Lock'
    and b.datname = current_database() and starts_with(b.application_name, $1)
    and b.wait_event_type = 'Client' and b.xact_start is not null
    and b.state_change < clock_timestamp() - $2::interval
"""


@dataclass(frozen=True, slots=True)
class StoodStill:
    """A session that was ended: its transaction was rolled back, its locks are free."""

    backend: int
    """Its pid on the server."""
    session: str
    """Its application_name, which says which process of which machine it belonged to."""


async def end_standing_still(database: Database, patience: timedelta) -> list[StoodStill]:
    """End the sessions of Chainbell that hold up others, and for longer than `patience` have sent nothing.

    One that merely thought that long loses its transaction, as by any lost connection, and tries again.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(_END, APPLICATION, patience)
    return [StoodStill(row["pid"], row["application_name"]) for row in rows if row["ended"]]
