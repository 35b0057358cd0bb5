"""``chainbell restored`` and ``chainbell prune``."""

from pathlib import Path
from typing import Annotated

import typer

from chainbell.cli.options import DECIDE, AsJson, Yes, examples


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        rich_help_panel=DECIDE,
        epilog=examples(
            "chainbell restored",
            "chainbell restored --journal a/registrations.ndjson --journal b/registrations.ndjson --lost-addresses lost",
        ),
    )(restored)
    app.command(rich_help_panel=DECIDE, epilog=examples("chainbell prune --before 2026-01-01"))(prune)


def restored(
    journal: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="registrations.ndjson of a process; repeat it. Default: the data directory's."),
    ] = None,
    above: Annotated[
        int,
        typer.Option(
            "--above-generation",
            min=0,
            max=10**8,
            help="Highest generation ever in force, where neither the backup nor a journal knows it.",
        ),
    ] = 0,
    lost_addresses: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the lost addresses there, as files for `chainbell address import`."),
    ] = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Say that the database was restored from a backup: after each restore, before `chainbell run` is started again.

    Begins the next generation, so that whoever reads the feed, or keeps webhooks, can tell this life of the database from
    the one that was lost; shuts out every process of before; and lists what was registered or removed after the backup
    was taken and must be done again. Exit code 3: done, and there is something to do again.
    """
    from chainbell.cli.work import restored as work

    raise typer.Exit(work.restored(work.Asked(journal, above, lost_addresses, yes=yes, as_json=as_json)))


def prune(
    before: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="As in 2026-01-01T08:00:00Z, with Z or an offset; or a day: its beginning in UTC."
        ),
    ],
    *,
    yes: Yes = False,
) -> None:
    """Delete the oldest events of the feed, with their deliveries and attempts, and old orphaned blocks, for good.

    Transactions stay. What an endpoint still waits for is kept, with everything behind it; the command says who waits. A
    feed cursor from before gets 410 then. Exit code 3: done, but something older was held back.
    """
    from chainbell.cli.work import pruning

    raise typer.Exit(pruning.prune(before, yes=yes))
