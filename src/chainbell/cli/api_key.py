"""``chainbell api-key``."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from chainbell.cli.options import AsJson, Cursor, Limit, ModeName, examples

app = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API.")


class ScopeName(StrEnum):
    """The scopes of storage, named here so that help need not import it."""

    READ = "read"
    WRITE = "write"


@app.command(
    epilog=examples(
        "chainbell api-key add shop --mode live",
        "chainbell api-key add reports --mode live --scope read",
    )
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Your own word for it, up to 100 characters.")],
    mode: Annotated[ModeName, typer.Option(help="What it may see and make: of real money or of test. It never changes.")],
    scope: Annotated[list[ScopeName] | None, typer.Option(help="What it may do; repeat it. Default: both.")] = None,
    account: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="Only this account. Default: all of its mode.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make an API key, and show it, this once."""
    from chainbell.cli.work import api_keys

    api_keys.add(name, mode, tuple(scope or ScopeName), account, as_json=as_json)


@app.command("list", epilog=examples("chainbell api-key list", "chainbell api-key list --json"))
def list_(limit: Limit = 50, cursor: Cursor = None, *, as_json: AsJson = False) -> None:
    """List API keys by their first characters, newest first; revoked ones too."""
    from chainbell.cli.work import api_keys

    api_keys.show(limit, cursor, as_json=as_json)


@app.command(epilog=examples("chainbell api-key remove 7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"))
def remove(
    key_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `chainbell api-key list` shows it.")],
) -> None:
    """Revoke an API key: it is refused from now on."""
    from chainbell.cli.work import api_keys

    api_keys.remove(key_id)
