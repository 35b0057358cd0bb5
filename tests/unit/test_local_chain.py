"""The local chain against a model of a block tree: extends, forks, deep forks, lagging and syncing nodes."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError
from chainbell.domain.following import KeptLedger
from chainbell.watcher.local_chain import Linked, LocalChain, ReadParent, TipVerdict, TooDeep, check_linked

REORG_LIMIT = 5


def child(parent: BlockRef, salt: int) -> BlockRef:
    return BlockRef(parent.height + 1, hashlib.sha256(parent.hash + salt.to_bytes(4, "big")).digest(), parent.hash)


def line(first: BlockRef, length: int, salt: int = 0) -> list[BlockRef]:
    blocks = [first]
    for _ in range(length):
        blocks.append(child(blocks[-1], salt))
    return blocks


ROOT = BlockRef(100, b"\0" * 32, b"\xff" * 32)


class BlockTree:
    """Every block that any node ever had."""

    def __init__(self) -> None:
        self.by_hash = {ROOT.hash: ROOT}

    def grow(self, parent: BlockRef, salt: int) -> BlockRef:
        block = child(parent, salt)
        self.by_hash[block.hash] = block
        return block

    def path(self, tip: BlockRef) -> list[BlockRef]:
        """From the root to a tip."""
        blocks = [tip]
        while blocks[-1].hash != ROOT.hash:
            blocks.append(self.by_hash[blocks[-1].parent_hash])
        return blocks[::-1]


class FollowingATree(RuleBasedStateMachine):
    """A node shows any block of the tree as its tip; the local chain must end where the model says."""

    @initialize()
    def begin(self) -> None:
        self.tree = BlockTree()
        self.local = LocalChain(KeptLedger((ROOT,)), REORG_LIMIT)
        self.history = [ROOT]
        self.salt = 0

    @rule(data=st.data(), length=st.integers(1, 7))
    def tree_grows(self, data: st.DataObject, length: int) -> None:
        """A branch begins anywhere."""
        parent = data.draw(st.sampled_from(list(self.tree.by_hash.values())))
        for _ in range(length):
            self.salt += 1
            parent = self.tree.grow(parent, self.salt)

    @rule(data=st.data(), batch=st.integers(1, 4))
    def node_shows_a_tip(self, data: st.DataObject, batch: int) -> None:
        """Follow the node until it has nothing new."""
        tip = data.draw(st.sampled_from(list(self.tree.by_hash.values())))
        path = self.tree.path(tip)
        ours = [ref.hash for ref in self.history]
        ancestor = [ref for ref in path if ref.hash in ours][-1]
        kept_from = self.local.floor
        before = self.local.cursor
        verdict = self._follow(path, batch)
        if tip.hash == before.hash:
            assert verdict is TipVerdict.IS_CURSOR
        elif tip.hash in ours or tip.height < kept_from:
            assert verdict is TipVerdict.BEHIND
            assert self.local.cursor == before
        elif ancestor.height < kept_from:
            assert verdict is None
            assert self.local.cursor == before
        else:
            assert self.local.cursor == tip

    def _follow(self, path: list[BlockRef], batch: int) -> TipVerdict | None:
        tip, by_height = path[-1], {ref.height: ref for ref in path}
        while True:
            verdict = self.local.judge(tip)
            if verdict in {TipVerdict.IS_CURSOR, TipVerdict.BEHIND}:
                return verdict
            cursor = self.local.cursor
            foreign = tip
            if verdict is TipVerdict.HIGHER:
                last = min(tip.height, cursor.height + batch)
                refs = [by_height[height] for height in range(cursor.height + 1, last + 1)]
                check_linked(cursor.height + 1, refs)
                if refs[0].parent_hash == cursor.hash:
                    self.local.advance(refs)
                    self.history += refs
                    continue
                foreign = refs[0]
            step = self.local.walk(foreign)
            while isinstance(step, ReadParent):
                step = self.local.walk(self.tree.by_hash[step.hash])
            if isinstance(step, TooDeep):
                return None
            assert cursor.height - step.ancestor.height <= REORG_LIMIT
            self.local.retract(step.ancestor)
            while self.history[-1].hash != step.ancestor.hash:
                self.history.pop()

    @invariant()
    def our_chain_is_linked(self) -> None:
        """What we stand on never has a hole."""
        if hasattr(self, "history"):
            assert all(a.hash == b.parent_hash and a.height + 1 == b.height for a, b in pairwise(self.history))
            assert self.local.cursor == self.history[-1]
            assert self.local.floor >= self.history[0].height


TestFollowingATree = FollowingATree.TestCase


def test_a_tip_below_all_we_keep_is_behind_even_on_another_branch() -> None:
    """A syncing node is no reorg."""
    blocks = line(ROOT, 20)
    local = LocalChain(KeptLedger(tuple(blocks[-11:])), REORG_LIMIT)
    assert local.judge(child(ROOT, 9)) is TipVerdict.BEHIND


def test_a_reorg_at_the_same_height_is_seen() -> None:
    """Heights prove nothing: another block at the cursor's height is foreign."""
    blocks = line(ROOT, 6)
    local = LocalChain(KeptLedger(tuple(blocks)), REORG_LIMIT)
    rival = child(blocks[-2], 7)
    assert local.judge(rival) is TipVerdict.FOREIGN
    assert local.walk(rival) == Linked(blocks[-2])


def test_a_forward_reorg_is_seen() -> None:
    """A higher tip on another branch leads back to the common ancestor."""
    blocks = line(ROOT, 3)
    local = LocalChain(KeptLedger(tuple(blocks)), REORG_LIMIT)
    branch = line(child(blocks[1], 7), 4, 7)
    assert local.judge(branch[-1]) is TipVerdict.HIGHER
    first_above_cursor = next(ref for ref in branch if ref.height == local.cursor.height + 1)
    step = local.walk(first_above_cursor)
    while isinstance(step, ReadParent):
        step = local.walk(next(ref for ref in branch if ref.hash == step.hash))
    assert step == Linked(blocks[1])


def test_a_parent_at_the_wrong_height_is_refused() -> None:
    """A block that skips heights is no block of a chain."""
    blocks = line(ROOT, 3)
    local = LocalChain(KeptLedger(tuple(blocks)), REORG_LIMIT)
    with pytest.raises(NodeError, match="names a parent at"):
        local.walk(BlockRef(110, b"\x07" * 32, blocks[-1].hash))


@given(st.integers(2, 8), st.data())
def test_a_batch_of_two_branches_is_refused(length: int, data: st.DataObject) -> None:
    """A node that moves to another branch while it answers is asked again."""
    blocks = line(ROOT, length)
    at = data.draw(st.integers(2, length))
    mixed = [*blocks[1:at], child(blocks[at - 1], 5) if data.draw(st.booleans()) else blocks[at], *blocks[at + 1 :]]
    if mixed == blocks[1:] or mixed[-1].hash == mixed[at - 1].hash:
        check_linked(ROOT.height + 1, mixed)
    else:
        with pytest.raises(NodeError, match="not linked"):
            check_linked(ROOT.height + 1, mixed)
