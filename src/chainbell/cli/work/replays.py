"""What ``chainbell replay`` and ``chainbell replays`` do."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chainbell.api.times import parse_moment
from chainbell.api.views.replay import ReplayJobView
from chainbell.app.replaying import work_off
from chainbell.app.services import Services
from chainbell.cli.work.output import print_lines, print_table, say, say_next
from chainbell.cli.work.progress import progress
from chainbell.cli.work.session import with_services
from chainbell.domain.errors import DatabaseError
from chainbell.events.v2 import wire_time
from chainbell.storage.event_list import FeedCursor
from chainbell.storage.paging import Page, PageRequest
from chainbell.storage.replays import NewReplay, Replay, ReplayKind
from chainbell.telemetry.clock import now

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to send again to one endpoint; None bounds nothing."""

    endpoint: UUID
    what: str
    since: str | None
    until: str | None
    after: str | None
    through: str | None


def one(delivery_id: int) -> None:
    """Send one delivery again."""

    async def work(services: Services) -> None:
        await services.replays.delivery(delivery_id, now())

    with_services(work)
    say(f"delivery {delivery_id} is queued again: `chainbell run` sends it")


def many(wanted: Wanted, *, as_json: bool) -> None:
    """Send much again, and show how far that is until all of it is queued."""
    new = NewReplay(
        endpoint_id=str(wanted.endpoint),
        what=ReplayKind(wanted.what),
        since=None if wanted.since is None else parse_moment(wanted.since, "--since"),
        until=None if wanted.until is None else parse_moment(wanted.until, "--until"),
        after=None if wanted.after is None else FeedCursor.parse(wanted.after),
        through=None if wanted.through is None else FeedCursor.parse(wanted.through),
    )
    made: list[Replay] = []

    async def work(services: Services) -> Replay:
        made.append(await services.replay_jobs.create(new, now()))
        return await _work_off(services, made[0])

    try:
        ended = with_services(work)
    except KeyboardInterrupt:
        _say_that_it_goes_on(made)
        raise SystemExit(_INTERRUPTED) from None
    except DatabaseError:
        _say_that_it_goes_on(made)
        raise
    if as_json:
        print_lines([ReplayJobView.of(ended).to_json()])
    say(_outcome(ended))


async def _work_off(services: Services, replay: Replay) -> Replay:
    counted = "exhausted deliveries" if replay.what is ReplayKind.FAILED else "events"
    say(f"replay {replay.id}: {replay.total:,} {counted} to look at")
    reached = replay
    with progress(counted, replay.total) as show:
        async for reached in work_off(services.database, replay):
            show(reached.checked, f"{reached.queued:,} queued")
    return reached


def _say_that_it_goes_on(made: Sequence[Replay]) -> None:
    for replay in made:
        say(f"replay {replay.id} is not cancelled: `chainbell run` goes on with it; `chainbell replays` shows how far it is")


def _outcome(replay: Replay) -> str:
    queued = f"{replay.queued:,} deliveries are queued"
    if replay.stopped_reason is not None:
        return f"stopped, {replay.stopped_reason}: {queued}"
    return f"{queued}: `chainbell run` sends them" if replay.queued else "nothing was to be queued"


def show(endpoint: UUID | None, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List replays."""
    endpoint_id = None if endpoint is None else str(endpoint)

    async def work(services: Services) -> Page[ReplayJobView]:
        page = await services.replay_jobs.list(endpoint_id, PageRequest(limit, cursor))
        return Page([ReplayJobView.of(replay) for replay in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        print_table(
            ["asked for", "what", "state", "looked at", "queued", "endpoint", "id"],
            [_row(view) for view in page.items],
            "nothing was replayed yet but single deliveries: `chainbell replay --help` says how",
        )
    say_next("--cursor", page.next_cursor)


def _row(view: ReplayJobView) -> list[str]:
    return [
        wire_time(view.created_at),
        view.what.value,
        _state(view),
        f"{view.checked:,} of {view.total:,}",
        f"{view.queued:,}",
        str(view.endpoint_id),
        str(view.id),
    ]


def _state(view: ReplayJobView) -> str:
    if view.stopped_reason is not None:
        return f"stopped: {view.stopped_reason}"
    return "going on" if view.finished_at is None else "finished"
