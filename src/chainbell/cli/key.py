"""``chainbell key``."""

from typing import Annotated
from uuid import UUID

import typer

from chainbell.cli.options import Account, AsJson, Chain, Cursor, Limit, examples

app = typer.Typer(no_args_is_help=True, help="Extended public keys and descriptors, whose addresses are watched.")

_ZPUB = "zpub6rFR7y4Q2Aij..."


@app.command(
    epilog=examples(
        f"chainbell key add bitcoin {_ZPUB} --label 'shop'",
        "chainbell key add litecoin - --gap-limit 100 < descriptor.txt",
    )
)
def add(  # noqa: PLR0913 - one parameter for each option
    chain: Annotated[str, typer.Argument(metavar="CHAIN", help="Name of the chain's definition, as in bitcoin.")],
    key: Annotated[
        list[str],  # several words are no key, and the error that says so repeats none of them
        typer.Argument(
            metavar="KEY",
            help="An extended public key (xpub, ypub, zpub, tpub, ...), or a descriptor of public keys with its checksum; "
            "- reads it from the standard input. Never a private key.",
        ),
    ],
    label: Annotated[
        str | None, typer.Option(help="Your own words, up to 200 characters, for its addresses without others.")
    ] = None,
    account: Annotated[UUID | None, typer.Option(metavar="UUID", help="Account; default: that of the chain's mode.")] = None,
    gap_limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Unused addresses watched behind the last one handed out or used.")
    ] = 20,
    first_index: Annotated[
        int, typer.Option(min=0, max=10_000, help="First index that is handed out; those below it are watched too.")
    ] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Watch the addresses of an extended public key or descriptor, ahead of their use.

    Compare the first address that it prints with that of the wallet. `chainbell address next` hands them out in turn.
    The first index and four times the gap limit, times branches, times keys of each address, are at most 12,000.
    """
    from chainbell.cli.work import keys

    wanted = keys.Wanted(chain, " ".join(key), label, account, gap_limit, first_index)
    keys.add(wanted, as_json=as_json)


@app.command("list", epilog=examples("chainbell key list --chain bitcoin"))
def list_(
    chain: Chain = None, account: Account = None, limit: Limit = 50, cursor: Cursor = None, *, as_json: AsJson = False
) -> None:
    """List extended keys, newest first."""
    from chainbell.cli.work import keys

    keys.show_all(chain, account, limit, cursor, as_json=as_json)


@app.command(epilog=examples("chainbell key show 7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"))
def show(
    key: Annotated[UUID, typer.Argument(metavar="KEY-ID", help="As `chainbell key list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a key, and how far its branches are used and watched."""
    from chainbell.cli.work import keys

    keys.show(key, as_json=as_json)
