"""What makes us doubt a node that answers well formed: behind one URL two servers may take turns. Pure.

One look that leads nowhere, or a reorg that is taken back, happens on any chain. What goes on like that is the node's doing:
it then counts as failed, so that another is asked, and the reason is seen.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from chainbell.watcher.ports import N

LOOKS = 64
"""Looks at a node's tip that are remembered."""
NOWHERE = 4
"""How many of them may lead nowhere."""
REMEMBERED_SECONDS = 600.0
"""How long a branch is remembered that a node led us off."""
BRANCHES = 32
RETURNS_BELIEVED = 3
"""A node that leads back to a branch which it had led us off is believed when it says so this often without a break."""


@dataclass(frozen=True, slots=True)
class _Left(Generic[N]):
    node: N
    hashes: frozenset[bytes]
    at: float


class Doubts(Generic[N]):
    """What was seen of the nodes of one chain since we follow it."""

    def __init__(self) -> None:
        self._nowhere: deque[bool] = deque(maxlen=LOOKS)
        self._left: deque[_Left[N]] = deque(maxlen=BRANCHES)
        self._returns = 0
        self._too_deep: list[N] = []

    def look(self) -> None:
        """Begin another look at a tip."""
        self._nowhere.append(False)

    def leads_nowhere(self) -> bool:
        """Note that this look leads nowhere: the node announces what it does not give. Tell whether that goes on."""
        self._nowhere[-1] = True
        return sum(self._nowhere) >= NOWHERE

    def stands(self) -> None:
        """Note that a node showed our cursor as a block of its chain."""
        self._returns = 0
        self._too_deep.clear()

    def left(self, node: N, hashes: Iterable[bytes], at: float) -> None:
        """Note that blocks of ours were taken back on a node's word."""
        self._returns = 0
        self._too_deep.clear()
        self._left.append(_Left(node, frozenset(hashes), at))

    def comes_back(self, node: N, hashes: Iterable[bytes], at: float) -> bool:
        """Tell whether a branch with these blocks is one that this very node led us off, and not to be believed yet."""
        seen = frozenset(hashes)
        recent = (branch for branch in self._left if at - branch.at < REMEMBERED_SECONDS)
        if not any(branch.node is node and branch.hashes & seen for branch in recent):
            return False
        self._returns += 1
        return self._returns < RETURNS_BELIEVED

    def alone_too_deep(self, node: N, usable: Sequence[N]) -> bool:
        """Note that a node's chain left ours too deep; tell whether there is another that did not say so yet."""
        if not any(said is node for said in self._too_deep):
            self._too_deep.append(node)
        return any(all(said is not other for said in self._too_deep) for other in usable)
