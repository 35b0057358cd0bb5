"""What ``chainbell events`` does."""

from chainbell.api.views.event import event_json
from chainbell.app.services import Services
from chainbell.cli.work.output import print_lines, print_table, say
from chainbell.cli.work.session import with_services
from chainbell.domain.errors import ConflictError
from chainbell.events.v2 import wire_time
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.event_list import FeedCursor, FeedPage, ForeignCursor, PrunedAway, StoredEvent


def show(after: str | None, limit: int, *, as_json: bool) -> None:
    """Read the feed."""
    cursor = None if after is None else FeedCursor.parse(after)

    async def work(services: Services) -> FeedPage:
        match await services.events.after(cursor, OPERATOR, limit):
            case FeedPage() as page:
                return page
            case ForeignCursor(resume_from):
                why = "this cursor is of another generation of the database, or ahead of the feed"
                raise _lost(why, resume_from)
            case PrunedAway(resume_from):
                why = "events after this cursor were pruned"
                raise _lost(why, resume_from)

    page = with_services(work)
    if as_json:
        print_lines(event_json(event) for event in page.events)
    else:
        print_table(
            ["cursor", "at", "mode", "chain", "type", "sequence", "of", "event"],
            [_row(event) for event in page.events],
            "there is no event behind this cursor" if after else "there is no event yet",
        )
    say(f"{'more' if page.has_more else 'to read on later'}: add --after {page.next_cursor}")


def _lost(why: str, resume_from: FeedCursor) -> ConflictError:
    return ConflictError(f"{why}: go on with --after {resume_from}")


def _row(event: StoredEvent) -> list[str]:
    return [
        str(event.cursor),
        wire_time(event.created_at),
        event.mode.value,
        event.chain,
        event.type,
        str(event.sequence),
        event.resource_id,
        event.id,
    ]
