"""The end of every commit that writes events: number them, render them, fan them out."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chainbell.domain.delivery import Endpoint, FeedEvent
from chainbell.domain.identity import event_id
from chainbell.domain.transaction import TransactionEvent
from chainbell.events import v1, v2
from chainbell.events.catalogue import V1_TYPES
from chainbell.events.subscription import subscribes


@dataclass(frozen=True, slots=True)
class Telling:
    """One resource, one type, one occasion: what counts as telling the same again."""

    resource_id: str
    type: str
    occasion: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FeedHead:
    """The end of the feed, as read under the feed lock."""

    position: int
    generation: int


class Feed(Protocol):
    """The feed inside an open transaction."""

    async def lock(self) -> FeedHead:
        """Take the feed lock, the last lock of a transaction, and read where the feed ends."""
        ...

    async def times_told(self, tellings: Collection[Telling]) -> Mapping[Telling, int]:
        """Count the events that told these before."""
        ...

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return every endpoint that is not deleted."""
        ...

    async def append(self, events: Sequence[FeedEvent], receivers: Mapping[str, Sequence[str]]) -> None:
        """Write numbered events, their deliveries (event id to endpoint ids) and the new end of the feed; notify once."""
        ...


async def publish(feed: Feed, events: Sequence[TransactionEvent]) -> Sequence[FeedEvent]:
    """Write events to the feed, in this order, with a delivery for each endpoint that subscribes to it; return them."""
    if not events:
        return []
    head = await feed.lock()
    counted = await _count_repeats(feed, events)
    stored = [_store(event, head, number) for number, event in enumerate(counted, start=1)]
    endpoints = await feed.endpoints()
    receivers = {event.id: [endpoint.id for endpoint in endpoints if subscribes(endpoint, event)] for event in stored}
    await feed.append(stored, receivers)
    return stored


async def _count_repeats(feed: Feed, events: Sequence[TransactionEvent]) -> list[TransactionEvent]:
    tellings = [Telling(event.transaction.uid, event.type, event.occasion) for event in events]
    told = Counter(await feed.times_told(set(tellings)))
    counted = []
    for event, telling in zip(events, tellings, strict=True):
        counted.append(replace(event, repeat=told[telling]))
        told[telling] += 1
    return counted


def _store(event: TransactionEvent, head: FeedHead, number: int) -> FeedEvent:
    subject = event.transaction.subject
    derived = event_id(event.transaction.uid, event.type, event.occasion, event.repeat)
    return FeedEvent(
        position=head.position + number,
        id=derived,
        type=event.type,
        v1_type=V1_TYPES[event.type],
        resource_id=event.transaction.uid,
        sequence=event.transaction.sequence,
        occasion=event.occasion,
        mode=subject.chain.mode,
        chain=subject.chain.name,
        account_id=subject.account_id,
        generation=head.generation,
        at=event.at,
        body_v2=v2.render(event, derived, head.generation),
        body_v1=v1.render(event),
        silent=event.transaction.silent,
    )
