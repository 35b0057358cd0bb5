"""The command ``chainbell``: its groups of commands, and how errors end it."""

import sys

import typer

from chainbell.cli import address, api_key, chain, endpoint, key, listings, receiving, replaying, scan, service, upkeep
from chainbell.cli.options import DECIDE, REGISTER
from chainbell.domain.errors import ChainbellError

app = typer.Typer(
    name="chainbell",
    help=(
        "Watch blockchain addresses, and ring a signed webhook for every step of each deposit and transfer.\n\n"
        "Settings are CHAINBELL_ variables of the environment, or of .env in the current directory."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
service.register(app)
app.add_typer(address.app, name="address", rich_help_panel=REGISTER)
app.add_typer(key.app, name="key", rich_help_panel=REGISTER)
app.add_typer(endpoint.app, name="endpoint", rich_help_panel=REGISTER)
app.add_typer(api_key.app, name="api-key", rich_help_panel=REGISTER)
app.add_typer(chain.app, name="chain", rich_help_panel=DECIDE)
listings.register(app)
replaying.register(app)
receiving.register(app)
scan.register(app)
upkeep.register(app)


def main() -> None:
    """Run one command. What is wrong is one message on stderr and exit code 1; wrong usage is 2."""
    try:
        app()
    except ChainbellError as error:
        sys.stderr.write(f"chainbell: {error}\n")
        sys.exit(1)
