"""``chainbell address``."""

from typing import Annotated
from uuid import UUID

import typer

from chainbell.cli import importing
from chainbell.cli.options import Account, AsJson, Chain, Cursor, Limit, examples
from chainbell.cli.scan import FromHeight, Notify, check_history

app = typer.Typer(no_args_is_help=True, help="Addresses that are watched.")
importing.register(app)

ChainName = Annotated[str, typer.Argument(metavar="CHAIN", help="Name of the chain's definition, as in ethereum.")]
Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="As its chain writes it, as in 0x... or bc1...; checksums are checked.")
]

_ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
_SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


@app.command(
    epilog=examples(
        f"chainbell address add ethereum {_ADDRESS} --label 'till 7'",
        f"chainbell address add ethereum {_ADDRESS} --from-height 21000000 --no-notify",
        f"chainbell address add bitcoin {_SEGWIT}",
    )
)
def add(  # noqa: PLR0913 - one parameter for each option
    chain: ChainName,
    address: Address,
    label: Annotated[
        str | None, typer.Option(help="Your own words for it, up to 200 characters; webhooks carry them.")
    ] = None,
    account: Annotated[UUID | None, typer.Option(metavar="UUID", help="Account; default: that of the chain's mode.")] = None,
    customer: Annotated[UUID | None, typer.Option(metavar="UUID", help="Customer of that account who owns it.")] = None,
    from_height: FromHeight = None,
    *,
    notify: Notify = None,
    change: Annotated[
        bool, typer.Option("--change", help="What its own account pays to it is no deposit, and does not leave.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Watch an address, for every listed asset of its chain.

    When this returns, no block from "watched from" on can miss it. The chain must have been reached once by `chainbell run`.
    With --from-height its past is read as well, by `chainbell run`; on a terminal, this shows how far that is.
    """
    check_history(from_height, notify)
    from chainbell.cli.work import addresses

    addresses.add(addresses.Wanted(chain, address, label, account, customer, from_height, notify, change), as_json=as_json)


@app.command("next", epilog=examples("chainbell address next bitcoin --label 'order 4711'"))
def next_(  # noqa: PLR0913 - one parameter for each option
    chain: ChainName,
    key: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="Extended key; default: the only one of the account on that chain.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Your own words for it; default: those of the key.")] = None,
    account: Annotated[UUID | None, typer.Option(metavar="UUID", help="Account; default: that of the chain's mode.")] = None,
    customer: Annotated[UUID | None, typer.Option(metavar="UUID", help="Customer of that account who owns it.")] = None,
    *,
    change: Annotated[bool, typer.Option("--change", help="One for change, of the branch for that.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand out the next address of an extended key, which was watched already and nobody was given before."""
    from chainbell.cli.work import addresses

    addresses.next_(addresses.Next(chain, key, label, account, customer, change), as_json=as_json)


@app.command("list", epilog=examples("chainbell address list --chain ethereum", "chainbell address list --json --limit 200"))
def list_(
    chain: Chain = None, account: Account = None, limit: Limit = 50, cursor: Cursor = None, *, as_json: AsJson = False
) -> None:
    """List watched addresses, newest first."""
    from chainbell.cli.work import addresses

    addresses.show(chain, account, limit, cursor, as_json=as_json)


@app.command(epilog=examples(f"chainbell address balance bitcoin {_SEGWIT}"))
def balance(chain: ChainName, address: Address, *, as_json: AsJson = False) -> None:
    """Show the coin that an address of the Bitcoin family holds, once what leaves it is covered."""
    from chainbell.cli.work import balances

    balances.show(chain, address, as_json=as_json)


@app.command(epilog=examples(f"chainbell address remove ethereum {_ADDRESS}"))
def remove(chain: ChainName, address: Address) -> None:
    """Stop new matches of an address. What is tracked already is told to the end."""
    from chainbell.cli.work import addresses

    addresses.remove(chain, address)
