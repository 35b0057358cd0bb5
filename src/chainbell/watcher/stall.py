"""Whether a chain stands still here, measured against its own pace. Pure: facts of the database in, a judgement out.

Nothing in it asks whether a task or a process is alive: a follower that is frozen, hung or gone leaves the same facts, and
any other process that reads them sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

PATIENCE_BLOCKS = 12
"""A gap of so many block times is no chance any more.

Where blocks come at random (Bitcoin's do, as a Poisson process), a gap of k mean times or more follows a block with
probability e^-k. At 144 blocks a day that is a false alarm each day for k = 5, each month for k = 8.4, and one in three
years for k = 12. Where blocks come in slots, a hundredth of which stay empty, twelve empty ones in a row do not happen by
chance.
"""

PATIENCE = timedelta(seconds=60)
"""No alarm before: within it a lease ends and another process takes over, a node times out and the next is asked."""

BEHIND_BLOCKS = 3
"""So many blocks above our cursor were not all shown to us in this moment."""

PACE_BLOCKS = 64
"""The pace is that of so many gaps between blocks: its error is an eighth where blocks come at random."""

_FEWEST_GAPS = 16
_SLOWEST_PACE = 10
"""A chain's recent pace counts as no more than so many times its typical one: after halts it would silence the alarm."""


class Stall(StrEnum):
    """In which way a chain stands still."""

    HALTED = "halted"
    """Something only an operator can decide stops it, such as a reorg deeper than its limit."""
    UNFOLLOWED = "unfollowed"
    """No process follows it."""
    BEHIND = "behind"
    """Its nodes show blocks that we do not commit."""
    STILL = "still"
    """Its nodes show nothing new: the chain stands still, or all of its nodes do."""


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """How a chain stands, as the database tells it."""

    cursor_height: int
    cursor_mined_at: datetime | None
    """By the chain's clock; None for a first cursor, which was never scanned."""
    advanced_at: datetime
    """When the cursor last moved, in whichever direction."""
    halted: bool
    followed: bool
    """Whether somebody's lease lives."""
    tip_height: int | None
    """Highest block that a node in use showed; None: no node has told of it."""
    tip_at: datetime | None
    """When that block was made, by the chain's clock."""
    pace: timedelta
    """Time from block to block, as `pace_of` measured it."""
    mined_on_demand: bool = False
    """A development chain, which may make no block for days and be well."""

    @property
    def lag(self) -> int | None:
        """Blocks that a node in use has shown above our cursor; None where none has told of its tip."""
        return None if self.tip_height is None else max(0, self.tip_height - self.cursor_height)

    @property
    def lag_time(self) -> timedelta | None:
        """How much older our cursor's block is than the node's tip, by the chain's clock; None where it is not known."""
        if self.lag == 0:
            return timedelta()
        if self.tip_at is None or self.cursor_mined_at is None:
            return None
        return max(timedelta(), self.tip_at - self.cursor_mined_at)


@dataclass(frozen=True, slots=True)
class Stalled:
    """A chain that stands still, since when, and what that means."""

    kind: Stall
    since: datetime
    reason: str


def pace_of(mined_at: Sequence[datetime], typical: timedelta) -> timedelta:
    """Return the time from block to block: the mean of recent gaps, but no less than the typical one of the definition.

    The longest gap is left out, so that one halt of the chain does not make us patient for the next. The times are the
    chain's own: how fast we read does not matter. Too few blocks: the typical time.
    """
    ordered = sorted(mined_at)[-(PACE_BLOCKS + 1) :]
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered))
    if len(gaps) < _FEWEST_GAPS:
        return typical
    measured = sum(gaps[:-1], timedelta()) / (len(gaps) - 1)
    return max(typical, min(measured, typical * _SLOWEST_PACE))


def stalled(facts: ChainFacts, now: datetime) -> Stalled | None:
    """Judge a chain; None while it moves, or has not stood for longer than chance explains."""
    idle = now - facts.advanced_at
    since = facts.advanced_at
    if facts.halted:
        return Stalled(Stall.HALTED, since, "it needs an operator: see its trouble")
    if idle > PATIENCE and not facts.followed:
        return Stalled(Stall.UNFOLLOWED, since, "no process follows it: start one with `chainbell run --role watcher`")
    if idle > PATIENCE and _behind_for_long(facts, now):
        reason = f"its nodes are at {facts.tip_height}, we stand at {facts.cursor_height} and commit nothing"
        return Stalled(Stall.BEHIND, since, reason)
    if _still(facts, now):
        reason = (
            f"there is no block above {facts.cursor_height}, while one comes every "
            f"{facts.pace.total_seconds():.3g} s otherwise: the chain stands still, or its nodes do"
        )
        return Stalled(Stall.STILL, since, reason)
    return None


def _behind_for_long(facts: ChainFacts, now: datetime) -> bool:
    """Tell whether what lies above the cursor is there for long: right after a long gap it is there just now."""
    if not facts.lag:
        return False
    return facts.lag >= BEHIND_BLOCKS or (facts.tip_at is not None and now - facts.tip_at > PATIENCE)


def _still(facts: ChainFacts, now: datetime) -> bool:
    """Tell whether no block came for longer than chance explains.

    A cursor that goes back and forth between forks moves all the time and gets nowhere: the age of its block tells. That is
    by the chain's clock, which may be wrong by hours, so twice the patience; and it counts only at the tip, for below it the
    blocks are old.
    """
    if facts.mined_on_demand:
        return False
    patience = max(PATIENCE, facts.pace * PATIENCE_BLOCKS)
    if now - facts.advanced_at > patience:
        return True
    mined_at = facts.cursor_mined_at
    return facts.lag == 0 and mined_at is not None and now - mined_at > 2 * patience
