"""``chainbell chain``."""

from typing import Annotated

import typer

from chainbell.cli.options import Yes, examples

app = typer.Typer(no_args_is_help=True, help="What an operator decides about a chain.")


@app.callback()
def chain() -> None:
    """Keep the group a group, also while it has one command."""


@app.command("accept-reorg", epilog=examples("chainbell chain accept-reorg ethereum"))
def accept_reorg(
    name: Annotated[str, typer.Argument(metavar="CHAIN", help="Name of the chain's definition, as in ethereum.")],
    *,
    yes: Yes = False,
) -> None:
    """Follow the node's chain after a reorg that is deeper than reorg_limit and stopped the chain.

    Shows where the node's chain left ours and what is taken back, and asks. Then one commit moves the cursor back to the
    newest block that both chains have, tells every retraction, and writes an audit record; the follower goes on by itself.
    """
    from chainbell.cli.work import deep_reorg

    deep_reorg.accept(name, yes=yes)
