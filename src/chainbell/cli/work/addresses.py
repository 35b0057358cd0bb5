"""What ``chainbell address`` does."""

from dataclasses import dataclass
from uuid import UUID

from chainbell.api.chain_names import named_chain
from chainbell.api.history import asked_history
from chainbell.api.views.address import AddressView
from chainbell.api.views.scan import ScanView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say, say_next
from chainbell.cli.work.scans import handing_over
from chainbell.cli.work.scans import watch as watch_scan
from chainbell.cli.work.session import with_services
from chainbell.domain.address import parse_address
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.history import Scan
from chainbell.domain.watch import Purpose, Watch, check_purpose
from chainbell.storage.key_addresses import NextAddress, next_address
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
    from_height: int | None
    notify: bool | None
    change: bool = False


def add(wanted: Wanted, *, as_json: bool) -> None:
    """Watch an address."""
    begun: list[str] = []

    async def work(services: Services) -> None:
        chain, address = _parsed(services, wanted.chain, wanted.address)
        watch = NewWatch(
            chain=chain.name,
            address=address,
            account_id=None if wanted.account is None else str(wanted.account),
            customer_id=None if wanted.customer is None else str(wanted.customer),
            label=wanted.label,
            history=asked_history(wanted.from_height, wanted.notify),
            purpose=Purpose.CHANGE if wanted.change else Purpose.DEPOSIT,
        )
        check_purpose(chain.kind, watch.purpose)
        added = await services.watches.add(watch, now())
        scan = (await services.scans.of_watches([added])).get(added.id)
        begun.extend([] if scan is None else [scan.id])
        view = _view(services, added, scan)
        if as_json:
            print_lines([view.to_json()])
        else:
            answer(f"{view.address} is watched on {view.chain} from block {view.watched_from} on")
            await _tell_past(services, wanted.from_height, scan)

    with handing_over(begun):
        with_services(work)


@dataclass(frozen=True, slots=True)
class Next:
    """Which key hands out an address, and for whom."""

    chain: str
    key: UUID | None
    label: str | None
    account: UUID | None
    customer: UUID | None
    change: bool


def next_(wanted: Next, *, as_json: bool) -> None:
    """Hand out the next address of a key."""

    async def work(services: Services) -> AddressView:
        asked = NextAddress(
            chain=named_chain(services.chains, wanted.chain, None).name,
            key_id=None if wanted.key is None else str(wanted.key),
            account_id=None if wanted.account is None else str(wanted.account),
            customer_id=None if wanted.customer is None else str(wanted.customer),
            label=wanted.label,
            purpose=Purpose.CHANGE if wanted.change else Purpose.DEPOSIT,
        )
        return _view(services, await next_address(services.database, asked, now()), None)

    view = with_services(work)
    if as_json:
        print_lines([view.to_json()])
    else:
        answer(view.address)


async def _tell_past(services: Services, from_height: int | None, scan: Scan | None) -> None:
    if scan is not None:
        answer(f"scan {scan.id} reads its past, from block {scan.through_height} down to {scan.from_height}")
        await watch_scan(services, scan)
    elif from_height is not None:
        say(f"block {from_height} is not read yet, so there is no past to read: it is covered when it comes")


def show(chain: str | None, account: UUID | None, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List watched addresses."""

    async def work(services: Services) -> Page[AddressView]:
        name = None if chain is None else named_chain(services.chains, chain, None).name
        wanted = WatchFilter(chain=name, account_id=None if account is None else str(account))
        page = await services.watches.list(wanted, PageRequest(limit, cursor))
        scans = await services.scans.of_watches(page.items)
        return Page([_view(services, watch, scans.get(watch.id)) for watch in page.items], page.next_cursor)

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


def _view(services: Services, watch: Watch, scan: Scan | None) -> AddressView:
    return AddressView.of(watch, services.chains, None if scan is None else ScanView.of(scan))


def _parsed(services: Services, chain: str, address: str) -> tuple[ChainDefinition, bytes]:
    definition = named_chain(services.chains, chain, None)
    return definition, parse_address(definition.addresses, address)
