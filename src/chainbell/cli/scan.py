"""``chainbell scan`` and ``coverage``."""

from typing import Annotated
from uuid import UUID

import typer

from chainbell.cli.options import LOOK, AsJson, Chain, Cursor, Limit, examples

app = typer.Typer(no_args_is_help=True, help="Blocks of the past that are read for addresses.")

_ID = "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"
_ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
_MOST = 2**63 - 1

FromHeight = Annotated[
    int | None,
    typer.Option(
        metavar="HEIGHT", min=0, max=_MOST, help="Read the past too, down to this block. Needs --notify or --no-notify."
    ),
]
Notify = Annotated[
    bool | None,
    typer.Option(
        "--notify/--no-notify",
        help="Ring endpoints for deposits of the past too; or put them on the feed and into listings only.",
        show_default=False,
    ),
]


def register(main: typer.Typer) -> None:
    """Add these commands."""
    main.add_typer(app, name="scan", rich_help_panel=LOOK)
    main.command(
        rich_help_panel=LOOK,
        epilog=examples(
            "chainbell coverage",
            "chainbell coverage ethereum --address 0x52908400098527886E0F7030069857D2E4169EE7",
            "chainbell coverage --json",
        ),
    )(coverage)


def check_history(from_height: int | None, notify: bool | None) -> None:  # noqa: FBT001 - as it was typed
    """Raise `typer.BadParameter` where one of the two is missing: nobody guesses whether merchants are told."""
    if from_height is not None and notify is None:
        message = (
            "--from-height needs --notify or --no-notify, since receivers act on webhooks: --notify rings endpoints for "
            "deposits of the past too, --no-notify puts them on the feed and into listings only"
        )
        raise typer.BadParameter(message)
    if from_height is None and notify is not None:
        message = "--notify and --no-notify say what becomes of the past: give --from-height as well, or leave them out"
        raise typer.BadParameter(message)


@app.command("list", epilog=examples("chainbell scan list --unfinished", "chainbell scan list --chain ethereum --json"))
def list_(
    chain: Chain = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only those that go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """List scans of the past, newest first, with their progress."""
    from chainbell.cli.work import scans

    scans.show(chain, limit, cursor, unfinished=unfinished, as_json=as_json)


@app.command("show", epilog=examples(f"chainbell scan show {_ID} --follow"))
def show(
    scan_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `chainbell scan list` shows it.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Show its progress until it is finished.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a scan is."""
    from chainbell.cli.work import scans

    scans.show_one(scan_id, follow=follow, as_json=as_json)


@app.command(
    epilog=examples(
        "chainbell scan start ethereum --from-height 21000000 --no-notify",
        f"chainbell scan start ethereum --address {_ADDRESS} --from-height 21000000 --no-notify",
    )
)
def start(
    chain: Annotated[str, typer.Argument(metavar="CHAIN", help="Name of the chain's definition, as in ethereum.")],
    from_height: FromHeight = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only for this watched address. Default: for all of the chain.")
    ] = None,
    *,
    notify: Notify = None,
    as_json: AsJson = False,
) -> None:
    """Read a chain's past again, from its cursor down, for every address that is watched on it by now, or for one.

    Only what nobody has told yet is told. This mends what `chainbell coverage` shows as not covered.
    """
    check_history(from_height, notify)
    if from_height is None or notify is None:
        message = "say down to which block it reads: --from-height, and --notify or --no-notify"
        raise typer.BadParameter(message)
    from chainbell.cli.work import scans
    from chainbell.domain.history import History

    scans.start(chain, address, History(from_height, notify), as_json=as_json)


def coverage(
    chain: Annotated[
        str | None,
        typer.Argument(metavar="[CHAIN]", help="Only of this chain. Default: all that were started."),
    ] = None,
    address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only of this watched address.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show which blocks were scanned, for the coin and each token, which were not and why, and what scans them."""
    from chainbell.cli.work import coverage as work

    work.show(chain, address, as_json=as_json)
