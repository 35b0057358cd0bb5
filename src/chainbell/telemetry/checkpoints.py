"""Named points between two steps that a crash can fall between.

Production code passes through `reached` at no cost. A test installs a listener, kills the process at each point, and looks
whether anything was lost: it takes the list of points from here, and fails when one was never hit.
"""

from collections.abc import Callable
from enum import StrEnum


class Checkpoint(StrEnum):
    """Where a process can die. The name says what has just happened."""

    CHAIN_STARTED = "chain_started"
    """The first cursor of a chain is committed."""
    BLOCKS_READ = "blocks_read"
    """New blocks were read from the node; nothing is written."""
    LEDGER_WRITTEN = "ledger_written"
    """Blocks and cursor are written in the open transaction."""
    RECORDS_WRITTEN = "records_written"
    """Transactions and fees are written in the open transaction."""
    EVENTS_WRITTEN = "events_written"
    """Events and deliveries are written in the open transaction."""
    ADVANCE_COMMITTED = "advance_committed"
    RETRACTION_WRITTEN = "retraction_written"
    """The cursor is moved back and orphans are marked in the open transaction."""
    RETRACTION_COMMITTED = "retraction_committed"
    MEMPOOL_READ = "mempool_read"
    """A mempool was read that has news, or lacks something; nothing is written."""
    MEMPOOL_WRITTEN = "mempool_written"
    """What a mempool shows, with its events, is written in the open transaction."""
    MEMPOOL_COMMITTED = "mempool_committed"
    SCAN_READ = "scan_read"
    """Blocks of the past were read from the node; nothing is written."""
    SCAN_WRITTEN = "scan_written"
    """What a scan found is written in the open transaction."""
    SCAN_COMMITTED = "scan_committed"
    SEED_READ = "seed_read"
    """A node has told the unspent outputs of some addresses; nothing is written."""
    SEED_COMMITTED = "seed_committed"
    """Those of some of them are entered."""
    DELIVERY_CLAIMED = "delivery_claimed"
    """A worker owns a delivery; nothing is sent."""
    DELIVERY_POSTED = "delivery_posted"
    """The endpoint has answered; nothing is recorded."""
    DELIVERY_RECORDED = "delivery_recorded"


def _nobody(_point: Checkpoint) -> None:
    """Listen to nothing."""


_listener: Callable[[Checkpoint], None] = _nobody


def listen(listener: Callable[[Checkpoint], None]) -> None:
    """Call `listener` at each point from now on."""
    global _listener  # noqa: PLW0603 - one process, one listener; production never sets it
    _listener = listener


def reached(point: Checkpoint) -> None:
    """Say that this point was reached."""
    _listener(point)
