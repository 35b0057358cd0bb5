"""Coverage: what is known of each thing on a chain, and from when on."""

from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime


class RangeView(Wire):
    """Heights that were scanned for one thing, without a hole."""

    from_height: int
    through_height: int
    """Below ``fromHeight``: nothing yet."""
    grows: bool
    """Whether it goes on with the cursor."""
    ended_at: WireTime | None
    ended_reason: str | None
    """Null while it grows."""


class GapView(Wire):
    """Heights that were not scanned for one thing."""

    from_height: int
    through_height: int
    reason: str
    since: WireTime | None
    """When it was switched off; null: it was never on, or that was not recorded."""
    scan_id: UUID | None
    """An unfinished scan that reads it; null: none does."""
    mend: str | None
    """The command that scans it; null: it is being read, or cannot be while this is switched off."""


class SubjectView(Wire):
    """What is covered for one thing. Each height from 0 to the cursor lies in one range, or in one gap."""

    capability: str
    """``coin``, ``logs``, ``token`` for one listed token, ``traces``, ``withdrawals`` or ``mempool``."""
    token: str | None
    """Contract; null for what is not one token's."""
    symbol: str | None
    """As listed; null for what is not one token's, or is not listed any more."""
    covered: bool
    """Whether the next block will be scanned for it."""
    reason: str | None
    """Why not; null where it will."""
    ranges: list[RangeView]
    gaps: list[GapView]


class AddressCoverageView(Wire):
    """How far back one address is known."""

    address: str
    watched_from: int
    """From this height on it is matched by who follows the chain."""
    covered_from: int
    """From this height on without a hole, with what scans have read of its past; a token's own ranges may be shorter."""
    unfinished_scan_ids: list[UUID]
    """Scans that still read its past."""
    outgoing_from: int | None
    """From this height on what leaves it is covered, whatever it spends; null: not yet."""
    outgoing_reason: str | None
    """Why not; null where it is."""


class ChainCoverageView(Wire):
    """What is covered of one chain, or, where an address was asked for, of this address on it."""

    chain: str
    """Name of the chain's definition."""
    cursor_height: int | None
    """Null: the chain was never started, and nothing is covered."""
    address: AddressCoverageView | None
    """Null: no address was asked for."""
    items: list[SubjectView]


class CoverageReportView(Wire):
    """What is covered of some chains, by name."""

    items: list[ChainCoverageView]
