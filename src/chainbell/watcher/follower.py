"""Follow one chain: look at the node's tip, decide, read, commit; for as long as we hold the chain's lease."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Generic

import structlog

from chainbell.domain.address import format_hash
from chainbell.domain.chain import BlockRef, Capability, ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import ChainHaltedError, NodeBehindError, NodeError, UnavailableError
from chainbell.domain.following import Committed, HeldElsewhere, Outcome
from chainbell.telemetry import metrics
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.watcher.completing import commit_completed
from chainbell.watcher.doubts import Doubts
from chainbell.watcher.first_start import first_ledger
from chainbell.watcher.leading import Leading
from chainbell.watcher.lease import RENEW_SECONDS, Lease, leased
from chainbell.watcher.local_chain import Linked, LocalChain, ReadParent, TipVerdict, TooDeep, WalkStep, check_linked
from chainbell.watcher.ports import Commits, Ledger, N, Nodes
from chainbell.watcher.read_ahead import ReadAhead
from chainbell.watcher.token_check import TokenCheck
from chainbell.watcher.trouble import Trouble

BLOCKS_PER_COMMIT = {ChainKind.EVM: 16, ChainKind.UTXO: 4}
"""By kind: a full block of Bitcoin holds thousands of transactions."""
CHECK_TOKENS_SECONDS = 60.0
"""How soon a token that was switched off is asked again."""
BEHIND_POLLS = 5
"""How often in a row a lone node may lag before we say so: behind one URL there may be several."""
STILL_BLOCKS, STILL_SECONDS = 10, 30.0
"""A tip that stands still for so many block times, and so many seconds, makes us ask another node if there is one."""


class Progress(Enum):
    """What one step came to."""

    MOVED = auto()
    """The cursor moved: look again at once."""
    IDLE = auto()
    """Our cursor is the node's best block: there is nothing to do until the next poll."""
    WAITING = auto()
    """The node cannot lead us on, now: it lags, or an operator must look."""
    STALE = auto()
    """Somebody else wrote: what we hold in memory is not how the chain stands."""


@dataclass(slots=True)
class _Lead(Generic[N]):
    """What one stretch of following holds: the lease, and our chain as it stands."""

    lease: Lease
    local: LocalChain
    ahead: ReadAhead[N]
    doubts: Doubts[N]
    moved_at: float
    """When the cursor last moved, by the loop's clock."""
    check_tokens_at: float = 0.0
    finalized: BlockRef | None = None
    ask_finalized_at: float = 0.0
    """Between two blocks a node finalizes seldom more than once: it need not be asked at each poll."""
    settled: bool = False
    """Whether everything that is deep enough was promoted since the cursor and the finalized block last moved."""
    stood_with: N | None = None
    """The node whose chain last had our cursor in it."""
    behind: int = 0
    """How often in a row the node's tip lay behind our cursor."""
    too_deep: tuple[bytes, bytes] | None = None
    """The foreign block and the cursor of the last reorg that was too deep: it need not be walked again."""


class Follower(Generic[N]):
    """Follows one chain until it is cancelled. Errors of nodes and of the database delay it, and never advance it."""

    def __init__(  # noqa: PLR0913 - what one follower is made of
        self,
        definition: ChainDefinition,
        nodes: Nodes[N],
        ledger: Ledger,
        commits: Commits,
        *,
        identity: str,
        wake: asyncio.Event,
        clock: Callable[[], datetime],
    ) -> None:
        self._definition = definition
        self._nodes = nodes
        self._ledger = ledger
        self._commits = commits
        self._batch = BLOCKS_PER_COMMIT[definition.kind]
        self._identity = identity
        self._wake = wake
        self._clock = clock
        self._log = structlog.get_logger().bind(chain=definition.name)
        self._tokens = TokenCheck(definition)
        self._trouble = Trouble(definition.name, identity, ledger, self._log)
        self.leading = Leading()

    async def run(self) -> None:
        """Follow for ever: start the chain, take its lease, step."""
        while True:
            try:
                if await self._start():
                    await self._follow()
            except ChainHaltedError as error:
                await self._trouble.report(str(error), halted=True)
            except UnavailableError as error:
                await self._trouble.report(str(error))
            await self._pause(at_most=RENEW_SECONDS)

    async def _start(self) -> bool:
        """Give the chain its first cursor, once: just below ``start_height``, or the tip of this moment."""
        if await self._ledger.genesis(self._definition.name) is not None:
            return True
        node = await self._nodes.current()
        with self._blaming(node):
            identity = await node.identify()
            first = await first_ledger(self._definition, node)
        if first is None:
            await self._trouble.report(f"the node has not reached start_height {self._definition.start_height} yet")
            return False
        if await self._ledger.start(self._definition, identity.genesis_hash, first, self._clock()):
            block = format_hash(self._definition.kind, first.cursor.hash)
            self._log.info("chain started", height=first.cursor.height, block=block)
            reached(Checkpoint.CHAIN_STARTED)
        return True

    async def _follow(self) -> None:
        """Step for as long as the lease is ours."""
        async with leased(self._ledger, self._definition.name, self._identity) as lease:
            self._trouble.is_over = False
            if isinstance(lease, HeldElsewhere):
                self._trouble.log_once(f"{lease.follower} follows this chain; we wait for its lease to end")
                return
            if not await self._ledger.redefine(self._definition, lease.fence):
                return
            local = LocalChain(await self._ledger.kept(self._definition), self._definition.reorg_limit)
            await self._lead(_Lead(lease, local, ReadAhead(self._batch), Doubts(), moved_at=_monotonic()))

    async def _lead(self, lead: _Lead[N]) -> None:
        try:
            while not lead.lease.lost:
                progress = await self._try_step(lead)
                if progress is Progress.STALE:
                    return
                if progress is not Progress.MOVED:
                    await self._pause()
        finally:
            self.leading.end()
            await lead.ahead.drop()

    async def _try_step(self, lead: _Lead[N]) -> Progress:
        try:
            progress = await self._step(lead)
        except NodeError as error:
            self.leading.end()
            await lead.ahead.drop()
            await self._trouble.report(str(error))
            return Progress.WAITING
        if progress not in {Progress.MOVED, Progress.IDLE}:
            self.leading.end()
        else:
            await self._trouble.end(lead.local.cursor)
        if progress is Progress.MOVED:
            lead.moved_at = _monotonic()
        return progress

    async def _step(self, lead: _Lead[N]) -> Progress:
        node = await self._nodes.current()
        with self._blaming(node):
            tip = await node.tip()
            lead.doubts.look()
            verdict = lead.local.judge(tip)
            if verdict is TipVerdict.BEHIND:
                return await self._wait_behind(lead, node, tip)
            lead.behind = 0
            if _monotonic() >= lead.check_tokens_at and not await self._cover(lead, node):
                return Progress.STALE
            match verdict:
                case TipVerdict.IS_CURSOR:
                    lead.stood_with = node
                    lead.doubts.stands()
                    self._ask_another_when_still(lead, node, tip)
                    return await self._settle(lead, node)
                case TipVerdict.FOREIGN:
                    return await self._reorg(lead, node, tip)
                case TipVerdict.HIGHER:
                    return await self._advance(lead, node, tip)

    async def _wait_behind(self, lead: _Lead[N], node: N, tip: BlockRef) -> Progress:
        """Take nothing back on the word of a node that lags: wait for it, or ask another."""
        trouble = f"the node's tip {tip.height} lies behind our cursor {lead.local.cursor.height}"
        if lead.behind == 0:
            await node.confirm()
        if self._nodes.has_another(node):
            raise NodeBehindError(trouble)
        lead.behind += 1
        if lead.behind >= BEHIND_POLLS:
            await self._trouble.report(trouble)
        return Progress.WAITING

    def _ask_another_when_still(self, lead: _Lead[N], node: N, tip: BlockRef) -> None:
        patience = max(STILL_BLOCKS * self._definition.block_seconds, STILL_SECONDS)
        if _monotonic() - lead.moved_at > patience and self._nodes.has_another(node):
            lead.moved_at = _monotonic()
            message = f"the node's tip has stood still at {tip.height} for {patience:.0f} s"
            raise NodeBehindError(message)

    async def _settle(self, lead: _Lead[N], node: N) -> Progress:
        """Promote what is deep enough, where that may have changed without a new block."""
        self.leading.begin(lead.lease.fence)
        if lead.settled and _monotonic() < lead.ask_finalized_at:
            return Progress.IDLE
        finalized = await self._read_finalized(node)
        lead.ask_finalized_at = _monotonic() + self._definition.block_seconds
        if lead.settled and finalized == lead.finalized:
            return Progress.IDLE
        outcome = await self._commits.settle(lead.lease.fence, lead.local.cursor, finalized, self._clock())
        if not self._committed(outcome):
            return Progress.STALE
        lead.settled, lead.finalized = True, finalized
        return Progress.IDLE

    async def _advance(self, lead: _Lead[N], node: N, tip: BlockRef) -> Progress:
        cursor = lead.local.cursor
        last = min(tip.height, cursor.height + self._batch)
        blocks = await lead.ahead.take(node, cursor.height + 1, last)
        if not blocks:
            return self._nowhere(lead, f"the node announces block {tip.height}, and does not give block {cursor.height + 1}")
        refs = [block.ref for block in blocks]
        check_linked(cursor.height + 1, refs)
        if refs[0].parent_hash != cursor.hash:
            return await self._reorg(lead, node, refs[0])
        lead.ahead.fill(node, refs[-1].height + 1, tip.height)
        finalized = await self._read_finalized(node)
        reached(Checkpoint.BLOCKS_READ)
        outcome = await commit_completed(
            blocks, lambda read: self._commits.advance(lead.lease.fence, read, finalized, self._clock()), node.complete
        )
        if not self._committed(outcome):
            return Progress.STALE
        lead.local.advance(refs)
        lead.stood_with = node
        lead.doubts.stands()
        lead.settled, lead.finalized = True, finalized
        self.leading.begin(lead.lease.fence)
        self._log.debug("advanced", height=refs[-1].height, blocks=len(refs))
        return Progress.MOVED

    async def _reorg(self, lead: _Lead[N], node: N, foreign: BlockRef) -> Progress:
        """Find the common ancestor, and move the cursor back to it."""
        self.leading.end()
        cursor = lead.local.cursor
        if lead.too_deep == (foreign.hash, cursor.hash):
            return Progress.WAITING
        await node.confirm()
        passed = [foreign]
        match await self._walk_down(lead.local, node, passed):
            case Linked(ancestor) if ancestor.hash != cursor.hash:
                if lead.doubts.comes_back(node, (ref.hash for ref in passed), _monotonic()):
                    trouble = (
                        f"the node went back, above height {ancestor.height}, to a branch that it had left: "
                        "nodes of two branches may take turns behind its URL"
                    )
                    raise NodeError(trouble)
                return await self._retract(lead, node, ancestor)
            case ReadParent(parent):
                block = passed[-1].height
                unknown = format_hash(self._definition.kind, parent)
                return self._nowhere(lead, f"the node shows block {block}, and does not know its parent {unknown}")
            case TooDeep(height):
                trouble = (
                    f"the node's chain left ours below height {height}: a reorg deeper than reorg_limit "
                    f"({self._definition.reorg_limit}). Nothing is taken back by itself: find out which chain is right"
                )
                if lead.doubts.alone_too_deep(node, self._nodes.usable()):
                    raise NodeError(trouble)
                if await self._trouble.report(trouble, halted=True):
                    lead.too_deep = (foreign.hash, cursor.hash)
        return Progress.WAITING

    async def _walk_down(self, local: LocalChain, node: N, passed: list[BlockRef]) -> WalkStep:
        """Follow parent hashes from the last block ``passed`` to our chain, and add each to it that is none of ours.

        Where the node does not know a parent any more, the walk ends.
        """
        step = local.walk(passed[-1])
        while isinstance(step, ReadParent):
            parent, block = await node.header(step.hash), passed[-1]
            if parent is None:
                return step
            if parent.height != block.height - 1:
                message = f"block {parent.hash.hex()} at {parent.height} is named as the parent of one at {block.height}"
                raise NodeError(message)
            passed.append(parent)
            step = local.walk(parent)
        return step

    def _nowhere(self, lead: _Lead[N], words: str) -> Progress:
        """Look again after what may be a reorg under way; a node with which that goes on is to blame."""
        if lead.doubts.leads_nowhere():
            raise NodeError(words)
        return Progress.WAITING

    async def _retract(self, lead: _Lead[N], node: N, ancestor: BlockRef) -> Progress:
        cursor = lead.local.cursor
        self._log.warning("reorg", depth=cursor.height - ancestor.height, ancestor=ancestor.height)
        shown_by = await self._who_showed(lead, node, cursor)
        outcome = await self._commits.retract(lead.lease.fence, cursor, ancestor, self._clock(), shown_by)
        if not self._committed(outcome):
            return Progress.STALE
        lead.doubts.left(node, lead.local.retract(ancestor), _monotonic())
        lead.settled = False
        return Progress.MOVED

    async def _who_showed(self, lead: _Lead[N], node: N, block: BlockRef) -> str | None:
        """Return the node if its chain once held what is taken back: whether that is absent can be asked of its mempool.

        A node may know the header of a branch that it never followed: only the one node that there is counts by that.
        """
        if Capability.MEMPOOL not in self._definition.capabilities:
            return None
        if node is lead.stood_with or (not self._nodes.has_another(node) and await node.header(block.hash) is not None):
            return node.place
        return None

    async def _read_finalized(self, node: N) -> BlockRef | None:
        return None if self._definition.required_depth is not None else await node.finalized()

    async def _cover(self, lead: _Lead[N], node: N) -> bool:
        """Find out which tokens can be matched, and say from when on; what is tracked of others is read to the end."""
        change = await self._tokens.judge(node)
        tracked = await self._ledger.tracked_tokens(self._definition.name)
        self.leading.end()  # what scans read from here on may lack a token that the database still calls covered
        self._nodes.list_tokens({*change.tokens, *tracked})
        await lead.ahead.drop()  # it was read for the tokens that were listed before
        lead.check_tokens_at = _monotonic() + CHECK_TOKENS_SECONDS if change.switched_off else math.inf
        return await self._ledger.cover(self._definition, lead.lease.fence, change, self._clock())

    @contextmanager
    def _blaming(self, node: N) -> Iterator[None]:
        """Let the node's rest begin when it fails, so that another is asked."""
        try:
            yield
        except NodeError as error:
            self._nodes.report_failure(node, error)
            raise

    def _committed(self, outcome: Outcome) -> bool:
        if isinstance(outcome, Committed):
            return True
        metrics.COMMITS_THROWN_AWAY.labels(self._definition.name).inc()
        self._log.warning("thrown away", reason=outcome.reason)
        return False

    async def _pause(self, at_most: float = math.inf) -> None:
        """Wait for the next poll, or for a hint that there is something to see."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._definition.poll_seconds, at_most)):
                await self._wake.wait()
        self._wake.clear()


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
