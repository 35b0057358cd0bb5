"""What ``chainbell address`` does."""

from dataclasses import dataclass
from uuid import UUID

from chainbell.api.chain_names import named_chain
from chainbell.api.views.address import AddressView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say, say_next
from chainbell.cli.work.session import with_services
from chainbell.domain.address import parse_address
from chainbell.domain.chain import ChainDefinition
from chainbell.storage.paging import Page, PageRequest
from chainbell.storage.watches import NewWatch, WatchFilter
from chainbell.telemetry.clock import now


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to watch."""

    chain: str
    address: str
    label: str | None
    account: UUID | None
    customer: UUID | None


def add(wanted: Wanted, *, as_json: bool) -> None:
    """Watch an address."""

    async def work(services: Services) -> AddressView:
        chain, address = _parsed(services, wanted.chain, wanted.address)
        watch = NewWatch(
            chain=chain.name,
            address=address,
            account_id=None if wanted.account is None else str(wanted.account),
            customer_id=None if wanted.customer is None else str(wanted.customer),
            label=wanted.label,
        )
        return AddressView.of(await services.watches.add(watch, now()), services.chains)

    added = with_services(work)
    if as_json:
        print_lines([added.to_json()])
    else:
        answer(f"{added.address} is watched on {added.chain} from block {added.watched_from} on")


def show(chain: str | None, account: UUID | None, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List watched addresses."""

    async def work(services: Services) -> Page[AddressView]:
        name = None if chain is None else named_chain(services.chains, chain, None).name
        wanted = WatchFilter(chain=name, account_id=None if account is None else str(account))
        page = await services.watches.list(wanted, PageRequest(limit, cursor))
        return Page([AddressView.of(watch, services.chains) for watch in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        rows = [[view.chain, view.address, str(view.watched_from), view.label, str(view.account_id)] for view in page.items]
        print_table(
            ["chain", "address", "watched from", "label", "account"],
            rows,
            "no address is watched: `chainbell address add` registers one",
        )
    say_next("--cursor", page.next_cursor)


def remove(chain: str, address: str) -> None:
    """Stop new matches of an address."""

    async def work(services: Services) -> str:
        definition, parsed = _parsed(services, chain, address)
        await services.watches.remove(definition.name, parsed, None, now())
        return definition.name

    say(f"{address} is not watched on {with_services(work)} any more; what is tracked is told to the end")


def _parsed(services: Services, chain: str, address: str) -> tuple[ChainDefinition, bytes]:
    definition = named_chain(services.chains, chain, None)
    return definition, parse_address(definition.kind, address)
