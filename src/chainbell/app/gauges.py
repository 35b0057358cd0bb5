"""``/metrics``: what this process counted, and what the database says, read at the scrape and kept for some seconds."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import DatabaseError
from chainbell.domain.node import NodeState
from chainbell.storage.chains import ChainStatus
from chainbell.storage.database import Database
from chainbell.storage.gauges import BacklogGauges, NodeGauge, ScanGauges, Snapshot, read_gauges
from chainbell.telemetry.metrics import exposition
from chainbell.watcher.stall import ChainFacts, Stall, stalled

KEPT_SECONDS = 5.0
"""Scrapes that come sooner after one another see the same read."""
READ_SECONDS = 5.0
"""A database that takes longer counts as one that does not answer: whoever scrapes waits no longer than ten."""

_ENDPOINT_STATES = ("answering", "failing", "disabled")

_log = structlog.get_logger()


class Exposition:
    """The page ``/metrics`` of a process. Before there is a database, and while it is away, it shows the rest."""

    def __init__(
        self,
        definitions: Sequence[ChainDefinition],
        now: Callable[[], datetime],
    ) -> None:
        self._definitions = definitions
        self._now = now
        self._database: Database | None = None
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._collector = DatabaseCollector()
        self._registry = CollectorRegistry(auto_describe=True)
        self._registry.register(self._collector)

    def reached(self, database: Database) -> None:
        """Say that the database was reached; it is asked through these connections from now on."""
        self._database = database

    async def __call__(self) -> tuple[bytes, str]:
        """Return the page and its content type."""
        async with self._lock:
            if time.monotonic() - self._read_at > KEPT_SECONDS:
                self._collector.show(await self._read(), self._now())
                self._read_at = time.monotonic()
        counted, content_type = exposition()
        return counted + generate_latest(self._registry), content_type

    async def _read(self) -> Snapshot | None:
        if self._database is None:
            return None
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await read_gauges(self._database, self._definitions, self._now())
        except (DatabaseError, TimeoutError) as error:
            _log.warning("metrics without database", reason=str(error) or f"it took longer than {READ_SECONDS:.0f} s")
            return None


class DatabaseCollector(Collector):
    """Shows the last read of the database; nothing of it, but that it is down, when there was none."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._at: datetime | None = None

    def show(self, snapshot: Snapshot | None, at: datetime) -> None:
        """Show this from now on."""
        self._snapshot, self._at = snapshot, at

    def describe(self) -> Iterator[Metric]:
        """Name what there may be, also before the first read."""
        yield from self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; without samples where there is nothing to say."""
        snapshot, at = self._snapshot, self._at
        up = _gauge("chainbell_database_up", "Whether the last read of the database worked.")
        up.add_metric([], 0.0 if snapshot is None else 1.0)
        yield up
        yield from _feed(snapshot)
        yield from _chains([] if snapshot is None else snapshot.chains, at)
        yield from _scans([] if snapshot is None else snapshot.scans)
        yield from _backlogs([] if snapshot is None else snapshot.backlogs, None if snapshot is None else at)
        yield _nodes([] if snapshot is None else snapshot.nodes)


def _gauge(name: str, words: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=labels)


def _feed(snapshot: Snapshot | None) -> Iterator[Metric]:
    position = _gauge("chainbell_feed_position", "Position of the newest event on the feed.")
    generation = _gauge("chainbell_generation", "How often this database was restored from a backup.")
    if snapshot is not None:
        position.add_metric([], snapshot.feed_position)
        generation.add_metric([], snapshot.generation)
    yield position
    yield generation


_CHAIN_GAUGES: dict[str, tuple[str, Callable[[ChainStatus, ChainFacts, datetime], float | None]]] = {
    "cursor_height": ("Height of the last block that was committed.", lambda status, _facts, _at: status.cursor.height),
    "tip_height": (
        "Newest block of the node in use, as it was last reported.",
        lambda _status, facts, _at: facts.tip_height,
    ),
    "lag_blocks": ("Blocks from our cursor to the tip of the node in use.", lambda _status, facts, _at: facts.lag),
    "lag_seconds": (
        "The same in seconds of the chain's own clock.",
        lambda _status, facts, _at: None if (lag := facts.lag_time) is None else lag.total_seconds(),
    ),
    "idle_seconds": (
        "Seconds since the cursor last moved.",
        lambda status, _facts, at: max(0.0, (at - status.advanced_at).total_seconds()),
    ),
    "pace_seconds": ("Seconds from block to block, measured.", lambda _status, facts, _at: facts.pace.total_seconds()),
    "followed": ("Whether a process follows the chain.", lambda _status, facts, _at: facts.followed),
    "halted": ("Whether the chain waits for an operator.", lambda _status, facts, _at: facts.halted),
    "trouble": ("Whether something keeps the chain from going on.", lambda status, _facts, _at: status.trouble is not None),
    "unsettled": ("Transactions told and not final.", lambda status, _facts, _at: status.unsettled),
    "stranded": (
        "Transactions in no block for longer than drop_after; counted up to 100.",
        lambda status, _facts, _at: len(status.stranded),
    ),
}


def _chains(chains: Sequence[tuple[ChainStatus, ChainFacts]], at: datetime | None) -> Iterator[Metric]:
    for name, (words, value_of) in _CHAIN_GAUGES.items():
        gauge = _gauge(f"chainbell_chain_{name}", words, ["chain"])
        for status, facts in chains:
            value = None if at is None else value_of(status, facts, at)
            if value is not None:
                gauge.add_metric([status.name], float(value))
        yield gauge
    stalls = _gauge("chainbell_chain_stalled", "Whether the chain stands still, for this reason.", ["chain", "reason"])
    for status, facts in chains:
        found = None if at is None else stalled(facts, at)
        for kind in Stall:
            stalls.add_metric([status.name, kind.value], float(found is not None and found.kind is kind))
    yield stalls


def _scans(scans: Sequence[ScanGauges]) -> Iterator[Metric]:
    unfinished = _gauge("chainbell_scans_unfinished", "Scans of the past that go on.", ["chain"])
    left = _gauge("chainbell_scan_blocks_left", "Blocks that they have yet to read, added up.", ["chain"])
    trouble = _gauge("chainbell_scans_in_trouble", "Those of them that something keeps from going on.", ["chain"])
    for scan in scans:
        unfinished.add_metric([scan.chain], scan.unfinished)
        left.add_metric([scan.chain], scan.blocks_left)
        trouble.add_metric([scan.chain], scan.in_trouble)
    yield from (unfinished, left, trouble)


def _backlogs(backlogs: Sequence[BacklogGauges], at: datetime | None) -> Iterator[Metric]:
    label = ["endpoints"]
    endpoints = _gauge("chainbell_endpoints", "Endpoints, by whether they answer.", ["state"])
    pending = _gauge("chainbell_deliveries_pending", "Deliveries due now or later, by how their endpoints are.", label)
    oldest = _gauge("chainbell_deliveries_oldest_pending_seconds", "Age of the oldest of these.", label)
    overdue = _gauge("chainbell_deliveries_overdue_seconds", "How long the first of these is due already.", label)
    exhausted = _gauge("chainbell_deliveries_exhausted", "Deliveries whose every attempt failed.", label)
    by_state = {backlog.state: backlog for backlog in backlogs}
    for state in _ENDPOINT_STATES if at is not None else ():
        found = by_state.get(state, BacklogGauges(state, 0, 0, None, None, 0))
        endpoints.add_metric([state], found.endpoints)
        pending.add_metric([state], found.pending)
        oldest.add_metric([state], _age(found.oldest_pending_at, at))
        overdue.add_metric([state], _age(found.due_at, at))
        exhausted.add_metric([state], found.exhausted)
    yield from (endpoints, pending, oldest, overdue, exhausted)


def _age(since: datetime | None, at: datetime | None) -> float:
    """Return seconds passed; 0 for what is to come, and where there is nothing."""
    return 0.0 if since is None or at is None else max(0.0, (at - since).total_seconds())


def _nodes(nodes: Sequence[NodeGauge]) -> Metric:
    gauge = _gauge(
        "chainbell_node_state", "1 for the state that the node is in, 0 for the others.", ["chain", "node", "state"]
    )
    for node in nodes:
        for state in NodeState:
            gauge.add_metric([node.chain, str(node.position), state.value], float(state.value == node.state))
    return gauge
