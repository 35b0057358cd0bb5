"""What this process counts, for Prometheus. Labels are bounded: chains, node numbers, types, outcomes; never an address.

What is true of the whole installation is not counted here but read from the database at each scrape (``app/gauges.py``):
several processes would each know a piece of it, and a process that was started anew would have forgotten it.
"""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

import chainbell

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus-client has no type for it

REGISTRY = CollectorRegistry(auto_describe=True)
"""Everything that ``/metrics`` shows."""
ProcessCollector(registry=REGISTRY)

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NETWORK = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
_DEPTHS = (1, 2, 3, 5, 8, 13, 32, 64, 128, 512)

BUILD = Gauge("chainbell_build", "Always 1; its label is the version that runs.", ["version"], registry=REGISTRY)
BUILD.labels(chainbell.__version__).set(1)

BLOCKS = Counter("chainbell_blocks", "Blocks committed at the tip of a chain.", ["chain"], registry=REGISTRY)
BLOCKS_SCANNED = Counter("chainbell_scanned_blocks", "Blocks of history read by scans.", ["chain"], registry=REGISTRY)
MOVEMENTS = Counter(
    "chainbell_movements", "Movements of value in the committed blocks, whoever they concern.", ["chain"], registry=REGISTRY
)
TRANSITIONS = Counter("chainbell_transitions", "Events told of transactions, by type.", ["chain", "type"], registry=REGISTRY)
REORGS = Counter("chainbell_reorgs", "Reorgs that were followed.", ["chain"], registry=REGISTRY)
REORG_DEPTH = Histogram(
    "chainbell_reorg_depth_blocks", "Blocks taken back by one reorg.", ["chain"], buckets=_DEPTHS, registry=REGISTRY
)
COMMIT_SECONDS = Histogram(
    "chainbell_commit_seconds",
    "Time of one commit on a chain with everything that it decides, by kind: advance, retract, settle.",
    ["chain", "kind"],
    buckets=_QUICK,
    registry=REGISTRY,
)
COMMITS_THROWN_AWAY = Counter(
    "chainbell_commits_thrown_away",
    "Commits that wrote nothing, for another process follows the chain, or the cursor had moved.",
    ["chain"],
    registry=REGISTRY,
)
NODE_REQUESTS = Counter(
    "chainbell_node_requests", "HTTP requests to a node, by its number in the setting.", ["chain", "node"], registry=REGISTRY
)
NODE_FAILURES = Counter(
    "chainbell_node_failures", "Times that a node was left alone because it failed.", ["chain", "node"], registry=REGISTRY
)
ATTEMPTS = Counter(
    "chainbell_delivery_attempts", "POSTs of webhooks that were recorded, by outcome.", ["outcome"], registry=REGISTRY
)
POST_SECONDS = Histogram(
    "chainbell_delivery_post_seconds", "Time of one POST of a webhook.", buckets=_NETWORK, registry=REGISTRY
)
RESCUES = Counter(
    "chainbell_delivery_rescues",
    "Deliveries claimed anew, for the worker that had claimed them never told what became of them.",
    registry=REGISTRY,
)
RESULTS_LOST = Counter(
    "chainbell_delivery_results_lost", "POSTs whose result could not be written: they are sent once more.", registry=REGISTRY
)
PART_FAILURES = Counter(
    "chainbell_part_failures",
    "Times that a part of this process failed and was started again.",
    ["part"],
    registry=REGISTRY,
)


def begin_deliveries(outcomes: Iterable[str]) -> None:
    """Show these outcomes of attempts from the start, at zero: the first of each is an increase, and no new series."""
    for outcome in outcomes:
        ATTEMPTS.labels(outcome)


def begin_chain(chain: str, event_types: Iterable[str]) -> None:
    """Show a chain that is followed, and what may be told of it, from the start, at zero."""
    for counter in (BLOCKS, MOVEMENTS, REORGS, COMMITS_THROWN_AWAY):
        counter.labels(chain)
    for event_type in event_types:
        TRANSITIONS.labels(chain, event_type)


def exposition() -> tuple[bytes, str]:
    """Return everything that is counted, as Prometheus reads it, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_PLAIN_0_0_4
