"""What ``/metrics`` shows of the database: one bounded read, whatever its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.chain import ChainDefinition
from chainbell.storage.chain_facts import chain_facts
from chainbell.storage.chains import ChainStatus, chain_statuses
from chainbell.storage.database import Connection, Database
from chainbell.storage.node_states import FRESH
from chainbell.watcher.stall import ChainFacts

MOST_COUNTED = 50_000
"""Deliveries counted in all, evenly for each endpoint: beyond it nobody asks how many there are, and counting would cost."""

_FEWEST_COUNTED = 100

_SCANS = """
select chain, count(*) as unfinished, sum(next_height - from_height + 1) as blocks_left, count(trouble) as in_trouble
from scans where finished_at is null group by chain
"""

# Each order is that of a partial index, so that the planner takes it, whatever the statistics say.
_BACKLOGS = """
with share as (select greatest($2, $1 / greatest(1, count(*))) from endpoints where deleted_at is null)
select case when not p.enabled then 'disabled' when p.failing_since is not null then 'failing' else 'answering' end as state,
    count(*) as endpoints, sum(pending.count) as pending, min(pending.oldest) as oldest,
    min(due.at) as due_at, sum(exhausted.count) as exhausted
from endpoints p
cross join lateral (
    select count(*) as count, min(created_at) as oldest from (
        select d.created_at from deliveries d where d.endpoint_id = p.id and d.status = 'pending'
        order by d.resource_id, d.event_position limit (select * from share)) few) pending
cross join lateral (
    select count(*) as count from (
        select from deliveries d where d.endpoint_id = p.id and d.status = 'exhausted'
        order by d.event_position limit (select * from share)) few) exhausted
cross join lateral (
    select min(d.next_attempt_at) as at from deliveries d
    where d.endpoint_id = p.id and d.status = 'pending' and not d.waiting) due
where p.deleted_at is null group by 1
"""

_NODES = "select chain, position, state from node_states where reported_at > $1 order by chain, position"


@dataclass(frozen=True, slots=True)
class ScanGauges:
    """Scans of one chain's past that are not finished."""

    chain: str
    unfinished: int
    blocks_left: int
    """Of all of them together; scans that stand at the same height read a block once."""
    in_trouble: int


@dataclass(frozen=True, slots=True)
class BacklogGauges:
    """Endpoints in one state, ``answering``, ``failing`` or ``disabled``, and what they have not taken."""

    state: str
    endpoints: int
    pending: int
    oldest_pending_at: datetime | None
    due_at: datetime | None
    """When the first of them is or was to be sent, of those that no earlier one holds up."""
    exhausted: int


@dataclass(frozen=True, slots=True)
class NodeGauge:
    """The state of a chain's node, by its place in the setting, from 1."""

    chain: str
    position: int
    state: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database at one moment."""

    feed_position: int
    generation: int
    chains: Sequence[tuple[ChainStatus, ChainFacts]]
    scans: Sequence[ScanGauges]
    backlogs: Sequence[BacklogGauges]
    nodes: Sequence[NodeGauge]


async def read_gauges(database: Database, definitions: Sequence[ChainDefinition], now: datetime) -> Snapshot:
    """Read it all on one connection. Raises `DatabaseError`."""
    async with database.connection() as connection:
        installation = await connection.fetchrow("select feed_position, generation from installation")
        statuses = await chain_statuses(connection, definitions, now)
        facts = await chain_facts(connection, definitions, now)
        scans = await connection.fetch(_SCANS)
        nodes = await connection.fetch(_NODES, now - FRESH)
        return Snapshot(
            feed_position=0 if installation is None else installation["feed_position"],
            generation=0 if installation is None else installation["generation"],
            chains=[(status, facts[status.name]) for status in statuses if status.name in facts],
            scans=[ScanGauges(row["chain"], row["unfinished"], int(row["blocks_left"]), row["in_trouble"]) for row in scans],
            backlogs=await _backlogs(connection),
            nodes=[NodeGauge(row["chain"], row["position"], row["state"]) for row in nodes],
        )


async def _backlogs(connection: Connection) -> list[BacklogGauges]:
    return [
        BacklogGauges(
            state=row["state"],
            endpoints=row["endpoints"],
            pending=int(row["pending"]),
            oldest_pending_at=row["oldest"],
            due_at=row["due_at"],
            exhausted=int(row["exhausted"]),
        )
        for row in await connection.fetch(_BACKLOGS, MOST_COUNTED, _FEWEST_COUNTED)
    ]
