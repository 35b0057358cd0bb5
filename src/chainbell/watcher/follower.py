"""Follow one chain: look at the node's tip, decide, read, commit; for as long as we hold the chain's lease."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Generic

import structlog

from chainbell.domain.chain import BlockRef, ChainDefinition
from chainbell.domain.errors import ChainHaltedError, NodeError, UnavailableError
from chainbell.domain.following import Committed, CoverageChange, HeldElsewhere, KeptLedger, Outcome
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.watcher.local_chain import Linked, LocalChain, ReadParent, TipVerdict, TooDeep, check_linked
from chainbell.watcher.ports import Commits, Ledger, N, Nodes
from chainbell.watcher.tokens import Renamed, SwitchedOff, judge_token

BLOCKS_PER_COMMIT = 16
LEASE = timedelta(seconds=5)
RENEW_SECONDS = 1.0


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
class _Lead:
    """What one stretch of following holds: the fence, and our chain as it stands."""

    fence: int
    local: LocalChain
    finalized: BlockRef | None = None
    settled: bool = False
    """Whether everything that is deep enough was promoted since the cursor and the finalized block last moved."""
    lost: bool = False


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
        self._identity = identity
        self._wake = wake
        self._clock = clock
        self._log = structlog.get_logger().bind(chain=definition.name)
        self._trouble: str | None = None
        self._well = False

    async def run(self) -> None:
        """Follow for ever: start the chain, take its lease, step."""
        while True:
            try:
                if await self._start():
                    await self._follow()
            except ChainHaltedError as error:
                await self._report(str(error), halted=True)
            except UnavailableError as error:
                await self._report(str(error))
            await self._pause()

    async def _start(self) -> bool:
        """Give the chain its first cursor, once: just below ``start_height``, or the tip of this moment."""
        if await self._ledger.genesis(self._definition.name) is not None:
            return True
        node = await self._nodes.current()
        with self._blaming(node):
            identity = await node.identify()
            first = await self._first_ledger(node)
        if first is None:
            await self._report(f"the node has not reached start_height {self._definition.start_height} yet")
            return False
        if await self._ledger.start(self._definition, identity.genesis_hash, first, self._clock()):
            self._log.info("chain started", height=first.cursor.height, block=first.cursor.hash.hex())
            reached(Checkpoint.CHAIN_STARTED)
        return True

    async def _first_ledger(self, node: N) -> KeptLedger | None:
        """Read the first cursor and what lies below it: its own block, too, may be reorganised away."""
        start_height = self._definition.start_height
        height = (await node.tip()).height if start_height is None else max(start_height - 1, 0)
        refs = await node.headers(max(height - self._definition.reorg_limit, 0), height)
        if not refs or refs[-1].height < height:
            return None
        check_linked(refs[0].height, refs)
        return KeptLedger(tuple(refs))

    async def _follow(self) -> None:
        """Step for as long as the lease is ours."""
        async with self._lease() as fence:
            if fence is None:
                return
            lead = _Lead(fence, LocalChain(await self._ledger.kept(self._definition), self._definition.reorg_limit))
            async with self._renewing(lead):
                await self._cover()
                while not lead.lost:
                    progress = await self._try_step(lead)
                    if progress is Progress.STALE:
                        return
                    if progress is not Progress.MOVED:
                        await self._pause()

    async def _try_step(self, lead: _Lead) -> Progress:
        try:
            progress = await self._step(lead)
        except NodeError as error:
            await self._report(str(error))
            return Progress.WAITING
        if not self._well and progress in {Progress.MOVED, Progress.IDLE}:
            await self._recover(lead.local.cursor)
        return progress

    async def _step(self, lead: _Lead) -> Progress:
        node = await self._nodes.current()
        with self._blaming(node):
            tip = await node.tip()
            match lead.local.judge(tip):
                case TipVerdict.BEHIND:
                    return Progress.WAITING
                case TipVerdict.IS_CURSOR:
                    return await self._settle(lead, node)
                case TipVerdict.FOREIGN:
                    return await self._reorg(lead, node, tip)
                case TipVerdict.HIGHER:
                    return await self._advance(lead, node, tip)

    async def _settle(self, lead: _Lead, node: N) -> Progress:
        """Promote what is deep enough, where that may have changed without a new block."""
        finalized = await self._read_finalized(node)
        if lead.settled and finalized == lead.finalized:
            return Progress.IDLE
        outcome = await self._commits.settle(lead.fence, lead.local.cursor, finalized, self._clock())
        if not self._committed(outcome):
            return Progress.STALE
        lead.settled, lead.finalized = True, finalized
        return Progress.IDLE

    async def _advance(self, lead: _Lead, node: N, tip: BlockRef) -> Progress:
        cursor = lead.local.cursor
        last = min(tip.height, cursor.height + BLOCKS_PER_COMMIT)
        blocks = await node.blocks_from(cursor.height + 1, last)
        if not blocks:
            return Progress.WAITING
        refs = [block.ref for block in blocks]
        check_linked(cursor.height + 1, refs)
        if refs[0].parent_hash != cursor.hash:
            return await self._reorg(lead, node, refs[0])
        finalized = await self._read_finalized(node)
        reached(Checkpoint.BLOCKS_READ)
        outcome = await self._commits.advance(lead.fence, blocks, finalized, self._clock())
        if not self._committed(outcome):
            return Progress.STALE
        lead.local.advance(refs)
        lead.settled, lead.finalized = True, finalized
        self._log.debug("advanced", height=refs[-1].height, blocks=len(refs))
        return Progress.MOVED

    async def _reorg(self, lead: _Lead, node: N, foreign: BlockRef) -> Progress:
        """Walk down by parent hashes to the common ancestor, and move the cursor back to it."""
        step = lead.local.walk(foreign)
        while isinstance(step, ReadParent):
            parent = await node.header(step.hash)
            if parent is None:
                return Progress.WAITING
            step = lead.local.walk(parent)
        cursor = lead.local.cursor
        if isinstance(step, TooDeep):
            trouble = (
                f"the node's chain left ours below height {step.height}: a reorg deeper than reorg_limit "
                f"({self._definition.reorg_limit}). Nothing is taken back by itself: find out which chain is right"
            )
            await self._report(trouble, halted=True)
            return Progress.WAITING
        return await self._retract(lead, cursor, step)

    async def _retract(self, lead: _Lead, cursor: BlockRef, to: Linked) -> Progress:
        ancestor = to.ancestor
        if ancestor.hash == cursor.hash:
            return Progress.MOVED
        self._log.warning("reorg", depth=cursor.height - ancestor.height, ancestor=ancestor.height)
        outcome = await self._commits.retract(lead.fence, cursor, ancestor, self._clock())
        if not self._committed(outcome):
            return Progress.STALE
        lead.local.retract(ancestor)
        lead.settled = False
        return Progress.MOVED

    async def _read_finalized(self, node: N) -> BlockRef | None:
        return None if self._definition.required_depth is not None else await node.finalized()

    async def _cover(self) -> None:
        """Ask the node for each listed token, and say from when on what is scanned. No answer: the chain waits."""
        node = await self._nodes.current()
        tokens, switched_off = [], []
        with self._blaming(node):
            for token in self._definition.tokens:
                match judge_token(token, await node.token_facts(token.contract)):
                    case SwitchedOff(reason):
                        switched_off.append((token.contract, reason))
                        self._log.error("token switched off: its transfers are not seen", token=token.symbol, reason=reason)
                        continue
                    case Renamed(warning):
                        self._log.warning("token has another symbol", token=token.symbol, reason=warning)
                    case _:
                        pass
                tokens.append(token.contract)
        self._nodes.list_tokens(tokens)
        change = CoverageChange(tuple(tokens), tuple(switched_off))
        await self._ledger.cover(self._definition, change, self._clock())

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[int | None]:
        held = await self._ledger.acquire(self._definition.name, self._identity, LEASE)
        self._well = False
        if isinstance(held, HeldElsewhere):
            self._log_once(f"{held.follower} follows this chain; we wait for its lease to end")
            yield None
            return
        try:
            yield held.fence
        finally:
            with suppress(UnavailableError):
                await asyncio.shield(self._ledger.release(self._definition.name, held.fence))

    @asynccontextmanager
    async def _renewing(self, lead: _Lead) -> AsyncIterator[None]:
        task = asyncio.create_task(self._renew(lead))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _renew(self, lead: _Lead) -> None:
        while not lead.lost:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(UnavailableError):
                lead.lost = not await self._ledger.renew(self._definition.name, lead.fence, LEASE)

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
        self._log.warning("thrown away", reason=outcome.reason)
        return False

    async def _recover(self, cursor: BlockRef) -> None:
        self._log.info("following", height=cursor.height)
        self._well, self._trouble = True, None
        await self._ledger.note_trouble(self._definition.name, None)

    async def _report(self, trouble: str, *, halted: bool = False) -> None:
        """Say what keeps the chain from going on, in the log and to who asks for its status."""
        if self._log_once(trouble, halted=halted):
            with suppress(UnavailableError):
                await self._ledger.note_trouble(self._definition.name, trouble)

    def _log_once(self, trouble: str, *, halted: bool = False) -> bool:
        """Log a trouble unless it is the last one still; an error where an operator must look."""
        self._well = False
        if trouble == self._trouble:
            return False
        self._trouble = trouble
        (self._log.error if halted else self._log.warning)("waiting", reason=trouble)
        return True

    async def _pause(self) -> None:
        """Wait for the next poll, or for a hint that there is something to see."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._definition.poll_seconds):
                await self._wake.wait()
        self._wake.clear()
