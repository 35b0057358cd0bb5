"""What tells whether a chain stands still: how it stands, what its nodes showed, and its own pace."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.node import NodeState
from chainbell.storage.database import Connection
from chainbell.storage.node_states import FRESH
from chainbell.watcher.stall import PACE_BLOCKS, ChainFacts, pace_of

_FACTS = """
select c.name, c.cursor_height, c.advanced_at, c.halted,
    coalesce(c.lease_until > clock_timestamp(), false) as followed,
    (select b.mined_at from blocks b where b.chain = c.name and b.hash = c.cursor_hash) as cursor_mined_at,
    array(select b.mined_at from blocks b
        where b.chain = c.name and b.orphaned_at is null and b.mined_at is not null and b.height >= c.cursor_height - $2
        order by b.height) as mined_at,
    tip.tip_height, tip.tip_at
from chains c left join lateral (
    select n.tip_height, n.tip_at from node_states n
    where n.chain = c.name and n.state = $3 and n.tip_height is not null and n.reported_at > $4
    order by n.position limit 1
) tip on true
where c.name = any($1::text[])
"""


async def chain_facts(
    connection: Connection, definitions: Sequence[ChainDefinition], now: datetime
) -> dict[str, ChainFacts]:
    """Return, by name, how those of these chains stand that were ever started."""
    known = {definition.name: definition for definition in definitions}
    rows = await connection.fetch(_FACTS, list(known), PACE_BLOCKS, NodeState.HEALTHY.value, now - FRESH)
    return {
        row["name"]: ChainFacts(
            cursor_height=row["cursor_height"],
            cursor_mined_at=row["cursor_mined_at"],
            advanced_at=row["advanced_at"],
            halted=row["halted"],
            followed=row["followed"],
            tip_height=row["tip_height"],
            tip_at=row["tip_at"],
            pace=pace_of(row["mined_at"], timedelta(seconds=known[row["name"]].block_seconds)),
            mined_on_demand=known[row["name"]].genesis_hash is None,
        )
        for row in rows
    }
