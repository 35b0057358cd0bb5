"""``chainbell endpoint``."""

from typing import Annotated, Literal
from uuid import UUID

import typer

from chainbell.cli.options import AsJson, Cursor, Limit, ModeName, examples

app = typer.Typer(no_args_is_help=True, help="Endpoints: who receives webhooks.")

EndpointId = Annotated[UUID, typer.Argument(metavar="ID", help="As `chainbell endpoint list` shows it.")]

_URL = "https://example.com/webhooks"
_ID = "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"


@app.command(
    epilog=examples(
        f"chainbell endpoint add {_URL} --mode live",
        f"chainbell endpoint add {_URL} --mode live --event 'transaction.deposit.*' --chain ethereum",
        f"chainbell endpoint add {_URL} --mode test --version 1",
    )
)
def add(  # noqa: PLR0913 - one parameter for each option
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where to POST webhooks: http:// or https://, a public address.")
    ],
    mode: Annotated[ModeName, typer.Option(help="Which chains it hears of: real money or test. It never changes.")],
    version: Annotated[Literal[1, 2], typer.Option(help="Format of the webhooks; 1 is the legacy one.")] = 2,
    event: Annotated[
        list[str] | None, typer.Option(help="Event type, or a prefix with .*; repeat it. Default: all.")
    ] = None,
    chain: Annotated[list[str] | None, typer.Option(help="Only of this chain; repeat it. Default: all.")] = None,
    account: Annotated[list[UUID] | None, typer.Option(metavar="UUID", help="Only of this account; repeat it.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Register an endpoint, and show its signing secret, this once.

    It gets every event from now on. Internal addresses are refused unless CHAINBELL_ALLOWED_NETWORKS opens their network.
    """
    from chainbell.cli.work import endpoints

    wanted = endpoints.Wanted(url, mode, version, tuple(event or ()), tuple(chain or ()), tuple(account or ()))
    endpoints.add(wanted, as_json=as_json)


@app.command("list", epilog=examples("chainbell endpoint list", "chainbell endpoint list --json"))
def list_(limit: Limit = 50, cursor: Cursor = None, *, as_json: AsJson = False) -> None:
    """List endpoints, newest first."""
    from chainbell.cli.work import endpoints

    endpoints.show(limit, cursor, as_json=as_json)


@app.command(epilog=examples(f"chainbell endpoint remove {_ID}"))
def remove(endpoint_id: EndpointId) -> None:
    """Delete an endpoint: it gets nothing more, also not what is still waiting for it."""
    from chainbell.cli.work import endpoints

    endpoints.remove(endpoint_id)


@app.command(epilog=examples(f"chainbell endpoint enable {_ID}"))
def enable(endpoint_id: EndpointId) -> None:
    """Deliver to an endpoint again, beginning with everything that it missed meanwhile."""
    from chainbell.cli.work import endpoints

    endpoints.switch(endpoint_id, enabled=True)


@app.command(epilog=examples(f"chainbell endpoint disable {_ID}"))
def disable(endpoint_id: EndpointId) -> None:
    """Hold back deliveries to an endpoint; it stays subscribed, and gets them once it is enabled."""
    from chainbell.cli.work import endpoints

    endpoints.switch(endpoint_id, enabled=False)
