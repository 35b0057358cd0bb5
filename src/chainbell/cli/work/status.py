"""What ``chainbell status`` does."""

from typing import Self
from uuid import UUID

from chainbell.api.chain_report import chain_report
from chainbell.api.views.chain import ChainView
from chainbell.api.views.wire import Wire, WireTime
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table
from chainbell.cli.work.session import with_services
from chainbell.events.v2 import wire_time
from chainbell.storage.delivery_log import Backlog
from chainbell.telemetry.clock import now

_NOT_STARTED = "not started: no node of it can be read yet; the log of `chainbell run` says why"


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


class StatusView(Wire):
    """How everything stands."""

    chains: list[ChainView]
    """Those that were ever started, or have a node."""
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
        ["chain", "mode", "cursor", "followed by", "unsettled", "stranded", "last advance", "trouble"],
        [_chain_row(chain) for chain in status.chains],
        "no chain was started: set CHAINBELL_NODES__ETHEREUM, or that of another chain, and start `chainbell run`",
    )
    for chain in status.chains:
        for uid in chain.stranded or ():
            answer(f"stranded on {chain.name}: {uid} is in no block, and nothing has taken its place")
    print_table(
        ["endpoint", "state", "pending", "oldest", "exhausted"],
        [_backlog_row(backlog) for backlog in status.endpoints],
        "there is no endpoint: `chainbell endpoint add` registers one",
    )
    answer(f"feed cursor  {status.feed_cursor}")


async def _status(services: Services) -> StatusView:
    report = await chain_report(services.database, services.chain_states, list(services.chains.values()), now())
    return StatusView(
        chains=[
            chain if chain.cursor is not None else chain.model_copy(update={"trouble": _NOT_STARTED})
            for chain in report
            if chain.cursor is not None or chain.name in services.settings.nodes
        ],
        endpoints=[BacklogView.of(backlog) for backlog in await services.deliveries.backlogs()],
        feed_cursor=str(await services.events.end()),
    )


def _chain_row(chain: ChainView) -> list[str | None]:
    return [
        chain.name,
        chain.mode.value,
        "none" if chain.cursor is None else str(chain.cursor.height),
        chain.follower or "nobody",
        str(chain.unsettled),
        str(len(chain.stranded or ())),
        None if chain.advanced_at is None else wire_time(chain.advanced_at),
        chain.trouble,
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
