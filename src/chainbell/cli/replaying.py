"""``chainbell replay`` and ``replays``."""

from typing import Annotated
from uuid import UUID

import typer

from chainbell.cli.options import SEND_AGAIN, AsJson, Cursor, Limit, examples

_MOST = 2**63 - 1
_ID = "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        rich_help_panel=SEND_AGAIN,
        epilog=examples(
            "chainbell replay 42",
            f"chainbell replay --endpoint {_ID} --failed",
            f"chainbell replay --endpoint {_ID} --missing --since 2026-11-01T00:00:00Z",
            f"chainbell replay --endpoint {_ID} --since 2026-11-01T08:00:00Z --until 2026-11-01T12:00:00Z",
        ),
    )(replay)
    app.command(
        rich_help_panel=SEND_AGAIN, epilog=examples("chainbell replays", f"chainbell replays --endpoint {_ID} --json")
    )(replays)


def replay(  # noqa: PLR0913 - one parameter for each option
    delivery_id: Annotated[
        int | None,
        typer.Argument(metavar="DELIVERY_ID", min=1, max=_MOST, help="One delivery, as `chainbell deliveries` shows it."),
    ] = None,
    endpoint: Annotated[UUID | None, typer.Option(metavar="UUID", help="Many deliveries: those to this endpoint.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only events from then on, as in 2026-11-01T08:00:00Z or 2026-11-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only events before then. Default: until now.")] = None,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Only events behind this cursor of the feed.")] = None,
    through: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Only events up to this cursor of the feed, and with it.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="What was given up after its last attempt.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="What its filter takes and it never got, as from before it was registered.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send again what was sent, or given up: the same ids and bytes, each on a fresh schedule.

    With --endpoint: what was given up (--failed), what is missing (--missing), or else everything of a time, whether it was
    taken or not. Interrupt it, and the replay goes on in `chainbell run`; `chainbell replays` shows how far it is.
    """
    bounds = (since, until, after, through)
    if delivery_id is not None:
        if endpoint is not None or failed or missing or as_json or any(bound is not None for bound in bounds):
            message = "one delivery is replayed by its id alone: leave the options away, or the id"
            raise typer.BadParameter(message)
        from chainbell.cli.work import replays as work

        work.one(delivery_id)
        return
    _check_many(endpoint, failed=failed, missing=missing, begins=since is not None or after is not None)
    if endpoint is not None:
        from chainbell.cli.work import replays as work

        what = "failed" if failed else "missing" if missing else "range"
        work.many(work.Wanted(endpoint, what, *bounds), as_json=as_json)


def _check_many(endpoint: UUID | None, *, failed: bool, missing: bool, begins: bool) -> None:
    """Raise `typer.BadParameter` for what says nothing, or two things."""
    message = None
    if endpoint is None:
        message = "say what to send again: the id of a delivery, or --endpoint with --failed, --missing or --since"
    elif failed and missing:
        message = "--failed and --missing are two replays: ask for one after the other"
    elif not failed and not begins:
        message = "say from when on: --since and a time, or --after and a cursor; or --failed for what was given up"
    if message is not None:
        raise typer.BadParameter(message)


def replays(
    endpoint: Annotated[UUID | None, typer.Option(metavar="UUID", help="Only to this endpoint.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List replays of many deliveries, newest first, with their progress."""
    from chainbell.cli.work import replays as work

    work.show(endpoint, limit, cursor, as_json=as_json)
