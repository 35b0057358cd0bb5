"""``chainbell transactions``, ``events``, ``deliveries`` and ``status``."""

from typing import Annotated, Literal
from uuid import UUID

import typer

from chainbell.cli.options import LOOK, RUN, Account, AsJson, Chain, Cursor, Limit, examples

_EVENT = "evt_6kq2mzt4l2m7q3w5vbe2xz6kfg"

StatusName = Literal[
    "PENDING", "PROCESSING", "AWAITING_CONFIRMATION", "SUCCESS", "FAILED", "DROPPED", "REPLACED", "REVERTED"
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        rich_help_panel=LOOK,
        epilog=examples(
            "chainbell transactions --chain ethereum --status SUCCESS",
            "chainbell transactions --address 0x52908400098527886E0F7030069857D2E4169EE7 --json",
        ),
    )(transactions)
    app.command(
        rich_help_panel=LOOK, epilog=examples("chainbell events", "chainbell events --after MDo0Mg --limit 200 --json")
    )(events)
    app.command(
        rich_help_panel=LOOK,
        epilog=examples("chainbell deliveries --status exhausted", f"chainbell deliveries --event {_EVENT} --json"),
    )(deliveries)
    app.command(rich_help_panel=RUN, epilog=examples("chainbell status", "chainbell status --json"))(status)


def transactions(  # noqa: PLR0913 - one parameter for each option
    type_: Annotated[
        Literal["DEPOSIT", "TRANSFER", "CONTRACT"] | None, typer.Option("--type", help="Only of this type.")
    ] = None,
    status: Annotated[StatusName | None, typer.Option(help="Only in this status.")] = None,
    chain: Chain = None,
    address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only of this watched address.")] = None,
    hash_: Annotated[
        str | None,
        typer.Option("--hash", metavar="HASH", help="Only of this transaction on chain: 64 digits, 0x before them or not."),
    ] = None,
    account: Account = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List tracked deposits and transfers, those first seen last in front."""
    from chainbell.cli.work import transactions as work

    work.show(work.Wanted(type_, status, chain, address, hash_, account), limit, cursor, as_json=as_json)


def events(
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Read on behind this cursor. Default: the oldest event kept.")
    ] = None,
    limit: Limit = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Read the feed of events, oldest first, in the order in which they were committed."""
    from chainbell.cli.work import events as work

    work.show(after, limit, as_json=as_json)


def deliveries(  # noqa: PLR0913 - one parameter for each option
    endpoint: Annotated[UUID | None, typer.Option(metavar="UUID", help="Only to this endpoint.")] = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Only of this event, evt_...")] = None,
    status: Annotated[Literal["pending", "succeeded", "exhausted"] | None, typer.Option(help="Only in this status.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List what was sent to endpoints, or will be, newest first."""
    from chainbell.cli.work import deliveries as work

    work.show(work.Wanted(endpoint, event, status), limit, cursor, as_json=as_json)


def status(*, as_json: AsJson = False) -> None:
    """Show how far each chain is followed, what endpoints have not taken, and where the feed ends."""
    from chainbell.cli.work import status as work

    work.show(as_json=as_json)
