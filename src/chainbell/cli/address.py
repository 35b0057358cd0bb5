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
    str, typer.Argument(metavar="ADDRESS", help="0x and 40 hexadecimal digits; mixed case is checked (EIP-55).")
]

_ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


@app.command(
    epilog=examples(
        f"chainbell address add ethereum {_ADDRESS} --label 'till 7'",
        f"chainbell address add ethereum {_ADDRESS} --from-height 21000000 --no-notify",
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
    as_json: AsJson = False,
) -> None:
    """Watch an address, for every listed asset of its chain.

    When this returns, no block from "watched from" on can miss it. The chain must have been reached once by `chainbell run`.
    With --from-height its past is read as well, by `chainbell run`; on a terminal, this shows how far that is.
    """
    check_history(from_height, notify)
    from chainbell.cli.work import addresses

    addresses.add(addresses.Wanted(chain, address, label, account, customer, from_height, notify), as_json=as_json)


@app.command("list", epilog=examples("chainbell address list --chain ethereum", "chainbell address list --json --limit 200"))
def list_(
    chain: Chain = None, account: Account = None, limit: Limit = 50, cursor: Cursor = None, *, as_json: AsJson = False
) -> None:
    """List watched addresses, newest first."""
    from chainbell.cli.work import addresses

    addresses.show(chain, account, limit, cursor, as_json=as_json)


@app.command(epilog=examples(f"chainbell address remove ethereum {_ADDRESS}"))
def remove(chain: ChainName, address: Address) -> None:
    """Stop new matches of an address. What is tracked already is told to the end."""
    from chainbell.cli.work import addresses

    addresses.remove(chain, address)
