"""What is covered, as steps: from each height on, whether blocks are scanned for one thing, and if not, why.

A step has no end of its own. It ends where the next one begins, or at the chain's cursor; so steps can neither overlap nor
leave a hole, and what is covered now grows with the cursor and with nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

NEVER = "nothing looked for it before"
BEFORE_THE_WATCH = "before this address was watched, and not scanned since"


@dataclass(frozen=True, slots=True)
class Step:
    """From this height on, blocks are scanned for one thing, or are not."""

    from_height: int
    reason: str | None
    """Why not; None: they are."""
    changed_at: datetime | None
    """When it was switched; None: before that was recorded."""

    @property
    def covered(self) -> bool:
        """Whether blocks are scanned for it."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Covered:
    """Heights that were scanned for one thing, without a hole."""

    from_height: int
    through_height: int
    """Last height scanned; below `from_height`: none yet."""
    grows: bool
    """Whether it goes on with the cursor."""
    ended_at: datetime | None
    ended_reason: str | None
    """Why it does not; None where it grows, or where something else is known from there on."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Heights of our chain that were not scanned for one thing."""

    from_height: int
    through_height: int
    reason: str
    since: datetime | None
    """When it was switched off; None: it never was on, or that was not recorded."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of one thing, from height 0 to the cursor: each height lies in one range, or in one gap."""

    ranges: tuple[Covered, ...]
    gaps: tuple[Gap, ...]

    @property
    def grows(self) -> bool:
        """Whether the next block will be scanned for it."""
        return any(found.grows for found in self.ranges)


def switched(steps: Sequence[Step], change: Step) -> tuple[Step, ...]:
    """Return the steps after a switch at the height behind the cursor; none of them begins above it."""
    return _merged((*(step for step in steps if step.from_height < change.from_height), change))


def fallen_back(steps: Sequence[Step], ancestor: int) -> tuple[Step, ...]:
    """Return the steps after a retraction: the new branch is scanned, from its first block on, for what is scanned now."""
    kept = [step for step in steps if step.from_height <= ancestor + 1]
    if len(kept) < len(steps):
        kept.append(replace(steps[-1], from_height=ancestor + 1))
    return _merged(kept)


def scanned_again(steps: Sequence[Step], lowest: int, highest: int, now: datetime) -> tuple[Step, ...]:
    """Return the steps after a scan of all addresses from `highest` down to `lowest`, both at or below the cursor."""
    if highest < lowest:
        return tuple(steps)
    in_force = [step for step in steps if step.from_height <= highest + 1]
    behind = in_force[-1] if in_force else Step(0, NEVER, None)
    return _merged(
        (
            *(step for step in steps if step.from_height < lowest),
            Step(lowest, None, now),
            replace(behind, from_height=highest + 1),
            *(step for step in steps if step.from_height > highest + 1),
        )
    )


def coverage(steps: Sequence[Step], cursor: int) -> Coverage:
    """Return what steps say of the heights from 0 to the cursor."""
    whole = _merged((Step(0, NEVER, None), *steps))
    ranges, gaps = [], []
    for step, following in zip(whole, (*whole[1:], None), strict=True):
        through = cursor if following is None else following.from_height - 1
        if step.reason is None:
            ended_at, ended_reason = (None, None) if following is None else (following.changed_at, following.reason)
            ranges.append(Covered(step.from_height, through, following is None, ended_at, ended_reason))
        elif through >= step.from_height:
            gaps.append(Gap(step.from_height, through, step.reason, step.changed_at))
    return Coverage(tuple(ranges), tuple(gaps))


def of_address(whole: Coverage, watched_from: int, cursor: int, scanned: Iterable[tuple[int, int]]) -> Coverage:
    """Return what is covered for one address: the chain's ranges since it is watched, and what scans of it have read.

    `scanned` are heights, lowest and highest, that scans have read for this address and this thing.
    """
    watched = [replace(found, from_height=max(found.from_height, watched_from)) for found in whole.ranges]
    past = [Covered(low, min(high, cursor), grows=False, ended_at=None, ended_reason=None) for low, high in scanned]
    found = [one for one in (*watched, *past) if one.grows or one.through_height >= one.from_height]
    ranges = _joined(sorted(found, key=lambda one: (one.from_height, one.through_height)))
    holes = _holes(ranges, cursor)
    gaps = [
        *(Gap(low, min(high, watched_from - 1), BEFORE_THE_WATCH, None) for low, high in holes),
        *(_part(gap, max(low, watched_from), high) for low, high in holes for gap in whole.gaps),
    ]
    kept = sorted((gap for gap in gaps if gap.through_height >= gap.from_height), key=lambda gap: gap.from_height)
    return Coverage(tuple(ranges), tuple(kept))


def _merged(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Leave out what a step at the same height replaces, and what changes nothing."""
    latest = {step.from_height: step for step in steps}
    kept: list[Step] = []
    for _, step in sorted(latest.items()):
        if not kept or kept[-1].reason != step.reason:
            kept.append(step)
    return tuple(kept)


def _joined(found: Sequence[Covered]) -> list[Covered]:
    """Join ranges that touch or overlap, in order."""
    ranges: list[Covered] = []
    for one in found:
        last = ranges[-1] if ranges else None
        if last is None or one.from_height > last.through_height + 1:
            ranges.append(one)
        elif one.grows or one.through_height > last.through_height:
            ranges[-1] = replace(one, from_height=last.from_height)
    return ranges


def _holes(ranges: Sequence[Covered], cursor: int) -> list[tuple[int, int]]:
    """Return the heights from 0 to the cursor between ranges."""
    lows = [0, *(one.through_height + 1 for one in ranges)]
    highs = [*(one.from_height - 1 for one in ranges), cursor]
    return [(low, high) for low, high in zip(lows, highs, strict=True) if low <= high]


def _part(gap: Gap, low: int, high: int) -> Gap:
    return replace(gap, from_height=max(gap.from_height, low), through_height=min(gap.through_height, high))
