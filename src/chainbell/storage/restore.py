"""A database that was restored from a backup: what it still holds, and how its next generation begins."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chainbell.storage.audit import Deed, write_audit
from chainbell.storage.chunks import chunks
from chainbell.storage.database import Connection, Database, Record
from chainbell.storage.endpoints import DISABLED_BY_HAND, to_endpoint
from chainbell.storage.locks import lock_chain, lock_feed
from chainbell.storage.losses import Registered, Remembered, Retired
from chainbell.storage.registrations import endpoint_saved, note, restored

# The newest moment of which the database knows: a backup reaches at least so far.
_REACH = """
select greatest(
    (select max(advanced_at) from chains),
    (select created_at from events order by position desc limit 1),
    (select max(created_at) from addresses), (select max(removed_at) from addresses),
    (select max(created_at) from keys), (select max(handed_out_at) from addresses),
    (select max(updated_at) from endpoints),
    (select max(created_at) from api_keys), (select max(revoked_at) from api_keys))
"""

_STATE = """
select i.generation, i.feed_position, g.began_at, g.began_behind, g.backup_reach,
    (select count(*) from deliveries where status = 'pending') as pending
from installation i left join generations g using (generation)
"""

_CHAINS = """
select name, cursor_height, case when lease_until > clock_timestamp() then follower end as follower from chains order by name
"""

_WATCHED = """
select a.chain, a.address, a.account_id, a.key_id is not null and a.handed_out_at is null as window_only
from unnest($1::text[], $2::bytea[]) as wanted (chain, address)
join addresses a using (chain, address) where a.removed_at is null
"""

_RETIRED = """
select chain, address from retired_addresses
union select chain, address from addresses where key_id is not null and removed_at is not null
"""

_TAKE_OUT = """
update addresses a set handed_out_at = $3, removed_at = $3 from unnest($2::bytea[]) as wanted (address)
where a.chain = $1 and a.address = wanted.address and a.removed_at is null
    and a.key_id is not null and a.handed_out_at is null
"""

_RETIRE = """
insert into retired_addresses (chain, address) select $1, address from unnest($2::bytea[]) as wanted (address)
on conflict do nothing
"""

_KEYS = "select chain, identity from keys"

_FENCE_OFF = "update chains set fence = fence + $2, lease_until = null, follower = null where name = $1"

_NEXT_GENERATION = """
update installation set generation = greatest(generation, $1) + 1 returning generation, feed_position
"""

_FENCE_OFF_DELIVERIES = """
update deliveries set fence = fence + $1, lease_until = null where status = 'pending'
"""

_LEAP_IDS = """
select setval(pg_get_serial_sequence('deliveries', 'id'), nextval(pg_get_serial_sequence('deliveries', 'id')) + $1)
"""


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What a database holds before its next generation begins."""

    generation: int
    feed_position: int
    reach: datetime | None
    """The newest moment of which it knows; None: it is empty."""
    former_reach: datetime | None
    """The same of the backup from which this generation began, where it did: what was lost then may still be missing."""
    began_at: datetime | None
    """When its generation began."""
    told_since: int
    """Events since then."""
    pending: int
    """Deliveries that will be sent, or sent once more."""
    cursors: dict[str, int]
    """Height of each chain's cursor, by name."""
    followers: dict[str, str]
    """Who follows a chain at this moment, by its name: nobody should."""


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A generation that has begun."""

    generation: int
    began_behind: int
    """Position of the newest event before it."""


async def restored_state(database: Database) -> RestoredState:
    """Read what a database holds."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_STATE)
        reach = await connection.fetchval(_REACH)
        chains = await connection.fetch(_CHAINS)
    if row is None:
        message = "the table installation is empty"
        raise AssertionError(message)
    told_since = row["feed_position"] - (row["began_behind"] or 0)
    return RestoredState(
        generation=row["generation"],
        feed_position=row["feed_position"],
        reach=reach,
        former_reach=row["backup_reach"],
        began_at=row["began_at"],
        told_since=told_since,
        pending=row["pending"],
        cursors={chain["name"]: chain["cursor_height"] for chain in chains},
        followers={chain["name"]: chain["follower"] for chain in chains if chain["follower"] is not None},
    )


async def registered_now(database: Database, remembered: Remembered) -> Registered:
    """Look up what is registered of that which journals tell of."""
    async with database.connection() as connection:
        watched = await _watched(connection, list(remembered.addresses))
        retired = await connection.fetch(_RETIRED)
        extended = await connection.fetch(_KEYS)
        endpoints = await connection.fetch("select * from endpoints where deleted_at is null")
        keys = await connection.fetch("select id, revoked_at from api_keys")
    return Registered(
        {(row["chain"], row["address"]): str(row["account_id"]) for row in watched if not row["window_only"]},
        {str(row["id"]): _in_words_of_the_journal(row) for row in endpoints},
        {str(row["id"]): row["revoked_at"] is not None for row in keys},
        {(row["chain"], row["identity"].hex()) for row in extended},
        {(row["chain"], row["address"]) for row in watched if row["window_only"]},
        {(row["chain"], row["address"]) for row in retired},
    )


async def begin_generation(  # noqa: PLR0913 - what the life before leaves to this one
    database: Database,
    deed: Deed,
    reach: datetime | None,
    *,
    above: int,
    leap: int,
    retired: Sequence[Retired] = (),
) -> NewGeneration:
    """Begin the next generation, higher than `above`, and make sure that nothing of an earlier life can write any more.

    `reach` is the newest moment that the backup knew of.
    `leap` is a large number drawn by chance: fences and the ids of deliveries go up by it, so that a process that was frozen
    before the restore holds no fence that is ever valid again, and its claims meet no delivery of this life.
    No window of a key watches what is `retired` any more, or hands it out.
    """
    async with database.connection() as connection:
        chains = [row["name"] for row in await connection.fetch(_CHAINS)]
    # A chain of which only the journal knows may be followed again, and its key registered.
    for chain in sorted({*chains, *(one.chain for one in retired)}):
        async with database.transaction() as connection:
            await lock_chain(connection, chain)
            await connection.execute(_FENCE_OFF, chain, leap)
            # As of the backup's newest moment: another `restored` must not take it for younger.
            await _retire(connection, chain, [one.address for one in retired if one.chain == chain], reach or deed.at)
    async with database.transaction() as connection:
        await lock_feed(connection)
        row = await connection.fetchrow(_NEXT_GENERATION, above)
        if row is None:
            message = "the table installation is empty"
            raise AssertionError(message)
        begun = NewGeneration(row["generation"], row["feed_position"])
        await connection.execute(
            "insert into generations (generation, began_behind, began_at, backup_reach) values ($1, $2, $3, $4)",
            begun.generation,
            begun.began_behind,
            deed.at,
            reach,
        )
        await connection.execute(_FENCE_OFF_DELIVERIES, leap)
        await connection.execute(_LEAP_IDS, leap)
        result = {"generation": begun.generation, "beganBehind": begun.began_behind}
        await write_audit(connection, "restored", deed, result)
        note(connection, restored(begun.generation, begun.began_behind, deed.at))
    return begun


async def _retire(connection: Connection, chain: str, addresses: Sequence[bytes], at: datetime) -> None:
    for portion in chunks(addresses):
        await connection.execute(_TAKE_OUT, chain, portion, at)
        await connection.execute(_RETIRE, chain, portion)


async def _watched(connection: Connection, wanted: Collection[tuple[str, bytes]]) -> list[Record]:
    found: list[Record] = []
    for portion in chunks(wanted):
        chains, addresses = [chain for chain, _ in portion], [address for _, address in portion]
        found += await connection.fetch(_WATCHED, chains, addresses)
    return found


def _in_words_of_the_journal(row: Record) -> dict[str, Any]:
    endpoint = to_endpoint(row)
    by_hand = endpoint.disabled_reason == DISABLED_BY_HAND
    return {**endpoint_saved(endpoint, row["updated_at"]).members, "disabledByHand": by_hand}
