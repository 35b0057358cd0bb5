"""Look back: read the blocks that scans of the past ask for, beside the follower, and never in its way.

A scan reads from above downwards, so that each block is proved to be ours by the one above it. A node that cannot give old
blocks keeps the scan waiting, and is passed over; it goes on to be followed at the tip.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic

import structlog

from chainbell.domain.block import Block
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import ChainHaltedError, NodeError, UnavailableError
from chainbell.domain.following import Committed
from chainbell.domain.history import ScanWindow
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.watcher.completing import commit_completed
from chainbell.watcher.leading import Leading
from chainbell.watcher.local_chain import check_linked
from chainbell.watcher.ports import LookBack, N, Nodes, Scans

BLOCKS_PER_WINDOW = {ChainKind.EVM: 16, ChainKind.UTXO: 4}
IDLE_SECONDS = 1.0
"""How soon a new scan begins."""
LONGEST_PAUSE_SECONDS = 60.0
"""How often at least nodes are asked again for blocks that none of them could give."""


class BackScanner(Generic[N]):
    """Works off the scans of one chain until it is cancelled, while this process follows that chain and is up to date."""

    def __init__(  # noqa: PLR0913 - what one scanner is made of
        self,
        definition: ChainDefinition,
        nodes: Nodes[N],
        scans: Scans,
        commits: LookBack,
        *,
        leading: Leading,
        clock: Callable[[], datetime],
    ) -> None:
        self._chain = definition.name
        self._most = BLOCKS_PER_WINDOW[definition.kind]
        self._nodes = nodes
        self._scans = scans
        self._commits = commits
        self._leading = leading
        self._round: tuple[str, ...] = ()
        self._turn = False
        self._clock = clock
        self._log = structlog.get_logger().bind(chain=definition.name)

    async def run(self) -> None:
        """Read window after window, for ever."""
        pause = IDLE_SECONDS
        while True:
            fence = await self._leading.wait()
            stretch = self._leading.stretch
            try:
                window = await self._next_window()
                went_on = window is not None and await self._go_on(fence, stretch, window)
            except (UnavailableError, ChainHaltedError) as error:
                self._log.warning("scan waits", reason=str(error))
                window, went_on = None, False
            if went_on:
                pause = IDLE_SECONDS
                continue
            await asyncio.sleep(pause)
            pause = IDLE_SECONDS if window is None else min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _next_window(self) -> ScanWindow | None:
        """Give every other window to the scans that were unfinished when a round began: newer ones must not starve them."""
        self._turn = not self._turn
        if self._turn:
            window = await self._scans.next_window(self._chain, self._most, self._round)
            if window is not None:
                return window
            self._round = await self._scans.unfinished(self._chain)
        return await self._scans.next_window(self._chain, self._most)

    async def _go_on(self, fence: int, stretch: int, window: ScanWindow) -> bool:
        """Read one window and commit what it holds; False when no node can give it now."""
        read = await self._read(window)
        if read is None:
            return False
        node, blocks = read
        reached(Checkpoint.SCAN_READ)
        if not self._leading.under(fence, stretch):
            return True  # what was read is read again once we lead
        outcome = await commit_completed(
            blocks, lambda read: self._commits.look_back(fence, window, read, self._clock()), node.complete
        )
        if isinstance(outcome, Committed):
            self._log.debug("scanned", lowest=window.lowest, highest=window.highest, events=outcome.events)
        else:
            self._log.info("scan read again", reason=outcome.reason)
        return True

    async def _read(self, window: ScanWindow) -> tuple[N, Sequence[Block]] | None:
        troubles = []
        for node in self._nodes.usable():
            try:
                return node, _proved(window, await node.blocks_from(window.lowest, window.highest))
            except NodeError as error:
                troubles.append(str(error))
        if troubles:
            trouble = f"no node gives blocks {window.lowest} to {window.highest}: {'; '.join(troubles)}"
            self._log.warning("scan waits", reason=trouble)
            await self._scans.note_trouble(window.scan_ids, trouble)
        return None


def _proved(window: ScanWindow, blocks: Sequence[Block]) -> Sequence[Block]:
    """Return the blocks of a window if they are all there, and ours. Raises `NodeError`."""
    refs = [block.ref for block in blocks]
    check_linked(window.lowest, refs)
    if len(refs) != window.highest - window.lowest + 1:
        message = f"the node has no block {window.lowest + len(refs)}"
        raise NodeError(message)
    if refs[-1].hash != window.highest_hash:
        message = (
            f"the node's block {window.highest} is {refs[-1].hash.hex()}, and ours is {window.highest_hash.hex()}: "
            "it follows another branch, or our scan was just moved by a reorg"
        )
        raise NodeError(message)
    return blocks
