"""How the nodes of a chain fare, in the words of everybody who shows it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NodeState(StrEnum):
    """Whether a node is used."""

    UNTRIED = "untried"
    HEALTHY = "healthy"
    FAILING = "failing"
    """It failed, and is left alone for a while."""
    LAGGING = "lagging"
    """It is behind another node, or behind what we have read already."""
    LACKING = "lacking"
    """It did not show at its tip what the chain's definition promises: whole blocks with their receipts and logs."""
    WRONG_CHAIN = "wrong chain"
    """It is of another chain: it is never read, only asked now and then whether it still is."""


class HintsState(StrEnum):
    """Whether what a node announces is heard: it shortens waits, and is needed for nothing."""

    CONNECTED = "connected"
    SILENT = "silent"
    """Connected, but it showed new blocks of which it had said nothing."""
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Hints:
    """What became of the line on which a node announces what is new."""

    state: HintsState
    since: datetime
    """When it entered its state."""
    reason: str | None
    """Why nothing is heard; None while it is connected."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest block that a node showed."""

    height: int
    mined_at: datetime


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node, for people and for alarms."""

    name: str
    """Its URL without secrets."""
    state: NodeState
    reason: str | None
    """Why it is not used; None when nothing is wrong."""
    since: datetime
    """When it entered its state."""
    tip: Tip | None = None
    """None: it showed none yet."""
    last_failure: str | None = None
    """What was last wrong with it, also when it is well again; None: nothing ever since we know it."""
    failed_at: datetime | None = None
    """When that was."""
    hints: Hints | None = None
    """Whether what it announces is heard; None: nothing that announces is configured, or nobody listens."""
