"""``chainbell run``, ``demo``, ``migrate`` and ``version``."""

from typing import Annotated

import typer

import chainbell
from chainbell.cli.options import examples


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog=examples("CHAINBELL_SCREENING=off CHAINBELL_NODES__ETHEREUM=https://node.example chainbell run"))(run)
    app.command(epilog=examples("chainbell demo", "chainbell demo --once > webhooks.jsonl"))(demo)
    app.command(epilog=examples("CHAINBELL_DATABASE_URL=postgresql://... chainbell migrate"))(migrate)
    app.command(epilog=examples("chainbell version"))(version)


def run() -> None:
    """Follow every chain that has a node, deliver webhooks, and serve the HTTP API, until SIGTERM or Ctrl-C."""
    from chainbell.cli.work import service

    service.run()


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; stdout carries one JSON line for each verified webhook.")
    ] = False,
) -> None:
    """Show the main job on a development chain, with a receiver and a reorg; nothing of it is left behind."""
    from chainbell.cli.work import demo as work

    raise typer.Exit(work.show(once=once))


def migrate() -> None:
    """Bring the database's schema up to date. An embedded database is brought up to date by every command."""
    from chainbell.cli.work import service

    service.migrate()


def version() -> None:
    """Show the version."""
    typer.echo(chainbell.__version__)
