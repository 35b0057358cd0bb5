"""Events of the pull feed: the bytes that webhooks carry, each with its cursor."""

from typing import Any

import orjson

from chainbell.api.views.wire import Wire
from chainbell.storage.event_list import FeedPage, StoredEvent


class EventView(Wire):
    """An event, and the cursor that stands right behind it."""

    cursor: str
    event: dict[str, Any]
    """The body of the v2 webhook, byte for byte as it was stored."""


class FeedView(Wire):
    """Events in commit order."""

    items: list[EventView]
    next_cursor: str
    """Pass it as ``after`` to read on; at the end of the feed it is the position reached."""
    has_more: bool
    """Whether more is there already."""


def event_json(event: StoredEvent) -> bytes:
    """Return an event with its cursor; its body goes in as it was stored, not parsed and written again."""
    return b'{"cursor":' + orjson.dumps(str(event.cursor)) + b',"event":' + event.body_v2 + b"}"


def feed_json(page: FeedPage) -> bytes:
    """Return a page of the feed."""
    items = b",".join(event_json(event) for event in page.events)
    tail = orjson.dumps({"nextCursor": str(page.next_cursor), "hasMore": page.has_more})
    return b'{"items":[' + items + b"]," + tail[1:]
