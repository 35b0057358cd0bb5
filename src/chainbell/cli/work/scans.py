"""What ``chainbell scan`` does, and how a command shows the progress of a scan."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from chainbell.api.chain_names import named_chain
from chainbell.api.views.scan import ScanView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say, say_next
from chainbell.cli.work.progress import progress
from chainbell.cli.work.session import with_services
from chainbell.domain.address import parse_address
from chainbell.domain.history import History, Scan
from chainbell.events.v2 import wire_time
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.chains import followed_chains
from chainbell.storage.paging import Page, PageRequest
from chainbell.storage.scan_list import Only, ScanFilter
from chainbell.telemetry.clock import now

_LOOK_SECONDS = 0.5
_INTERRUPTED = 130


def show(chain: str | None, limit: int, cursor: str | None, *, unfinished: bool, as_json: bool) -> None:
    """List scans."""

    async def work(services: Services) -> Page[ScanView]:
        name = None if chain is None else named_chain(services.chains, chain, None).name
        page = await services.scans.list(ScanFilter(chain=name, unfinished=unfinished), PageRequest(limit, cursor))
        return Page([ScanView.of(scan) for scan in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        nothing = "nothing of the past is read: `chainbell address add --from-height` and `chainbell scan start` begin it"
        _print(page.items, nothing)
    say_next("--cursor", page.next_cursor)


def show_one(scan_id: UUID, *, follow: bool, as_json: bool) -> None:
    """Show a scan; with `follow`, its progress until it is finished."""

    async def work(services: Services) -> ScanView:
        scan = await services.scans.get(str(scan_id), OPERATOR)
        return ScanView.of(await until_finished(services, scan) if follow else scan)

    with handing_over([str(scan_id)]):
        view = with_services(work)
    if as_json:
        print_lines([view.to_json()])
    else:
        _print([view], "")


def start(chain: str, address: str | None, history: History, *, as_json: bool) -> None:
    """Begin a scan of all addresses of a chain, or of one, and on a terminal show its progress."""
    begun: list[str] = []

    async def work(services: Services) -> None:
        definition = named_chain(services.chains, chain, None)
        only = None if address is None else Only(parse_address(definition.addresses, address))
        scan = await services.scans.start(definition.name, history, now(), only)
        begun.append(scan.id)
        if as_json:
            print_lines([ScanView.of(scan).to_json()])
            return
        whose = "" if address is None else f" for {address}"
        reads = f"reads {definition.name} again{whose}"
        answer(f"scan {scan.id} {reads}, from block {scan.through_height} down to {scan.from_height}")
        await watch(services, scan)

    with handing_over(begun):
        with_services(work)


async def watch(services: Services, scan: Scan) -> None:
    """Show a scan's progress until it is finished; where nobody looks at a terminal, return at once."""
    if not await _is_followed(services, scan.chain):
        say(f"nobody follows {scan.chain} now: the scan begins when `chainbell run` does")
        return
    if sys.stderr.isatty():
        await until_finished(services, scan)
        say(f"scan {scan.id} is finished")


async def until_finished(services: Services, scan: Scan) -> Scan:
    """Show a scan's progress until it is finished, and return it."""
    with progress(f"blocks of {scan.chain} read", scan.blocks) as show_progress:
        while scan.finished_at is None:
            followed = await _is_followed(services, scan.chain)
            note = "" if followed else f"nobody follows {scan.chain}: `chainbell run` must run"
            show_progress(scan.blocks_read, scan.trouble or note)
            await asyncio.sleep(_LOOK_SECONDS)
            scan = await services.scans.get(scan.id, OPERATOR)
    return scan


@contextmanager
def handing_over(scan_ids: Sequence[str]) -> Iterator[None]:
    """Say on Ctrl-C that these scans go on without the command that shows them."""
    try:
        yield
    except KeyboardInterrupt:
        for scan_id in scan_ids:
            say(f"scan {scan_id} goes on in `chainbell run`: `chainbell scan show {scan_id}` shows how far it is")
        raise SystemExit(_INTERRUPTED) from None


async def _is_followed(services: Services, chain: str) -> bool:
    async with services.database.connection() as connection:
        return (await followed_chains(connection)).get(chain, False)


def _print(views: Sequence[ScanView], nothing: str) -> None:
    columns = ["asked for", "chain", "reads", "read", "endpoints", "state", "id"]
    print_table(columns, [_row(view) for view in views], nothing)


def _row(view: ScanView) -> list[str]:
    return [
        wire_time(view.created_at),
        view.chain,
        f"{view.through_height} down to {view.from_height}",
        f"{view.blocks_read:,} of {view.blocks:,}",
        "told" if view.notify else "not told",
        _state(view),
        str(view.id),
    ]


def _state(view: ScanView) -> str:
    if view.finished_at is not None:
        return f"finished {wire_time(view.finished_at)}"
    return f"waits: {view.trouble}" if view.trouble else f"at block {view.next_height}"
