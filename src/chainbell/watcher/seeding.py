"""Seed: have a node tell which outputs of new addresses are unspent, beside the follower, and never in its way.

What spends an output is seen by its outpoint, and one that is older than the watch came in no block that was matched. A node
reads its whole set of unspent outputs for that, which may take many minutes. Meanwhile nothing is locked: what it told is
entered once our cursor has reached the block of the set, and what came above that block is read again for these addresses.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog

from chainbell.domain.chain import BlockRef, ChainDefinition
from chainbell.domain.errors import ChainHaltedError, NodeBehindError, NodeError, TooMuchAskedError, UnavailableError
from chainbell.domain.seeding import Seeding, Unseeded
from chainbell.domain.utxo import Unspent, UnspentSet
from chainbell.telemetry.checkpoints import Checkpoint, reached
from chainbell.watcher.leading import Leading
from chainbell.watcher.ports import Node, Nodes

MOST_ADDRESSES = 10_000
"""For which a node is asked at once: its work hardly depends on how many they are."""
ADDRESSES_PER_COMMIT = 1_000
OUTPUTS_PER_COMMIT = 20_000
"""While a commit lasts, the chain's follower waits; the outputs of one address are always entered in one."""
IDLE_SECONDS = 1.0
"""How soon new addresses are seeded, and how often we look whether our cursor has reached the block of a set."""
LONGEST_PAUSE_SECONDS = 300.0
"""How often at least nodes are asked again that could not tell."""
SAY_SECONDS = 60.0
"""How often a node's long work is mentioned in the log."""


class SeedingNode(Node, Protocol):
    """A node that can tell what is unspent."""

    async def unspents(self, scripts: Sequence[bytes]) -> UnspentSet:
        """Return every unspent output of these scripts, at a block of its chain. It may take an hour."""
        ...


S = TypeVar("S", bound=SeedingNode)


class Seeds(Protocol):
    """Which addresses wait for their older outputs, and who enters these."""

    async def waiting(self, chain: str, most: int, passed: Collection[str] = ()) -> Sequence[Unseeded]:
        """Return addresses whose older outputs are not known, without those `passed` over; the first registered first."""
        ...

    async def enter(  # noqa: PLR0913 - whose outputs, as of which block, and who says so
        self,
        chain: str,
        fence: int,
        addresses: Sequence[Unseeded],
        at: BlockRef,
        unspents: Sequence[Unspent],
        now: datetime,
    ) -> Seeding:
        """Enter every output of these addresses that was unspent at a block, and have what came above it read again."""
        ...

    async def note_trouble(self, chain: str, trouble: str | None) -> None:
        """Record what keeps older outputs from being read; None: nothing does."""
        ...


class Seeder(Generic[S]):
    """Seeds the addresses of one chain until it is cancelled, while this process follows that chain and is up to date."""

    def __init__(
        self,
        definition: ChainDefinition,
        nodes: Nodes[S],
        seeds: Seeds,
        *,
        leading: Leading,
        clock: Callable[[], datetime],
    ) -> None:
        self._chain = definition.name
        self._nodes = nodes
        self._seeds = seeds
        self._leading = leading
        self._clock = clock
        self._troubled = True
        """Whether trouble may be recorded."""
        self._asked_seconds = 0.0
        """How long nodes last took to tell."""
        self._most = MOST_ADDRESSES
        self._asked: Sequence[Unseeded] = ()
        self._passed: set[str] = set()
        """Ids of addresses of which no node tells, not even alone: others go first."""
        self._log = structlog.get_logger().bind(chain=definition.name)

    async def run(self) -> None:
        """Seed batch after batch, for ever."""
        pause = IDLE_SECONDS
        while True:
            fence = await self._leading.wait()
            self._asked, self._asked_seconds = (), 0.0
            try:
                if await self._seed(fence):
                    pause, self._most = IDLE_SECONDS, MOST_ADDRESSES
                # Whoever extends a window with each payment must not keep a node busy with nothing else.
                await asyncio.sleep(min(max(IDLE_SECONDS, self._asked_seconds), LONGEST_PAUSE_SECONDS))
            except NodeError as error:
                # A node that is down or behind is not healed by a smaller question, and no address is to blame.
                if isinstance(error, TooMuchAskedError):
                    self._ask_for_less()
                await self._wait_for_nodes(str(error), max(pause, min(self._asked_seconds, LONGEST_PAUSE_SECONDS)))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except (UnavailableError, ChainHaltedError) as error:
                self._log.warning("older outputs wait", reason=str(error))
                await asyncio.sleep(IDLE_SECONDS)

    async def _seed(self, fence: int) -> bool:
        """Seed one batch, if one waits; tell whether it is done. Raises `NodeError` when no node tells what is unspent."""
        batch = self._asked = await self._seeds.waiting(self._chain, self._most, self._passed)
        if not batch:
            await self._look_again()
            return False
        node, found = await self._read(batch)
        reached(Checkpoint.SEED_READ)
        if found.at.height + 1 < max(address.watched_from for address in batch):
            message = f"node {node.name} told what was unspent at block {found.at.height}, which lies behind our chain"
            raise NodeBehindError(message)
        for addresses, unspents in _portions(batch, found.unspents):
            if not await self._enter(fence, node, found.at, addresses, unspents):
                return False
        self._log.info("older outputs entered", addresses=len(batch), outputs=len(found.unspents), as_of=found.at.height)
        if not self._passed:
            await self._note(None)
        return True

    async def _look_again(self) -> None:
        """Have another go at what was passed over; where there is nothing, nothing is in trouble."""
        if not self._passed:
            await self._note(None)
        self._passed.clear()

    def _ask_for_less(self) -> None:
        """Ask for half of it next, in case it was too much at once; pass over an address that fails by itself."""
        if len(self._asked) == 1:
            self._passed.add(self._asked[0].id)
        elif self._asked:
            self._most = len(self._asked) // 2

    async def _read(self, batch: Sequence[Unseeded]) -> tuple[S, UnspentSet]:
        """Ask one node after the other.

        Raises `NodeError` when none can tell, as `TooMuchAskedError` where one of them might when asked for less.
        """
        scripts = [address.script for address in batch]
        began = asyncio.get_running_loop().time()
        troubles: list[NodeError] = []
        for node in self._nodes.usable():
            try:
                return node, await self._ask(node, scripts)
            except NodeError as error:
                troubles.append(error)
            finally:
                self._asked_seconds = asyncio.get_running_loop().time() - began
        said = "; ".join(map(str, troubles)) or "none is usable"
        message = f"no node tells the unspent outputs of {len(scripts)} addresses: {said}"
        if any(isinstance(error, TooMuchAskedError) for error in troubles):
            raise TooMuchAskedError(message)
        raise NodeError(message)

    async def _ask(self, node: S, scripts: Sequence[bytes]) -> UnspentSet:
        """Ask one node, and say in the log now and then that it is still at it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._log.info("older outputs are read", addresses=len(scripts), node=node.name)
        saying = asyncio.create_task(self._say(node, began))
        try:
            found = await node.unspents(scripts)
        finally:
            saying.cancel()
        self._log.info("older outputs read", node=node.name, seconds=round(loop.time() - began, 1), as_of=found.at.height)
        return found

    async def _say(self, node: S, began: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SAY_SECONDS)
            self._log.info("older outputs are still read", node=node.name, seconds=round(loop.time() - began))

    async def _enter(
        self, fence: int, node: S, at: BlockRef, addresses: Sequence[Unseeded], unspents: Sequence[Unspent]
    ) -> bool:
        """Enter the outputs of some addresses, once our cursor is there; False when all must be asked again."""
        while True:
            outcome = await self._seeds.enter(self._chain, fence, addresses, at, unspents, self._clock())
            match outcome:
                case Seeding.ENTERED:
                    reached(Checkpoint.SEED_COMMITTED)
                    return True
                case Seeding.EARLY:
                    if await _has(node, at):
                        await asyncio.sleep(IDLE_SECONDS)
                        continue
            self._log.info("older outputs are read again", reason=outcome.name.lower(), as_of=at.height)
            return False

    async def _wait_for_nodes(self, trouble: str, pause: float) -> None:
        self._log.warning("older outputs wait", reason=trouble)
        try:
            await self._note(trouble)
        except UnavailableError as error:
            self._log.warning("trouble not recorded", reason=str(error))
        await asyncio.sleep(pause)

    async def _note(self, trouble: str | None) -> None:
        if trouble is not None or self._troubled:
            await self._seeds.note_trouble(self._chain, trouble)
            self._troubled = trouble is not None


async def _has(node: SeedingNode, block: BlockRef) -> bool:
    """Tell whether a block is on the node's best chain, still."""
    return [ref.hash for ref in await node.headers(block.height, block.height)] == [block.hash]


def _portions(
    batch: Sequence[Unseeded], unspents: Sequence[Unspent]
) -> Iterator[tuple[Sequence[Unseeded], Sequence[Unspent]]]:
    """Yield the addresses in parts, each with all of its outputs."""
    of_script: dict[bytes, list[Unspent]] = defaultdict(list)
    for unspent in unspents:
        of_script[unspent.script].append(unspent)
    addresses: list[Unseeded] = []
    outputs: list[Unspent] = []
    for address in batch:
        found = of_script[address.script]
        if addresses and (len(addresses) == ADDRESSES_PER_COMMIT or len(outputs) + len(found) > OUTPUTS_PER_COMMIT):
            yield addresses, outputs
            addresses, outputs = [], []
        addresses.append(address)
        outputs.extend(found)
    yield addresses, outputs
