"""The kept part of our chain, and what a node's answers mean beside it. Pure.

Blocks are told apart by hash alone: a height proves nothing. Whatever the heights, a tip whose parents lead to our cursor is
an advance, and one whose parents lead to an older block of ours is a reorg.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError
from chainbell.domain.following import KeptLedger


class TipVerdict(Enum):
    """What a node's tip means before any parent is read."""

    IS_CURSOR = auto()
    """Our cursor is the node's best block: what is deep enough may be promoted."""
    BEHIND = auto()
    """The node lags: its tip is an older block of ours, or lies deeper than any reorg that we follow."""
    HIGHER = auto()
    """The node has more blocks than we: read on from the cursor."""
    FOREIGN = auto()
    """A tip we do not know, no higher than our cursor: its parents tell where it left our chain."""


@dataclass(frozen=True, slots=True)
class Linked:
    """The walk ended at this block of our chain."""

    ancestor: BlockRef


@dataclass(frozen=True, slots=True)
class ReadParent:
    """The walk needs the block with this hash."""

    hash: bytes


@dataclass(frozen=True, slots=True)
class TooDeep:
    """The walk left all that is kept without meeting our chain."""

    height: int


WalkStep: TypeAlias = Linked | ReadParent | TooDeep


class LocalChain:
    """Linked blocks from the oldest kept to the cursor."""

    def __init__(self, ledger: KeptLedger, reorg_limit: int) -> None:
        self._refs = list(ledger.refs)
        self._by_hash = {ref.hash: ref for ref in self._refs}
        self._reorg_limit = reorg_limit

    @property
    def cursor(self) -> BlockRef:
        """The last committed block."""
        return self._refs[-1]

    @property
    def floor(self) -> int:
        """Height of the oldest block that can be the ancestor of a reorg.

        Twice the reorg limit is kept, so that after a reorg of that depth another can be followed.
        """
        return max(self._refs[0].height, self.cursor.height - self._reorg_limit)

    def judge(self, tip: BlockRef) -> TipVerdict:
        """Say what a node's tip means."""
        if tip.hash == self.cursor.hash:
            return TipVerdict.IS_CURSOR
        if tip.hash in self._by_hash or tip.height < self.floor:
            return TipVerdict.BEHIND
        return TipVerdict.HIGHER if tip.height > self.cursor.height else TipVerdict.FOREIGN

    def walk(self, block: BlockRef) -> WalkStep:
        """Take one step from a block that is not ours towards the common ancestor.

        Raises `NodeError` when the block names as its parent one of ours at another height: no chain does that.
        """
        parent = self._by_hash.get(block.parent_hash)
        if parent is not None:
            if parent.height != block.height - 1:
                message = f"block {block.hash.hex()} at {block.height} names a parent at {parent.height}"
                raise NodeError(message)
            return Linked(parent) if parent.height >= self.floor else TooDeep(block.height)
        if block.height - 1 <= self.floor:
            return TooDeep(block.height)
        return ReadParent(block.parent_hash)

    def advance(self, refs: Sequence[BlockRef]) -> None:
        """Append committed blocks and forget what is older than twice the reorg limit."""
        for ref in refs:
            self._refs.append(ref)
            self._by_hash[ref.hash] = ref
        surplus = len(self._refs) - 2 * self._reorg_limit - 1
        for ref in self._refs[:surplus] if surplus > 0 else ():
            del self._by_hash[ref.hash]
        if surplus > 0:
            del self._refs[:surplus]

    def retract(self, ancestor: BlockRef) -> list[bytes]:
        """Drop what is above a block of ours, and return the hashes of that."""
        dropped = []
        while self.cursor.hash != ancestor.hash:
            dropped.append(self._refs.pop().hash)
            del self._by_hash[dropped[-1]]
        return dropped


def check_linked(first_height: int, refs: Sequence[BlockRef]) -> None:
    """Raise `NodeError` unless the blocks begin at a height and are linked, in height and hash, each to the one before."""
    for number, ref in enumerate(refs):
        linked = number == 0 or ref.parent_hash == refs[number - 1].hash
        if ref.height != first_height + number or not linked:
            last_height = first_height + len(refs) - 1
            message = f"blocks {first_height} to {last_height} are not linked: the node serves two chains"
            raise NodeError(message)
