"""What one commit on a chain did, told in the log and counted once it is committed: never what was rolled back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from chainbell.domain.address import format_hash
from chainbell.domain.delivery import FeedEvent
from chainbell.domain.transaction import TransactionEvent
from chainbell.telemetry import metrics

_log = structlog.get_logger()


@dataclass(slots=True)
class Tally:
    """One commit, as it adds up."""

    chain: str
    kind: str = "settle"
    """``advance``, ``retract`` or ``scan`` once it is one."""
    blocks: int = 0
    """Read at the tip, or of history by a scan."""
    movements: int = 0
    reorg_depth: int = 0
    told: list[tuple[TransactionEvent, FeedEvent]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def add(self, events: Sequence[TransactionEvent], stored: Sequence[FeedEvent]) -> None:
        """Take what was told, as it happened and as it is on the feed."""
        self.told += zip(events, stored, strict=True)

    def committed(self) -> None:
        """Say that all of it is committed."""
        metrics.COMMIT_SECONDS.labels(self.chain, self.kind).observe(time.perf_counter() - self.began)
        match self.kind:
            case "advance":
                metrics.BLOCKS.labels(self.chain).inc(self.blocks)
                metrics.MOVEMENTS.labels(self.chain).inc(self.movements)
            case "scan":
                metrics.BLOCKS_SCANNED.labels(self.chain).inc(self.blocks)
            case "retract":
                metrics.REORGS.labels(self.chain).inc()
                metrics.REORG_DEPTH.labels(self.chain).observe(self.reorg_depth)
        for event, stored in self.told:
            metrics.TRANSITIONS.labels(self.chain, stored.type).inc()
            _log.info("told", **_names(event, stored))


def _names(event: TransactionEvent, stored: FeedEvent) -> dict[str, object]:
    """Return the keys by which a webhook is followed back to its block.

    Where no block includes the transaction (any more), ``occasion`` has the hash of the one that is the reason: the block
    that was taken back, or that of a conflict.
    """
    subject, block = event.transaction.subject, event.transaction.block
    kind = subject.chain.kind
    occasion = event.occasion[0] if block is None and event.occasion else None
    return {
        "chain": stored.chain,
        "height": None if block is None else block.height,
        "block": None if block is None else format_hash(kind, block.hash),
        "occasion": None if occasion is None else format_hash(kind, occasion),
        "tx": format_hash(kind, subject.tx_hash),
        "uid": stored.resource_id,
        "type": stored.type,
        "event_id": stored.id,
        "position": stored.position,
    }
