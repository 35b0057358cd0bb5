"""What ``chainbell endpoint`` does."""

from dataclasses import dataclass
from uuid import UUID

from chainbell.api.chain_names import named_chains
from chainbell.api.views.endpoint import EndpointView, NewEndpointView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say, say_next
from chainbell.cli.work.session import with_services
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.storage.endpoints import EndpointChange, NewEndpoint
from chainbell.storage.paging import Page, PageRequest
from chainbell.telemetry.clock import now


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoint to register."""

    url: str
    mode: str
    version: int
    events: tuple[str, ...]
    chains: tuple[str, ...]
    accounts: tuple[UUID, ...]


def add(wanted: Wanted, *, as_json: bool) -> None:
    """Register an endpoint and show its secret."""
    mode = Mode(wanted.mode)

    async def work(services: Services) -> NewEndpointView:
        new = NewEndpoint(
            url=wanted.url,
            mode=mode,
            version=WebhookVersion(wanted.version),
            events=wanted.events,
            chains=named_chains(services.chains, wanted.chains, mode),
            accounts=[str(account) for account in wanted.accounts],
        )
        endpoint, secret = await services.endpoints.create(new, now())
        return NewEndpointView.of(endpoint, secret=secret)

    added = with_services(work)
    if as_json:
        print_lines([added.to_json()])
    else:
        answer(f"endpoint  {added.id}\nsecret    {added.secret}")
        say("keep the secret now: it is not shown again. Receivers verify webhooks with it")


def show(limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List endpoints."""

    async def work(services: Services) -> Page[EndpointView]:
        page = await services.endpoints.list(PageRequest(limit, cursor))
        return Page([EndpointView.of(endpoint) for endpoint in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        print_table(
            ["id", "mode", "version", "url", "events", "chains", "state"],
            [_row(view) for view in page.items],
            "there is no endpoint: `chainbell endpoint add` registers one",
        )
    say_next("--cursor", page.next_cursor)


def _row(view: EndpointView) -> list[str]:
    return [
        str(view.id),
        view.mode.value,
        str(view.version),
        view.url,
        ", ".join(view.events) or "all",
        ", ".join(view.chains) or "all",
        "enabled" if view.enabled else f"disabled: {view.disabled_reason}",
    ]


def remove(endpoint_id: UUID) -> None:
    """Delete an endpoint."""

    async def work(services: Services) -> None:
        await services.endpoints.delete(str(endpoint_id), now())

    with_services(work)
    say(f"endpoint {endpoint_id} is deleted")


def switch(endpoint_id: UUID, *, enabled: bool) -> None:
    """Enable or disable an endpoint."""

    async def work(services: Services) -> None:
        await services.endpoints.update(str(endpoint_id), EndpointChange(enabled=enabled), now())

    with_services(work)
    say(f"endpoint {endpoint_id} is {'enabled' if enabled else 'disabled'}")
