"""What the watcher needs: nodes to read, the ledger it stands on, and somebody who commits."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chainbell.domain.block import Block
from chainbell.domain.chain import BlockRef, ChainDefinition
from chainbell.domain.errors import NodeError
from chainbell.domain.following import CoverageChange, HeldElsewhere, KeptLedger, Leased, Outcome
from chainbell.domain.history import ScanWindow
from chainbell.domain.utxo import Lacking, MempoolView


class TokenFacts(Protocol):
    """What a token's contract says of itself."""

    @property
    def symbol(self) -> str | None:
        """Its ``symbol()``; None where there is none to read."""
        ...

    @property
    def decimals(self) -> int | None:
        """Its ``decimals()``; None where there is none to read."""
        ...

    @property
    def has_code(self) -> bool:
        """Whether there is a contract at all."""
        ...


class Identity(Protocol):
    """Which chain a node says that it serves."""

    @property
    def genesis_hash(self) -> bytes:
        """Hash of its block 0."""
        ...


class Node(Protocol):
    """One node. Every method raises `NodeError` when it does not answer in time, or answers what cannot be used."""

    async def identify(self) -> Identity:
        """Ask which chain this is."""
        ...

    async def confirm(self) -> None:
        """Have it prove again that it is the node of this chain that it was."""
        ...

    async def tip(self) -> BlockRef:
        """Return its newest block."""
        ...

    async def finalized(self) -> BlockRef | None:
        """Return its finalized block; None where it has none."""
        ...

    async def header(self, block_hash: bytes) -> BlockRef | None:
        """Return a block by hash; None where it does not know it (any more)."""
        ...

    async def headers(self, first: int, last: int) -> list[BlockRef]:
        """Return blocks of its best chain by height; fewer where it has not got so many."""
        ...

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def place(self) -> str:
        """Which node it is, also after it is called otherwise."""
        ...

    async def blocks_from(self, first: int, last: int) -> Sequence[Block]:
        """Return whole, checked blocks of its best chain by height; fewer where it has not got so many."""
        ...

    async def complete(self, blocks: Sequence[Block], lacking: Lacking) -> Sequence[Block]:
        """Return the same blocks with what they lack; what cannot be had is marked as such."""
        ...

    async def token_facts(self, contract: bytes) -> TokenFacts:
        """Read what a token says of itself."""
        ...


N = TypeVar("N", bound=Node)


class Nodes(Protocol[N]):
    """The nodes of one chain."""

    async def current(self) -> N:
        """Return the node to read now: healthy, and of the right chain. Raises `NodeError` while there is none."""
        ...

    def usable(self) -> Sequence[N]:
        """Return every node that is healthy, and of the right chain, in order of preference."""
        ...

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Read the transfers of these token contracts from now on, and of no others."""
        ...

    def has_another(self, node: N) -> bool:
        """Tell whether there is another node than this one."""
        ...

    def report_failure(self, node: N, error: NodeError) -> None:
        """Say that a node failed, so that it rests and another is used."""
        ...


class Ledger(Protocol):
    """The chain as it stands in the database."""

    async def start(self, definition: ChainDefinition, genesis: bytes, first: KeptLedger, now: datetime) -> bool:
        """Give a chain its first cursor, and the blocks below it. False when it had one already."""
        ...

    async def genesis(self, chain: str) -> bytes | None:
        """Return the genesis hash of the first start; None before it."""
        ...

    async def acquire(self, chain: str, follower: str, duration: timedelta) -> Leased | HeldElsewhere:
        """Become the one who follows a chain."""
        ...

    async def renew(self, chain: str, fence: int, duration: timedelta) -> bool:
        """Keep the lease; False when it is lost."""
        ...

    async def release(self, chain: str, fence: int) -> None:
        """Give the lease back."""
        ...

    async def kept(self, definition: ChainDefinition) -> KeptLedger:
        """Return the kept part of our chain."""
        ...

    async def redefine(self, definition: ChainDefinition, fence: int) -> bool:
        """Take over what changed in a definition; False when somebody else follows the chain by now."""
        ...

    async def tracked_tokens(self, chain: str) -> list[bytes]:
        """Return the contracts of which something is told that a block may still change."""
        ...

    async def cover(self, definition: ChainDefinition, fence: int, change: CoverageChange, now: datetime) -> bool:
        """Say what is matched from the next block on; False when somebody else follows the chain by now."""
        ...

    async def note_trouble(self, chain: str, follower: str, trouble: str | None, *, halted: bool = False) -> None:
        """Record what keeps the chain from going on, and whether it needs an operator; None: nothing does.

        Nothing is written while somebody else follows it.
        """
        ...


class Commits(Protocol):
    """Who commits what was found."""

    async def advance(
        self, fence: int, blocks: Sequence[Block], finalized: BlockRef | None, now: datetime
    ) -> Outcome | Lacking:
        """Append linked blocks; `Lacking`: nothing was written, they are to be completed and given again."""
        ...

    async def retract(
        self, fence: int, cursor: BlockRef, ancestor: BlockRef, now: datetime, shown_by: str | None = None
    ) -> Outcome:
        """Move the cursor back; `shown_by` is the node that knows the blocks that are taken back."""
        ...

    async def settle(self, fence: int, cursor: BlockRef, finalized: BlockRef | None, now: datetime) -> Outcome:
        """Promote what is deep enough, without new blocks."""
        ...


class Scans(Protocol):
    """Scans of the past that are not finished."""

    async def next_window(self, chain: str, most: int, among: Collection[str] | None = None) -> ScanWindow | None:
        """Return what to read next, `most` blocks at most, for the highest scan (of `among`); None: all are finished."""
        ...

    async def unfinished(self, chain: str) -> tuple[str, ...]:
        """Return the ids of every unfinished scan."""
        ...

    async def note_trouble(self, scan_ids: Collection[str], trouble: str | None) -> None:
        """Record what keeps scans from going on; None: nothing does."""
        ...


class LookBack(Protocol):
    """Who commits what a scan found."""

    async def look_back(self, fence: int, window: ScanWindow, blocks: Sequence[Block], now: datetime) -> Outcome | Lacking:
        """Tell what scans find in blocks below the cursor, and move them on; `Lacking` as for `advance`."""
        ...


class MempoolNode(Protocol):
    """A node that shows its mempool. Every method raises `NodeError` as those of `Node` do."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def place(self) -> str:
        """Which node it is, also after it is called otherwise."""
        ...

    async def mempool(self, known: Collection[bytes]) -> MempoolView:
        """Look at its mempool; of what is there, transactions whose txids are not `known` are read."""
        ...

    async def complete_view(self, view: MempoolView, lacking: Lacking) -> MempoolView:
        """Return the view with what its arrived transactions lack, without those that left the mempool meanwhile."""
        ...


M = TypeVar("M", bound=MempoolNode)


class MempoolNodes(Protocol[M]):
    """The nodes of one chain, as far as their mempools are concerned: see `Nodes`."""

    async def current(self) -> M:
        """Return the node to read now. Raises `NodeError` while there is none."""
        ...

    def report_failure(self, node: M, error: NodeError) -> None:
        """Say that a node failed, so that it rests and another is used."""
        ...


class MempoolCommits(Protocol):
    """Who commits what a mempool shows."""

    async def observe(self, fence: int, view: MempoolView, now: datetime) -> Outcome | Lacking:
        """Tell what a mempool shows while its node's tip is our cursor; `Lacking` as for `advance`."""
        ...
