"""What ``chainbell coverage`` does."""

from chainbell.api.chain_names import named_chain
from chainbell.api.coverage_report import coverage_report
from chainbell.api.views.coverage import (
    AddressCoverageView,
    ChainCoverageView,
    CoverageReportView,
    GapView,
    RangeView,
    SubjectView,
)
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table
from chainbell.cli.work.session import with_services


def show(chain: str | None, address: str | None, *, as_json: bool) -> None:
    """Show what is covered."""

    async def work(services: Services) -> CoverageReportView:
        chains = services.chains.values() if chain is None else [named_chain(services.chains, chain, None)]
        return await coverage_report(services, list(chains), address, None)

    report = with_services(work)
    started = [item for item in report.items if item.cursor_height is not None or chain is not None]
    if as_json:
        print_lines(item.to_json() for item in started)
        return
    print_table(
        ["chain", "what", "from", "through", "state"],
        [[item.chain, _name(subject), *row] for item in started for subject in item.items for row in _rows(subject)],
        "no chain was started, so nothing is covered: set CHAINBELL_NODES__ETHEREUM or another, and start `chainbell run`",
    )
    for item in started:
        _say_more(item)


def _name(subject: SubjectView) -> str:
    return subject.capability if subject.token is None else f"{subject.symbol or 'token'} {subject.token}"


def _rows(subject: SubjectView) -> list[list[str | None]]:
    both: list[RangeView | GapView] = [*subject.ranges, *subject.gaps]
    parts = sorted(both, key=lambda part: part.from_height)
    rows = [_range_row(part) if isinstance(part, RangeView) else _gap_row(part) for part in parts]
    return rows or [[None, None, f"not covered: {subject.reason}"]]


def _range_row(part: RangeView) -> list[str | None]:
    state = "covered, goes on" if part.grows else "covered"
    if part.through_height < part.from_height:
        return [str(part.from_height), None, "covered from the next block on"]
    return [str(part.from_height), str(part.through_height), state]


def _gap_row(gap: GapView) -> list[str | None]:
    state = f"not covered: {gap.reason}" if gap.scan_id is None else "not covered yet: a scan reads it"
    return [str(gap.from_height), str(gap.through_height), state]


def _outgoing(address: AddressCoverageView) -> str:
    if address.outgoing_from is None:
        return f"what leaves it is not covered yet: {address.outgoing_reason}"
    return f"what leaves it is covered from block {address.outgoing_from} on"


def _say_more(item: ChainCoverageView) -> None:
    if item.address is not None:
        answer(
            f"{item.address.address} is watched on {item.chain} from block {item.address.watched_from} on, and covered "
            f"from {item.address.covered_from} on"
        )
        answer(_outgoing(item.address))
    mends = sorted({gap.mend for subject in item.items for gap in subject.gaps if gap.mend is not None})
    for mend in mends:
        answer(f"to scan what is not covered (a higher height reads less), endpoints not told: {mend}")
    if any(gap.scan_id is not None for subject in item.items for gap in subject.gaps):
        answer(f"how far scans are: chainbell scan list --chain {item.chain} --unfinished")
