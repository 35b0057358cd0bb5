"""The feed of events: written once, in commit order, without holes."""

from collections.abc import Collection, Mapping, Sequence

from chainbell.domain.delivery import Endpoint, FeedEvent
from chainbell.domain.identity import canonical
from chainbell.events.publish import FeedHead, Telling
from chainbell.storage.database import Connection
from chainbell.storage.endpoints import live_endpoints
from chainbell.storage.locks import lock_feed
from chainbell.storage.wakeups import EVENTS_CHANNEL, notify

# What was pruned is counted too: an event told again has another id, also where the first is not kept any more.
_TOLD = """
with wanted as (select * from unnest($1::text[], $2::text[], $3::bytea[]) as wanted (resource_id, type, occasion))
select resource_id, type, occasion, sum(times)::bigint as times from (
    select resource_id, type, occasion, count(*) as times
    from wanted join events using (resource_id, type, occasion) group by resource_id, type, occasion
    union all
    select resource_id, type, occasion, times from wanted join pruned_tellings using (resource_id, type, occasion)
) told group by resource_id, type, occasion
"""

_INSERT_EVENT = """
insert into events (position, id, type, v1_type, resource_id, sequence, occasion, mode, chain, account_id, generation,
                    created_at, body_v2, body_v1, silent)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""

_INSERT_DELIVERY = """
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, created_at,
                        updated_at)
values ($1, $2, $3, $4, 'pending', $5, $5, $5)
"""


class Feed:
    """The feed inside one open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self) -> FeedHead:
        """Take the feed lock, then read where the feed ends."""
        await lock_feed(self._connection)
        row = await self._connection.fetchrow("select feed_position, generation from installation")
        if row is None:
            message = "the table installation is empty"
            raise AssertionError(message)
        return FeedHead(row["feed_position"], row["generation"])

    async def times_told(self, tellings: Collection[Telling]) -> Mapping[Telling, int]:
        """Count the events that told these before."""
        wanted = {(t.resource_id, t.type, canonical(t.occasion)): t for t in tellings}
        columns = [list(column) for column in zip(*wanted, strict=True)]
        rows = await self._connection.fetch(_TOLD, *columns)
        return {wanted[row["resource_id"], row["type"], row["occasion"]]: row["times"] for row in rows}

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return every endpoint that is not deleted."""
        return await live_endpoints(self._connection)

    async def append(self, events: Sequence[FeedEvent], receivers: Mapping[str, Sequence[str]]) -> None:
        """Write events, deliveries and the counter, and wake whoever delivers."""
        await self._connection.executemany(_INSERT_EVENT, [_event_row(event) for event in events])
        deliveries = [
            (endpoint_id, event.position, event.resource_id, event.account_id, event.at)
            for event in events
            for endpoint_id in receivers[event.id]
        ]
        await self._connection.executemany(_INSERT_DELIVERY, deliveries)
        await self._connection.execute("update installation set feed_position = $1", events[-1].position)
        await notify(self._connection, EVENTS_CHANNEL)


def _event_row(event: FeedEvent) -> tuple[object, ...]:
    return (
        event.position,
        event.id,
        event.type,
        event.v1_type,
        event.resource_id,
        event.sequence,
        canonical(event.occasion),
        event.mode.value,
        event.chain,
        event.account_id,
        event.generation,
        event.at,
        event.body_v2,
        event.body_v1,
        event.silent,
    )
