"""Whether what nodes announce is heard: what the line says, held against the blocks that the node showed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chainbell.app.hearing import HeardNodes
from chainbell.domain.node import Hints, HintsState, NodeState, NodeStatus, Tip

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WELL = NodeStatus("http://a", NodeState.HEALTHY, None, NOW)


@dataclass
class Line:
    trouble: str | None = None
    messages: int = 0


@dataclass
class Stage:
    """One node that announces, one that does not, and a clock."""

    line: Line = field(default_factory=Line)
    height: int | None = None
    at: datetime = NOW

    def __post_init__(self) -> None:
        self.heard = HeardNodes(self, [self.line, None], lambda: self.at)

    def statuses(self) -> list[NodeStatus]:
        tip = None if self.height is None else Tip(self.height, NOW)
        return [NodeStatus("http://a", NodeState.HEALTHY, None, NOW, tip), WELL]

    def look(self, *, height: int | None = None, messages: int = 0) -> Hints:
        """Look a second later, at what came meanwhile."""
        self.height = height or self.height
        self.line.messages += messages
        self.at += timedelta(seconds=1)
        first, second = self.heard.statuses()
        assert second == WELL
        assert first.hints is not None
        return first.hints


def test_a_line_that_is_not_connected_says_why() -> None:
    """With the reason of the line, and since when it is so, whatever else is said of it meanwhile."""
    stage = Stage(Line("cannot connect"))
    assert stage.look() == Hints(HintsState.DISCONNECTED, NOW + timedelta(seconds=1), "cannot connect")
    stage.line.trouble = "refused"
    assert stage.look() == Hints(HintsState.DISCONNECTED, NOW + timedelta(seconds=1), "refused")
    stage.line.trouble = None
    assert stage.look() == Hints(HintsState.CONNECTED, NOW + timedelta(seconds=3), None)


def test_two_new_blocks_without_a_word_are_silence() -> None:
    """The first block that is shown at all is not new; one word, of whatever, ends the silence."""
    stage = Stage()
    states = [stage.look(height=height).state for height in (5, 5, 6, 6, 7, 7)]
    assert states == [HintsState.CONNECTED] * 4 + [HintsState.SILENT] * 2
    assert stage.look().reason is not None
    assert stage.look(messages=1) == Hints(HintsState.CONNECTED, NOW + timedelta(seconds=8), None)
    assert stage.look(height=8).state is HintsState.CONNECTED


def test_what_is_announced_late_or_early_is_no_silence() -> None:
    """A poll may see a block just before its announcement, or long after it."""
    stage = Stage(height=5)
    for height in range(6, 20, 2):
        assert stage.look(height=height).state is HintsState.CONNECTED
        assert stage.look(messages=1).state is HintsState.CONNECTED
        assert stage.look(messages=1).state is HintsState.CONNECTED
        assert stage.look(height=height + 1).state is HintsState.CONNECTED
        assert stage.look(messages=1).state is HintsState.CONNECTED


def test_a_line_that_was_away_need_not_have_told_what_came_meanwhile() -> None:
    """Blocks that were shown while it was not connected do not make it silent."""
    stage = Stage(height=5)
    stage.look()
    stage.look(height=6)
    stage.line.trouble = "the connection ended"
    stage.look(height=7)
    stage.line.trouble = None
    assert stage.look().state is HintsState.CONNECTED
    assert stage.look(height=8).state is HintsState.CONNECTED
    assert stage.look(height=9).state is HintsState.SILENT
