"""What ``chainbell status`` does."""

from datetime import datetime
from typing import Self
from uuid import UUID

from chainbell.api.chain_report import chain_report
from chainbell.api.views.chain import ChainView, HintsView, NodeView, SeedingView
from chainbell.api.views.wire import Wire, WireTime
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table
from chainbell.cli.work.session import with_services
from chainbell.events.v2 import wire_time
from chainbell.storage.delivery_log import Backlog
from chainbell.storage.node_states import FRESH
from chainbell.storage.scan_list import Unfinished
from chainbell.telemetry.clock import now

_NOT_STARTED = "not started: nobody has tried yet; `chainbell run` does"


class BacklogView(Wire):
    """What an endpoint has not taken."""

    endpoint_id: UUID
    enabled: bool
    failing_since: WireTime | None
    pending: int
    oldest_pending_at: WireTime | None
    exhausted: int

    @classmethod
    def of(cls, backlog: Backlog) -> Self:
        """Show a backlog."""
        return cls(
            endpoint_id=UUID(backlog.endpoint_id),
            enabled=backlog.enabled,
            failing_since=backlog.failing_since,
            pending=backlog.pending,
            oldest_pending_at=backlog.oldest_pending_at,
            exhausted=backlog.exhausted,
        )


class UnfinishedScansView(Wire):
    """What of a chain's past is still to be read."""

    chain: str
    scans: int
    """How many go on."""
    next_height: int
    """Highest block that one of them reads next."""
    from_height: int
    """Lowest block that one of them reads."""
    troubles: list[str]
    """What keeps them from going on."""

    @classmethod
    def of(cls, unfinished: Unfinished) -> Self:
        """Show what is unfinished."""
        return cls(
            chain=unfinished.chain,
            scans=unfinished.scans,
            next_height=unfinished.next_height,
            from_height=unfinished.from_height,
            troubles=list(unfinished.troubles),
        )


class StatusView(Wire):
    """How everything stands."""

    chains: list[ChainView]
    """Those that were ever started, or have a node."""
    scans: list[UnfinishedScansView]
    """Scans of the past that go on, by chain."""
    endpoints: list[BacklogView]
    feed_cursor: str
    """Behind the newest event."""


def show(*, as_json: bool) -> None:
    """Show how everything stands."""
    status = with_services(_status)
    if as_json:
        print_lines([status.to_json()])
        return
    print_table(
        ["chain", "mode", "cursor", "lag", "followed by", "unsettled", "stranded", "last advance", "trouble"],
        [_chain_row(chain) for chain in status.chains],
        "no chain was started: set CHAINBELL_NODES__ETHEREUM, or that of another chain, and start `chainbell run`",
    )
    for chain in status.chains:
        if chain.stalled is not None:
            since = wire_time(chain.stalled.since)
            answer(f"{chain.name} stands still ({chain.stalled.kind.value}) since {since}: {chain.stalled.reason}")
        for uid in chain.stranded or ():
            answer(f"stranded on {chain.name}: {uid} is in no block, and nothing has taken its place")
        if chain.seeding is not None:
            answer(_seeding_line(chain.name, chain.seeding))
    at = now()
    print_table(
        ["chain", "node", "state", "since", "tip", "hints", "reason"],
        [_node_row(chain, node, at) for chain in status.chains for node in chain.nodes or ()],
        "no node was tried yet: `chainbell run` does",
    )
    for chain in status.chains:
        for node in chain.nodes or ():
            if node.hints is not None and node.hints.reason is not None:
                answer(_hints_line(chain.name, node.name, node.hints))
    print_table(
        ["endpoint", "state", "pending", "oldest", "exhausted"],
        [_backlog_row(backlog) for backlog in status.endpoints],
        "there is no endpoint: `chainbell endpoint add` registers one",
    )
    for one in status.scans:
        answer(_scans_line(one))
    answer(f"feed cursor  {status.feed_cursor}")


async def _status(services: Services) -> StatusView:
    report = await chain_report(services.database, services.chain_states, list(services.chains.values()), now())
    return StatusView(
        chains=[
            chain if chain.cursor or chain.trouble else chain.model_copy(update={"trouble": _NOT_STARTED})
            for chain in report
            if chain.cursor is not None or chain.name in services.settings.nodes
        ],
        scans=[UnfinishedScansView.of(one) for one in await services.scans.unfinished(list(services.chains))],
        endpoints=[BacklogView.of(backlog) for backlog in await services.deliveries.backlogs()],
        feed_cursor=str(await services.events.end()),
    )


def _chain_row(chain: ChainView) -> list[str | None]:
    return [
        chain.name,
        chain.mode.value,
        "none" if chain.cursor is None else str(chain.cursor.height),
        None if chain.lag is None else _lag(chain.lag, chain.lag_seconds),
        chain.follower or "nobody",
        str(chain.unsettled),
        str(len(chain.stranded or ())),
        None if chain.advanced_at is None else wire_time(chain.advanced_at),
        chain.trouble,
    ]


def _seeding_line(chain: str, seeding: SeedingView) -> str:
    whose = "1 address" if seeding.addresses == 1 else f"{seeding.addresses:,} addresses"
    waits = f"; waiting: {seeding.trouble}" if seeding.trouble else ""
    return f"{chain}: older outputs of {whose} are being read, what leaves them is not covered until then{waits}"


def _hints_line(chain: str, node: str, hints: HintsView) -> str:
    since = wire_time(hints.since)
    return f"{chain}: hints of {node} {hints.state} since {since}: {hints.reason}. It is polled all the same"


def _scans_line(one: UnfinishedScansView) -> str:
    count = "1 scan reads" if one.scans == 1 else f"{one.scans:,} scans read"
    waits = f"; waiting: {'; '.join(one.troubles)}" if one.troubles else ""
    return f"the past of {one.chain}: {count}, at block {one.next_height}, down to {one.from_height}{waits}"


def _lag(blocks: int, seconds: float | None) -> str:
    return str(blocks) if seconds is None else f"{blocks} ({seconds:.0f} s)"


def _node_row(chain: ChainView, node: NodeView, at: datetime) -> list[str | None]:
    told = f"{node.state}, as told {wire_time(node.reported_at)}" if at - node.reported_at > FRESH else node.state.value
    past = None if node.last_failure is None else f"well again; before: {node.last_failure}"
    return [
        chain.name,
        node.name,
        told,
        wire_time(node.since),
        None if node.tip_height is None else str(node.tip_height),
        None if node.hints is None else node.hints.state.value,
        node.reason or past,
    ]


def _backlog_row(backlog: BacklogView) -> list[str | None]:
    failing = None if backlog.failing_since is None else f"fails since {wire_time(backlog.failing_since)}"
    return [
        str(backlog.endpoint_id),
        (failing or "answers") if backlog.enabled else "disabled",
        str(backlog.pending),
        None if backlog.oldest_pending_at is None else wire_time(backlog.oldest_pending_at),
        str(backlog.exhausted),
    ]
