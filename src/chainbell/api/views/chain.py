"""Chains as they stand."""

from collections.abc import Sequence
from typing import Self

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.address import format_address, format_hash
from chainbell.domain.chain import BlockRef, ChainDefinition, Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.coverage import Covered
from chainbell.domain.node import Hints, HintsState, NodeState
from chainbell.domain.seeding import SeedingState
from chainbell.storage.chains import ChainStatus
from chainbell.storage.coverage import SubjectCoverage
from chainbell.storage.node_states import ChainNodes, ReportedNode
from chainbell.watcher.stall import Stall, Stalled


class CursorView(Wire):
    """The last block that was committed."""

    height: int
    hash: str

    @classmethod
    def of(cls, cursor: BlockRef, kind: ChainKind) -> Self:
        """Show a block."""
        return cls(height=cursor.height, hash=format_hash(kind, cursor.hash))


class StalledView(Wire):
    """A chain that stands still, measured against its own pace."""

    kind: Stall
    """``halted``: it needs an operator. ``unfollowed``: no process follows it. ``behind``: its nodes show blocks that are
    not committed. ``still``: its nodes show nothing new."""
    since: WireTime
    """When its cursor last moved."""
    reason: str

    @classmethod
    def of(cls, found: Stalled) -> Self:
        """Show why a chain stands still."""
        return cls(kind=found.kind, since=found.since, reason=found.reason)


class CoverageView(Wire):
    """Heights that were scanned for one thing."""

    capability: str
    token: str | None
    """Contract; null for what is not one token's."""
    from_height: int
    through_height: int
    """Below ``fromHeight``: nothing yet."""
    ended_at: WireTime | None
    """Null while it grows with the cursor."""
    ended_reason: str | None

    @classmethod
    def of(cls, found: Covered, subject: SubjectCoverage, definition: ChainDefinition) -> Self:
        """Show a range."""
        return cls(
            capability=subject.capability,
            token=None if subject.token is None else format_address(definition.addresses, subject.token),
            from_height=found.from_height,
            through_height=found.through_height,
            ended_at=found.ended_at,
            ended_reason=found.ended_reason,
        )


class HintsView(Wire):
    """Whether what a node announces (options ``ws`` and ``zmq`` of its URL) is heard; it is polled all the same."""

    state: HintsState
    """``connected``. ``silent``: connected, but it showed new blocks of which it had said nothing. ``disconnected``."""
    since: WireTime
    """When it entered its state."""
    reason: str | None
    """Why nothing is heard; null while it is connected."""

    @classmethod
    def of(cls, hints: Hints) -> Self:
        """Show what is heard."""
        return cls(state=hints.state, since=hints.since, reason=hints.reason)


class NodeView(Wire):
    """One node of a chain, as the process that follows the chain sees it."""

    name: str
    """Its URL, with what may be secret masked."""
    state: NodeState
    reason: str | None
    """Why it is not used; null while nothing is wrong."""
    since: WireTime
    """When it entered its state."""
    tip_height: int | None
    """The newest block that it showed; null: none yet."""
    tip_at: WireTime | None
    """When that block was mined, by its own word."""
    last_failure: str | None
    """What was last wrong with it, also when it is well again; null: nothing since its process started."""
    failed_at: WireTime | None
    hints: HintsView | None = None
    """Whether what it announces is heard; null: its URL names nothing that announces."""
    reported_at: WireTime
    """An old report shows that nobody follows the chain."""

    @classmethod
    def of(cls, node: ReportedNode) -> Self:
        """Show a node."""
        status = node.status
        return cls(
            name=status.name,
            state=status.state,
            reason=status.reason,
            since=status.since,
            tip_height=None if status.tip is None else status.tip.height,
            tip_at=None if status.tip is None else status.tip.mined_at,
            last_failure=status.last_failure,
            failed_at=status.failed_at,
            hints=None if status.hints is None else HintsView.of(status.hints),
            reported_at=node.reported_at,
        )


class SeedingView(Wire):
    """Watched addresses with outputs from before they were watched, which a node is asked for."""

    addresses: int
    """How many have outgoing movements that are not covered yet."""
    trouble: str | None
    """What keeps them waiting; null while nothing does."""

    @classmethod
    def of(cls, state: SeedingState) -> Self:
        """Show what is not seeded."""
        return cls(addresses=state.addresses, trouble=state.trouble)


class ChainView(Wire):
    """A chain: what it is, and how far it is followed. One that was never started has no cursor."""

    name: str
    wire_name: str
    caip2: str
    mode: Mode
    required_confirmation: int | None
    """Null under the ``finalized`` tag."""
    cursor: CursorView | None
    lag: int | None
    """Blocks that the cursor is behind the tip of the node in use; null: not known, for none is in use."""
    lag_seconds: float | None
    """Between those two blocks, by their own times; null: not known, also before the chain's first commit."""
    finalized_height: int | None
    advanced_at: WireTime | None
    stalled: StalledView | None = None
    """Set while the chain stands still for longer than chance explains."""
    trouble: str | None
    """What keeps it from going on; null while nothing does, and for a key of one account."""
    follower: str | None
    """Who follows it now; null: nobody, and for a key of one account."""
    unsettled: int | None
    """Transactions of all accounts that are told, but not final; null for a key of one account."""
    stranded: list[str] | None
    """uids of transactions in no block for longer than the chain's ``drop_after``, the oldest 100; null as `unsettled`."""
    coverage: list[CoverageView]
    nodes: list[NodeView] | None
    """Its nodes in order of preference: the first that is healthy is used; null for a key of one account."""
    seeding: SeedingView | None = None
    """Addresses whose older outputs are still read; null where there are none, and for a key of one account."""

    @classmethod
    def of(
        cls,
        definition: ChainDefinition,
        status: ChainStatus | None,
        coverage: Sequence[SubjectCoverage],
        nodes: ChainNodes,
    ) -> Self:
        """Show a chain."""
        return cls(
            name=definition.name,
            wire_name=definition.wire_name,
            caip2=definition.caip2,
            mode=definition.mode,
            required_confirmation=definition.required_depth,
            cursor=None if status is None else CursorView.of(status.cursor, definition.kind),
            lag=None if nodes.lag is None else nodes.lag.blocks,
            lag_seconds=None if nodes.lag is None else nodes.lag.seconds,
            finalized_height=None if status is None else status.finalized_height,
            advanced_at=None if status is None else status.advanced_at,
            trouble=_why_not_started(definition, nodes.nodes) if status is None else status.trouble,
            follower=None if status is None else status.follower,
            unsettled=0 if status is None else status.unsettled,
            stranded=[] if status is None else list(status.stranded),
            nodes=[NodeView.of(node) for node in nodes.nodes],
            coverage=[CoverageView.of(found, one, definition) for one in coverage for found in one.coverage.ranges],
            seeding=None if status is None or status.seeding is None else SeedingView.of(status.seeding),
        )

    def without_inner_life(self) -> Self:
        """Leave out what tells of other accounts or of the operator's machines: a key of one account may not see it."""
        return self.model_copy(update=dict.fromkeys(("trouble", "follower", "unsettled", "stranded", "nodes", "seeding")))


def _why_not_started(definition: ChainDefinition, nodes: Sequence[ReportedNode]) -> str | None:
    """Say why a chain has no cursor, as far as its nodes tell; None where none was ever tried."""
    if not nodes:
        return None
    reasons = [node.status.reason for node in nodes if node.status.reason is not None]
    tips = [node.status.tip.height for node in nodes if node.status.tip is not None]
    if definition.start_height is not None and tips and max(tips) < definition.start_height - 1:
        reasons.append(f"start_height {definition.start_height} is not reached, the nodes' tip is {max(tips)}")
    return f"not started: {'; '.join(reasons)}" if reasons else "not started yet"
