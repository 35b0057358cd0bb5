"""``chainbell address import``."""

from typing import Annotated, Literal
from uuid import UUID

import typer

from chainbell.cli.options import AsJson, examples
from chainbell.cli.scan import FromHeight, Notify, check_history


def register(app: typer.Typer) -> None:
    """Add the command to the others of ``chainbell address``."""
    app.command(
        "import",
        epilog=examples(
            "chainbell address import ethereum addresses.csv",
            "chainbell address import ethereum - --format ndjson --from-height 21000000 --no-notify < addresses.ndjson",
        ),
    )(import_)


def import_(  # noqa: PLR0913 - one parameter for each option
    chain: Annotated[str, typer.Argument(metavar="CHAIN", help="Name of the chain's definition, as in ethereum.")],
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(metavar="FILE", help="Up to 100,000 addresses; - reads standard input.")
    ],
    file_format: Annotated[
        Literal["csv", "ndjson"] | None, typer.Option("--format", help="How it is written; default: as its name ends.")
    ] = None,
    account: Annotated[UUID | None, typer.Option(metavar="UUID", help="Account; default: that of the chain's mode.")] = None,
    from_height: FromHeight = None,
    notify: Notify = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Watch many addresses: CSV with the header address,label,customer,purpose, or one JSON object a line.

    While one line is wrong, nothing is registered, and the code is 1. Then they are registered in batches of at most 1,000:
    what is registered stands, whatever ends the rest, and the same command again goes on. An address that another account
    watches is reported, the others stand, and the code is 3.
    """
    from chainbell.cli.work import address_import

    check_history(from_height, notify)
    wanted = address_import.Wanted(chain, file, file_format, account, from_height, notify=bool(notify))
    address_import.import_file(wanted, as_json=as_json)
