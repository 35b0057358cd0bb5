"""The ledger of inputs and outputs of the Bitcoin family, inside an open commit, and what mempools showed."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from chainbell.domain.utxo import Prevout
from chainbell.storage.chunks import chunks
from chainbell.storage.database import Connection
from chainbell.tracker.ports import KnownSpends, Spending

_KNOWN_SPENDS = """
select outpoint, script, amount, null as claimant from outputs where chain = $1 and outpoint = any($2::bytea[])
union all
select outpoint, null, null, tx_hash from inputs where chain = $1 and outpoint = any($2::bytea[]) and block_height is null
"""

_SPENT_BY = """
select i.outpoint, i.script, i.amount from unnest($2::bytea[]) as wanted (tx_hash) join inputs i using (tx_hash)
where i.chain = $1 and i.script is not null and i.amount is not null
"""

_CHILDREN = """
select i.tx_hash from unnest($2::bytea[]) as parent (prefix)
join inputs i on i.outpoint >= parent.prefix and i.outpoint <= parent.prefix || '\\xffffffff'::bytea
where i.chain = $1 and i.block_height is null
"""

_CLAIMED_BY = "select tx_hash, outpoint from inputs where chain = $1 and tx_hash = any($2::bytea[])"

# A node's set named every unspent output of a seeded address: one made by its block, and new to us, was spent by then.
_SAVE_OUTPUTS = """
insert into outputs (chain, outpoint, script, amount, block_height, gone_at)
select $1, o.outpoint, o.script, o.amount, o.height, a.seeded_height
from unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[]) as o (outpoint, script, amount, height)
left join addresses a on a.chain = $1 and a.address = o.script and a.removed_at is null and a.seeded_height >= o.height
on conflict (chain, outpoint) do update set block_height = coalesce(excluded.block_height, outputs.block_height),
    gone_at = case when outputs.block_height is null then excluded.gone_at else outputs.gone_at end
"""

_SAVE_INPUTS = """
insert into inputs (chain, outpoint, tx_hash, script, amount, block_height)
select $1, i.outpoint, i.tx_hash, i.script, i.amount, i.height
from unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[])
    as i (outpoint, tx_hash, script, amount, height)
on conflict (chain, outpoint, tx_hash) do update set script = coalesce(excluded.script, inputs.script),
    amount = coalesce(excluded.amount, inputs.amount), block_height = coalesce(excluded.block_height, inputs.block_height)
"""

_UNSEEDED = """
select exists (
    select from addresses where chain = $1 and outgoing_from is null and removed_at is null and seeded_height is null
)
"""

_SHOWN = """
insert into mempool_sightings (chain, tx_hash, node) select $1, seen.tx_hash, $2 from unnest($3::bytea[]) as seen (tx_hash)
on conflict (chain, tx_hash, node) do update set absent_since = null where mempool_sightings.absent_since is not null
"""

# Of what is dropped, replaced or settled nothing is asked of a mempool any more; a mempool that shows it again is.
_FORGET = """
delete from mempool_sightings s where s.chain = $1 and not exists (
    select from transactions t where t.chain = s.chain and t.tx_hash = s.tx_hash
        and t.status in ('PENDING', 'PROCESSING', 'AWAITING_CONFIRMATION')
)
"""

_SHOWN_BY = """
select s.tx_hash, s.absent_since from mempool_sightings s where s.chain = $1 and s.node = $2 and exists (
    select from transactions t where t.chain = s.chain and t.tx_hash = s.tx_hash and t.block_height is null
        and t.status in ('PENDING', 'PROCESSING')
)
"""

# What a reorg takes back comes into mempools anew: whatever was away before begins anew too.
_FORGET_ABSENCE = "update mempool_sightings set absent_since = null where chain = $1 and absent_since is not null"

_ABSENT = """
update mempool_sightings s set absent_since = $4 from unnest($3::bytea[]) as seen (tx_hash)
where s.chain = $1 and s.node = $2 and s.tx_hash = seen.tx_hash
"""


async def known_spends(connection: Connection, chain: str, outpoints: Collection[bytes]) -> KnownSpends:
    """Look up which of these outpoints are outputs that we know as ours, and which transactions in no block spend them."""
    owned: dict[bytes, Prevout] = {}
    claims: dict[bytes, set[bytes]] = defaultdict(set)
    for part in chunks(outpoints):
        for row in await connection.fetch(_KNOWN_SPENDS, chain, part):
            if row["claimant"] is None:
                owned[row["outpoint"]] = Prevout(row["script"], row["amount"])
            else:
                claims[row["outpoint"]].add(row["claimant"])
    return KnownSpends(owned, claims)


async def spent_by(connection: Connection, chain: str, tx_hashes: Collection[bytes]) -> Mapping[bytes, Prevout]:
    """Return, by outpoint, what these tracked transactions spend, as far as it is known."""
    rows = [row for part in chunks(tx_hashes) for row in await connection.fetch(_SPENT_BY, chain, part)]
    return {row["outpoint"]: Prevout(row["script"], row["amount"]) for row in rows}


async def children_of(connection: Connection, chain: str, tx_hashes: Collection[bytes]) -> Collection[bytes]:
    """Return the tracked transactions in no block that spend an output of these."""
    parents = [tx_hash[::-1] for tx_hash in tx_hashes]
    return {row["tx_hash"] for part in chunks(parents) for row in await connection.fetch(_CHILDREN, chain, part)}


async def claimed_by(connection: Connection, chain: str, tx_hashes: Collection[bytes]) -> Mapping[bytes, Collection[bytes]]:
    """Return the outpoints that these transactions spend, of those whose inputs the ledger has."""
    found: dict[bytes, set[bytes]] = defaultdict(set)
    for part in chunks(tx_hashes):
        for row in await connection.fetch(_CLAIMED_BY, chain, part):
            found[row["tx_hash"]].add(row["outpoint"])
    return found


async def save_spending(connection: Connection, chain: str, spending: Sequence[Spending]) -> None:
    """Write inputs and outputs, in the order of their keys: new, or included again."""
    outputs = sorted(((made, one.height) for one in spending for made in one.outputs), key=lambda row: row[0].outpoint)
    inputs = sorted(
        ((spent, one.height) for one in spending for spent in one.inputs), key=lambda row: (row[0].outpoint, row[0].tx_hash)
    )
    if outputs:
        await connection.execute(
            _SAVE_OUTPUTS,
            chain,
            [made.outpoint for made, _ in outputs],
            [made.script for made, _ in outputs],
            [made.amount for made, _ in outputs],
            [height for _, height in outputs],
        )
    if inputs:
        prevouts = [spent.prevout for spent, _ in inputs]
        await connection.execute(
            _SAVE_INPUTS,
            chain,
            [spent.outpoint for spent, _ in inputs],
            [spent.tx_hash for spent, _ in inputs],
            [None if prevout is None else prevout.script for prevout in prevouts],
            [None if prevout is None else prevout.amount for prevout in prevouts],
            [height for _, height in inputs],
        )


async def orphan_spending(connection: Connection, chain: str, ancestor_height: int) -> None:
    """Take back from the ledger what blocks above an ancestor spent and made; what is absent is so from now on."""
    await connection.execute(_FORGET_ABSENCE, chain)
    for table in ("outputs", "inputs"):
        await connection.execute(
            f"update {table} set block_height = null where chain = $1 and block_height > $2",  # noqa: S608 - two literals
            chain,
            ancestor_height,
        )


async def has_unseeded(connection: Connection, chain: str) -> bool:
    """Tell whether some watched address may own outputs that we do not know of, because they are older."""
    return bool(await connection.fetchval(_UNSEEDED, chain))


async def note_shown(connection: Connection, chain: str, node: str, tx_hashes: Collection[bytes]) -> None:
    """Record that a node showed these transactions, and shows them now."""
    if tx_hashes:
        await connection.execute(_SHOWN, chain, node, sorted(tx_hashes))


async def shown_by(connection: Connection, chain: str, node: str) -> Mapping[bytes, datetime | None]:
    """Return the tracked transactions in no block that a node once showed, each with since when it does not."""
    await connection.execute(_FORGET, chain)
    return {row["tx_hash"]: row["absent_since"] for row in await connection.fetch(_SHOWN_BY, chain, node)}


async def note_absent(
    connection: Connection, chain: str, node: str, tx_hashes: Collection[bytes], since: datetime | None
) -> None:
    """Record since when a node does not show these transactions; None: it does."""
    if tx_hashes:
        await connection.execute(_ABSENT, chain, node, sorted(tx_hashes), since)
