"""What ``chainbell deliveries`` does."""

from dataclasses import dataclass
from uuid import UUID

from chainbell.api.resource_ids import require_id
from chainbell.api.views.delivery import DeliveryView, LastAttemptView
from chainbell.app.services import Services
from chainbell.cli.work.output import print_lines, print_table, say_next
from chainbell.cli.work.session import with_services
from chainbell.domain.delivery import DeliveryStatus
from chainbell.events.v2 import wire_time
from chainbell.storage.delivery_log import DeliveryFilter
from chainbell.storage.paging import Page, PageRequest


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries to list; None stands for all."""

    endpoint: UUID | None
    event: str | None
    status: str | None


def show(wanted: Wanted, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List deliveries."""
    chosen = DeliveryFilter(
        endpoint_id=None if wanted.endpoint is None else str(wanted.endpoint),
        event_id=None if wanted.event is None else require_id(wanted.event, "event"),
        status=None if wanted.status is None else DeliveryStatus(wanted.status),
    )

    async def work(services: Services) -> Page[DeliveryView]:
        page = await services.deliveries.list(chosen, PageRequest(limit, cursor))
        return Page([DeliveryView.of(delivery) for delivery in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        print_table(
            ["id", "status", "failed attempts", "last attempt", "next attempt", "type", "event", "endpoint"],
            [_row(view) for view in page.items],
            "there is no delivery that fits",
        )
    say_next("--cursor", page.next_cursor)


def _row(view: DeliveryView) -> list[str | None]:
    planned = None if view.next_attempt_at is None else wire_time(view.next_attempt_at)
    return [
        str(view.id),
        view.status.value,
        str(view.attempts),
        None if view.last_attempt is None else _came_to(view.last_attempt),
        planned,
        view.event_type,
        view.event_id,
        str(view.endpoint_id),
    ]


def _came_to(attempt: LastAttemptView) -> str:
    """Say what an attempt came to: why there was no complete answer, else the answer's status code."""
    return attempt.error or f"{attempt.outcome}: {attempt.status_code}"
