"""What is covered, joined from the ledger of a chain, its definition, and the scans of an address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chainbell.api.chain_names import addressed
from chainbell.api.views.coverage import (
    AddressCoverageView,
    ChainCoverageView,
    CoverageReportView,
    GapView,
    RangeView,
    SubjectView,
)
from chainbell.domain.address import format_address, show_address
from chainbell.domain.chain import CAPABILITIES, Capability, ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.coverage import Coverage, Gap, of_address
from chainbell.domain.errors import NotFoundError
from chainbell.domain.history import Scan
from chainbell.domain.seeding import why_not_outgoing
from chainbell.domain.watch import Watch
from chainbell.storage.coverage import SubjectCoverage, coverage_of
from chainbell.storage.database import Database
from chainbell.storage.scan_list import ScanList
from chainbell.storage.watches import WatchStore

_NOT_READ_ON_EVM = {
    "traces": "coin that a contract moves inside of a transaction is not read yet",
    "withdrawals": "withdrawals of a chain's validators are not read yet",
    "mempool": "nothing is told of a transaction before a block includes it",
}
_NOT_LISTED = "not in the chain's definition"
_NOT_STARTED = "nothing looks for it yet: `chainbell run` begins when it reaches a node of this chain"
_NOTHING = Coverage((), ())


class Known(Protocol):
    """What knows coverage: one database, and the stores on it."""

    @property
    def database(self) -> Database:
        """Where the ledger is."""

    @property
    def watches(self) -> WatchStore:
        """Which addresses are watched."""

    @property
    def scans(self) -> ScanList:
        """What is read of the past."""


@dataclass(frozen=True, slots=True)
class _Ledger:
    """One chain's coverage, as it was read."""

    definition: ChainDefinition
    known: Sequence[SubjectCoverage]
    whole: Sequence[Scan]
    """Unfinished scans of all addresses."""
    watch: Watch | None
    reading: Sequence[Scan]
    """Scans that look, or have looked, for the address."""


async def coverage_report(
    stores: Known, definitions: Sequence[ChainDefinition], address: str | None, account_id: str | None
) -> CoverageReportView:
    """Return what is covered of these chains; with an address, of it on those of them where it is watched.

    With an account, only its addresses are there. Raises `NotFoundError` for an address that is watched on none of them,
    and `InputError` for one that cannot be an address.
    """
    watches = {} if address is None else await _watches(stores, definitions, address, account_id)
    asked = [one for one in definitions if address is None or one.name in watches]
    names = [one.name for one in asked]
    known, whole = await coverage_of(stores.database, names), await stores.scans.whole(names)
    items = []
    for definition in asked:
        watch = watches.get(definition.name)
        reading = [] if watch is None else await stores.scans.reading(watch)
        of_chain = [scan for scan in whole if scan.chain == definition.name]
        items.append(_chain(_Ledger(definition, known.get(definition.name, ()), of_chain, watch, reading)))
    return CoverageReportView(items=items)


async def _watches(
    stores: Known, definitions: Sequence[ChainDefinition], address: str, account_id: str | None
) -> Mapping[str, Watch]:
    found = {}
    read = addressed(definitions, address)
    for name, parsed in read.items():
        watch = await stores.watches.find(name, parsed)
        if watch is not None and account_id in {None, watch.account_id}:
            found[name] = watch
    if not found:
        chains = ", ".join(read)
        message = f"this address is not watched on {chains}: register it first, or list what is watched and name another"
        raise NotFoundError(message)
    return found


def _chain(ledger: _Ledger) -> ChainCoverageView:
    definition = ledger.definition
    known = {(subject.capability, subject.token): subject for subject in ledger.known}
    listed: list[tuple[str, bytes | None]] = [
        (capability.value, None) for capability in Capability if capability in CAPABILITIES[definition.kind]
    ]
    listed += [("token", token.contract) for token in definition.tokens]
    items = [_subject(ledger, *key, known.get(key)) for key in dict.fromkeys((*listed, *known))]
    if definition.kind is ChainKind.EVM:
        items += [_uncovered(capability, reason) for capability, reason in _NOT_READ_ON_EVM.items()]
    cursor = ledger.known[0].cursor if ledger.known else None
    return ChainCoverageView(
        chain=definition.name,
        cursor_height=cursor,
        address=None if ledger.watch is None else _address(ledger, ledger.watch),
        items=items,
    )


def _address(ledger: _Ledger, watch: Watch) -> AddressCoverageView:
    read = [scan.next_height + 1 for scan in ledger.reading]
    return AddressCoverageView(
        address=show_address(ledger.definition.addresses, watch.address),
        watched_from=watch.watched_from,
        covered_from=min(watch.watched_from, *read) if read else watch.watched_from,
        unfinished_scan_ids=[UUID(scan.id) for scan in ledger.reading if scan.finished_at is None],
        outgoing_from=watch.outgoing_from,
        outgoing_reason=why_not_outgoing(watch),
    )


def _subject(ledger: _Ledger, capability: str, token: bytes | None, found: SubjectCoverage | None) -> SubjectView:
    if found is None:
        promised = token is not None or Capability(capability) in ledger.definition.capabilities
        reason = _NOT_STARTED if promised else _NOT_LISTED
        return _uncovered(capability, reason, _written(ledger.definition, token), _symbol(ledger.definition, token))
    known = found.coverage if ledger.watch is None else _of_watch(ledger.watch, ledger.reading, found)
    grows = found.coverage.grows
    return SubjectView(
        capability=capability,
        token=_written(ledger.definition, token),
        symbol=_symbol(ledger.definition, token),
        covered=grows,
        reason=None if grows else _why_not(found),
        ranges=[
            RangeView(
                from_height=one.from_height,
                through_height=one.through_height,
                grows=one.grows,
                ended_at=one.ended_at,
                ended_reason=one.ended_reason,
            )
            for one in known.ranges
        ],
        gaps=[view for gap in known.gaps for view in _gaps(ledger, found.key, gap, grows=grows)],
    )


def _of_watch(watch: Watch, reading: Sequence[Scan], found: SubjectCoverage) -> Coverage:
    scanned = [(scan.next_height + 1, scan.through_height) for scan in reading if found.key in scan.covers]
    return of_address(found.coverage, watch.watched_from, found.cursor, scanned)


def _why_not(found: SubjectCoverage) -> str:
    reasons = [(gap.from_height, gap.reason) for gap in found.coverage.gaps]
    reasons += [(one.through_height + 1, one.ended_reason) for one in found.coverage.ranges if one.ended_reason is not None]
    return max(reasons)[1] if reasons else _NOT_LISTED


def _gaps(ledger: _Ledger, key: str, gap: Gap, *, grows: bool) -> list[GapView]:
    """Show a gap, in two parts where an unfinished scan will read its upper one."""
    scans = [scan for scan in (*ledger.whole, *ledger.reading) if _will_read(scan, key, gap)]
    scan = min(scans, key=lambda scan: scan.from_height, default=None)
    whose = "" if ledger.watch is None else f" --address {show_address(ledger.definition.addresses, ledger.watch.address)}"
    command = f"chainbell scan start {ledger.definition.name}{whose} --from-height {gap.from_height} --no-notify"
    below = gap.through_height if scan is None else scan.from_height - 1
    views = [_gap(gap, gap.from_height, below, None, command if grows and key != Capability.MEMPOOL else None)]
    if scan is not None:
        views.append(_gap(gap, max(scan.from_height, gap.from_height), gap.through_height, scan, None))
    return [view for view in views if view.from_height <= view.through_height]


def _gap(gap: Gap, lowest: int, highest: int, scan: Scan | None, mend: str | None) -> GapView:
    return GapView(
        from_height=lowest,
        through_height=highest,
        reason=gap.reason,
        since=gap.since,
        scan_id=None if scan is None else UUID(scan.id),
        mend=mend,
    )


def _will_read(scan: Scan, key: str, gap: Gap) -> bool:
    reaches = scan.from_height <= gap.through_height <= scan.through_height
    return scan.finished_at is None and key in scan.covers and reaches


def _uncovered(capability: str, reason: str, token: str | None = None, symbol: str | None = None) -> SubjectView:
    return SubjectView(capability=capability, token=token, symbol=symbol, covered=False, reason=reason, ranges=[], gaps=[])


def _written(definition: ChainDefinition, token: bytes | None) -> str | None:
    return None if token is None else format_address(definition.addresses, token)


def _symbol(definition: ChainDefinition, token: bytes | None) -> str | None:
    return next((listed.symbol for listed in definition.tokens if listed.contract == token), None)
