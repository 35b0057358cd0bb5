"""``chainbell run``, ``doctor``, ``demo``, ``migrate`` and ``version``."""

from typing import Annotated

import typer

import chainbell
from chainbell.app.roles import EVERY_ROLE, Role
from chainbell.cli.options import RUN, AsJson, examples


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        rich_help_panel=RUN,
        epilog=examples(
            "CHAINBELL_SCREENING=off CHAINBELL_NODES__ETHEREUM=https://node.example chainbell run",
            "CHAINBELL_API_PORT=8081 chainbell run --role watcher",
            "CHAINBELL_API_PORT=8082 chainbell run --role delivery --role api",
        ),
    )(run)
    app.command(
        rich_help_panel=RUN,
        epilog=examples(
            "CHAINBELL_NODES__BITCOIN=http://user:password@127.0.0.1:8332 chainbell doctor", "chainbell doctor --json"
        ),
    )(doctor)
    app.command(rich_help_panel=RUN, epilog=examples("chainbell demo", "chainbell demo --once > webhooks.jsonl"))(demo)
    app.command(rich_help_panel=RUN, epilog=examples("CHAINBELL_DATABASE_URL=postgresql://... chainbell migrate"))(migrate)
    app.command(rich_help_panel=RUN, epilog=examples("chainbell version"))(version)


def run(
    roles: Annotated[
        list[Role] | None,
        typer.Option("--role", help="Do only this share of the work; may be given several times.", show_default="all three"),
    ] = None,
) -> None:
    """Follow every chain that has a node, deliver webhooks, and serve the HTTP API, until SIGTERM or Ctrl-C.

    With --role the work is shared among processes on one database, on one machine or many: any number of each, in any order.
    Each answers /health/live, /health/ready and /metrics on CHAINBELL_API_PORT: on one machine each needs its own port.
    """
    from chainbell.cli.work import service

    service.run(frozenset(roles) if roles else EVERY_ROLE)


def doctor(*, as_json: AsJson = False) -> None:
    """Ask each configured node what it can do, and say what Chainbell loses without the rest.

    Needs no database, changes nothing, and may run beside `chainbell run`. Exit code 1: a chain has no node through which it
    can be followed.
    """
    from chainbell.cli.work import doctor as work

    raise typer.Exit(work.show(as_json=as_json))


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; stdout carries one JSON line for each verified webhook.")
    ] = False,
) -> None:
    """Show the main job on anvil and on bitcoind, with a receiver, a fee bump and reorgs; nothing of it is left behind."""
    from chainbell.cli.work import demo as work

    raise typer.Exit(work.show(once=once))


def migrate() -> None:
    """Bring the database's schema up to date. An embedded database is brought up to date by every command."""
    from chainbell.cli.work import service

    service.migrate()


def version() -> None:
    """Show the version."""
    typer.echo(chainbell.__version__)
