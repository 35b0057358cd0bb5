"""Options that several commands have, and examples under their help."""

from typing import Annotated, Literal
from uuid import UUID

import typer

# The groups of `chainbell --help`.
RUN = "Run"
REGISTER = "Register"
LOOK = "Look"
SEND_AGAIN = "Send again"
DECIDE = "Decide"

ModeName = Literal["live", "test"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, with the API's member names.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="Rows at most, 1 to 200.")]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on where a listing ended: the cursor that it printed on stderr.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts, after what is shown was read once.")]
Chain = Annotated[
    str | None, typer.Option(metavar="CHAIN", help="Only of this chain, by the name of its definition, as in ethereum.")
]
Account = Annotated[UUID | None, typer.Option(metavar="UUID", help="Only of this account.")]


def examples(*lines: str) -> str:
    """Return an epilog that shows how a command is used, each line as it is typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
