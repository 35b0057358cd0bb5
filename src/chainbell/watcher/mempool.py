"""Follow the mempool of a chain's node, beside the follower of its blocks: what arrived, and what is there no more.

One node is looked at, the one that the follower reads. A look counts only where the node's tip is our cursor: that is
demanded by the commit, and a look whose commit was thrown away is told with the next one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic

import structlog

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import ChainHaltedError, NodeError, UnavailableError
from chainbell.domain.following import Stale
from chainbell.domain.utxo import Lacking, MempoolView, UtxoTransaction
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.watcher.completing import commit_completed
from chainbell.watcher.leading import Leading
from chainbell.watcher.ports import M, MempoolCommits, MempoolNodes

TRANSACTIONS_PER_COMMIT = 1000
POLL_SECONDS = 0.5
"""How often a mempool is looked at, at least; more often where the chain's own polls are."""
REST_FACTOR = 2
"""After a look the node has this many times as long as it took to do other things."""
LONGEST_REST_SECONDS = 10.0
ABSENCE_SECONDS = 5.0
"""How often it is asked, where nothing comes or goes, whether something has been away for too long."""
PAUSE_AFTER_TROUBLE_SECONDS = 1.0
FAILURES_IN_A_ROW = 3
"""A node whose mempool cannot be read so often in a row rests: one failure may be a tip that moves fast."""


@dataclass(slots=True)
class _Seen:
    """What one node showed since we look at it, in one stretch of leading.

    Another leader may have told otherwise meanwhile; and a reorg, which ends a stretch, may have brought back between two
    looks what a block had taken from the mempool: it must be told as arrived once more.
    """

    node: str
    fence: int
    stretch: int
    known: dict[bytes, UtxoTransaction | None] = field(default_factory=dict)
    """What is in its mempool and was read: None once it is committed."""
    ask_absence_at: float = 0.0
    """When to commit again although nothing came or went, by the loop's clock."""

    def take(self, view: MempoolView) -> bool:
        """Keep what is there, and read; tell whether something that was committed is there no more."""
        left = [txid for txid in self.known.keys() - view.present if self.known.pop(txid) is None]
        for transaction in view.arrived:
            self.known[transaction.hash] = transaction
        return bool(left)

    def untold(self) -> list[UtxoTransaction]:
        """Return what was read and is not committed, in the order in which it came."""
        return [transaction for transaction in self.known.values() if transaction is not None]


class MempoolFollower(Generic[M]):
    """Tells what a mempool shows until it is cancelled, while this process follows the chain and is up to date."""

    def __init__(  # noqa: PLR0913 - what one follower is made of
        self,
        definition: ChainDefinition,
        nodes: MempoolNodes[M],
        commits: MempoolCommits,
        *,
        leading: Leading,
        wake: asyncio.Event,
        clock: Callable[[], datetime],
    ) -> None:
        self._nodes = nodes
        self._commits = commits
        self._leading = leading
        self._wake = wake
        self._clock = clock
        self._poll_seconds = min(definition.poll_seconds, POLL_SECONDS)
        self._absence_seconds = min(ABSENCE_SECONDS, definition.drop_after_seconds / 4)
        self._seen: _Seen | None = None
        self._failures = 0
        self._trouble: str | None = None
        self._log = structlog.get_logger().bind(chain=definition.name)

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            fence = await self._leading.wait()
            try:
                took = await self._look(fence)
            except (UnavailableError, ChainHaltedError) as error:
                self._report(str(error))
                await asyncio.sleep(PAUSE_AFTER_TROUBLE_SECONDS)
                continue
            self._report(None)
            await self._pause(took)

    async def _look(self, fence: int) -> float:
        """Look once and tell what is new; return how long the node took."""
        node = await self._nodes.current()
        try:
            took = await self._look_at(node, fence)
        except NodeError as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._nodes.report_failure(node, error)
            raise
        self._failures = 0
        return took

    async def _look_at(self, node: M, fence: int) -> float:
        seen = self._seen
        stretch = self._leading.stretch
        if seen is None or (seen.node, seen.fence, seen.stretch) != (node.place, fence, stretch):
            seen = self._seen = _Seen(node.place, fence, stretch)
        began = _monotonic()
        view = await node.mempool(seen.known)
        took = _monotonic() - began
        if seen.take(view):
            seen.ask_absence_at = 0.0
        untold = seen.untold()
        if (untold or _monotonic() >= seen.ask_absence_at) and self._leading.under(fence, stretch):
            reached(Checkpoint.MEMPOOL_READ)
            await self._tell(node, seen, replace(view, arrived=tuple(untold)))
        return took

    async def _tell(self, node: M, seen: _Seen, view: MempoolView) -> None:
        """Commit a view, portion by portion; only the last one says what is absent."""
        seen.ask_absence_at = 0.0
        for portion in _portions(view):
            told = await self._commit(node, seen.fence, portion)
            if told is None:
                return
            for transaction in portion.arrived:
                del seen.known[transaction.hash]
            seen.known |= dict.fromkeys(transaction.hash for transaction in told)
        seen.ask_absence_at = _monotonic() + self._absence_seconds

    async def _commit(self, node: M, fence: int, view: MempoolView) -> Sequence[UtxoTransaction] | None:
        """Return what was committed: all that arrived, but what left while more of it was read. None: nothing at all."""
        latest = view

        async def complete(read: MempoolView, lacking: Lacking) -> MempoolView:
            nonlocal latest
            latest = await node.complete_view(read, lacking)
            return latest

        outcome = await commit_completed(view, lambda read: self._commits.observe(fence, read, self._clock()), complete)
        if isinstance(outcome, Stale):
            self._log.debug("mempool is looked at again", reason=outcome.reason)
            return None
        return latest.arrived

    def _report(self, trouble: str | None) -> None:
        """Log a trouble unless it is the last one still, and its end."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            self._log.info("mempool is followed again")
        else:
            self._log.warning("mempool waits", reason=trouble)

    async def _pause(self, took: float) -> None:
        """Leave the node in peace for a while, then wait for the next poll, or for a hint that there is something to see."""
        rest = min(REST_FACTOR * took, LONGEST_REST_SECONDS)
        await asyncio.sleep(rest)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._poll_seconds - rest)):
                await self._wake.wait()
        self._wake.clear()


def _portions(view: MempoolView) -> Iterator[MempoolView]:
    """Yield a view in parts that one commit can take: one at least."""
    parts = range(0, max(1, len(view.arrived)), TRANSACTIONS_PER_COMMIT)
    for start in parts:
        arrived = view.arrived[start : start + TRANSACTIONS_PER_COMMIT]
        yield replace(view, arrived=arrived, loaded=view.loaded and start == parts[-1])


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
