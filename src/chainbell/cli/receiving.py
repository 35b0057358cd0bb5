"""``chainbell listen``."""

from typing import Annotated

import typer

from chainbell.cli.options import RUN, examples


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        rich_help_panel=RUN,
        epilog=examples(
            "chainbell listen --secret whsec_... --port 9000",
            "chainbell listen --secret whsec_new... --secret whsec_old... --json",
        ),
    )(listen)


def listen(
    secret: Annotated[
        list[str], typer.Option(metavar="SECRET", help="The endpoint's signing secret, whsec_...; repeat it for several.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 9000,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a webhook.")] = False,
) -> None:
    """Receive webhooks on this machine, verify each, and print it. Ctrl-C ends it.

    Register its URL with `chainbell endpoint add`, and open its network with CHAINBELL_ALLOWED_NETWORKS=127.0.0.0/8. What
    cannot be trusted is printed with the reason, and answered 401.
    """
    from chainbell.cli.work import listening

    listening.listen(tuple(secret), host, port, as_json=as_json)
