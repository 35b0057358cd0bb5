"""How the nodes of each chain fare, and with it how far the chain is behind them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chainbell.domain.node import Hints, HintsState, NodeState, NodeStatus, Tip
from chainbell.storage.database import Database, Record

FRESH = timedelta(seconds=60)
"""A report that is older says nothing of now: nobody follows the chain any more."""

_REPORT = """
with entitled as (
    select where not exists (select from chains where name = $1)
        or exists (select from chains where name = $1 and follower = $2 and lease_until > clock_timestamp())
), gone as (
    delete from node_states where chain = $1 and position > $4 and exists (select from entitled)
)
insert into node_states (chain, reported_by, reported_at, position, name, state, reason, since, tip_height, tip_at,
                         last_failure, failed_at, hints_state, hints_since, hints_reason)
select $1, $2, $3, node.* from entitled, unnest(
    $5::integer[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[], $11::timestamptz[],
    $12::text[], $13::timestamptz[], $14::text[], $15::timestamptz[], $16::text[]
) as node
on conflict (chain, position) do update set
    name = excluded.name, state = excluded.state, reason = excluded.reason, since = excluded.since,
    tip_height = excluded.tip_height, tip_at = excluded.tip_at,
    last_failure = excluded.last_failure, failed_at = excluded.failed_at,
    hints_state = excluded.hints_state, hints_since = excluded.hints_since, hints_reason = excluded.hints_reason,
    reported_by = excluded.reported_by, reported_at = excluded.reported_at
returning true
"""

_STATES = "select * from node_states where chain = any($1::text[]) order by chain, position"

_LAGS = """
select c.name, greatest(n.tip_height - c.cursor_height, 0) as blocks,
    case when n.tip_height <= c.cursor_height then 0 when b.mined_at is null then null
        else greatest(extract(epoch from n.tip_at - b.mined_at), 0) end::float8 as seconds
from chains c
join lateral (
    select s.tip_height, s.tip_at from node_states s
    where s.chain = c.name and s.state = $2 and s.tip_height is not null and s.reported_at > $3
    order by s.position limit 1
) n on true
left join blocks b on b.chain = c.name and b.hash = c.cursor_hash
where c.name = any($1::text[])
"""


@dataclass(frozen=True, slots=True)
class ReportedNode:
    """One node of a chain, as it was last reported."""

    position: int
    """From 1, in order of preference."""
    status: NodeStatus
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the cursor of a chain is behind the tip of the node in use."""

    blocks: int
    seconds: float | None
    """Between the two blocks, by their own times; None while the cursor's time is not known: before the first commit."""


@dataclass(frozen=True, slots=True)
class ChainNodes:
    """The nodes of one chain, in order of preference; none where none was ever reported."""

    nodes: tuple[ReportedNode, ...] = ()
    lag: Lag | None = None
    """None while that is not known: no node is healthy, or nobody reported lately."""


class NodeStates:
    """Reads and writes how nodes fare."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, chain: str, follower: str, nodes: Sequence[NodeStatus], now: datetime) -> bool:
        """Record how all nodes of a chain are, in order of preference.

        False, and nothing is written, unless ``follower`` holds the chain's lease, or nobody can: it was never started.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _REPORT,
                chain,
                follower,
                now,
                len(nodes),
                list(range(1, len(nodes) + 1)),
                [node.name for node in nodes],
                [node.state.value for node in nodes],
                [node.reason for node in nodes],
                [node.since for node in nodes],
                [node.tip and node.tip.height for node in nodes],
                [node.tip and node.tip.mined_at for node in nodes],
                [node.last_failure for node in nodes],
                [node.failed_at for node in nodes],
                [node.hints and node.hints.state.value for node in nodes],
                [node.hints and node.hints.since for node in nodes],
                [node.hints and node.hints.reason for node in nodes],
            )
        return bool(rows)

    async def of(self, chains: Collection[str], now: datetime) -> Mapping[str, ChainNodes]:
        """Return how the nodes of these chains fare, and how far each chain is behind the first healthy one."""
        async with self._database.connection() as connection:
            states = await connection.fetch(_STATES, list(chains))
            lags = await connection.fetch(_LAGS, list(chains), NodeState.HEALTHY.value, now - FRESH)
        nodes: dict[str, list[ReportedNode]] = defaultdict(list)
        for row in states:
            nodes[row["chain"]].append(_reported(row))
        behind = {row["name"]: Lag(row["blocks"], row["seconds"]) for row in lags}
        return {chain: ChainNodes(tuple(nodes[chain]), behind.get(chain)) for chain in chains}


def _reported(row: Record) -> ReportedNode:
    state = row["hints_state"]
    status = NodeStatus(
        name=row["name"],
        state=NodeState(row["state"]),
        reason=row["reason"],
        since=row["since"],
        tip=None if row["tip_height"] is None else Tip(row["tip_height"], row["tip_at"]),
        last_failure=row["last_failure"],
        failed_at=row["failed_at"],
        hints=None if state is None else Hints(HintsState(state), row["hints_since"], row["hints_reason"]),
    )
    return ReportedNode(row["position"], status, row["reported_at"])
