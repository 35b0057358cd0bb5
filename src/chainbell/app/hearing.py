"""Whether what nodes announce is heard, told beside how they fare.

Nothing depends on it but the wait for the next poll; but who configured it wants to know.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from chainbell.domain.node import Hints, HintsState, NodeStatus, Tip

BLOCKS_UNANNOUNCED = 2
"""So many new blocks without a word make a line silent: one may be seen by a poll just before it is announced."""
_SILENT = "it is connected, but says nothing of new blocks: `chainbell doctor` says what it publishes"


class Announcements(Protocol):
    """A line on which one node announces what is new."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be heard now; None: it is connected."""
        ...

    @property
    def messages(self) -> int:
        """How many came so far."""
        ...


class _Nodes(Protocol):
    def statuses(self) -> Sequence[NodeStatus]: ...


class HeardNodes:
    """The nodes of one chain with what is heard of each; to be asked again and again."""

    def __init__(self, nodes: _Nodes, announcements: Sequence[Announcements | None], clock: Callable[[], datetime]) -> None:
        """Listen beside ``nodes``; ``announcements`` are in their order, None for one that announces nothing."""
        self._nodes = nodes
        self._lines = [None if line is None else _Line(line) for line in announcements]
        self._clock = clock

    def statuses(self) -> list[NodeStatus]:
        """Say how each node is, in order of preference."""
        at = self._clock()
        return [
            status if line is None else replace(status, hints=line.judge(status.tip, at))
            for status, line in zip(self._nodes.statuses(), self._lines, strict=True)
        ]


class _Line:
    """What became of one line since it was last looked at."""

    def __init__(self, announcements: Announcements) -> None:
        self._announcements = announcements
        self._messages = announcements.messages
        self._tip: Tip | None = None
        self._unannounced = 0
        self._last: Hints | None = None

    def judge(self, tip: Tip | None, at: datetime) -> Hints:
        """Hold what was heard against the newest block that the node showed."""
        trouble, messages = self._announcements.trouble, self._announcements.messages
        if trouble is not None or messages != self._messages:
            self._unannounced = 0
        elif self._tip not in {None, tip}:
            self._unannounced += 1
        self._tip, self._messages = tip, messages
        if trouble is not None:
            state, reason = HintsState.DISCONNECTED, trouble
        elif self._unannounced >= BLOCKS_UNANNOUNCED:
            state, reason = HintsState.SILENT, _SILENT
        else:
            state, reason = HintsState.CONNECTED, None
        since = at if self._last is None or self._last.state is not state else self._last.since
        self._last = Hints(state, since, reason)
        return self._last
