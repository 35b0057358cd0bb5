"""Coverage as steps: each height is in one range or in one gap, and nothing is claimed that was not read."""

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.coverage import (
    BEFORE_THE_WATCH,
    NEVER,
    Coverage,
    Covered,
    Gap,
    Step,
    coverage,
    fallen_back,
    of_address,
    scanned_again,
    switched,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def on(height: int) -> Step:
    return Step(height, None, NOW)


def off(height: int, reason: str = "off") -> Step:
    return Step(height, reason, NOW)


def grown(low: int, high: int) -> Covered:
    return Covered(low, high, grows=True, ended_at=None, ended_reason=None)


def ended(low: int, high: int) -> Covered:
    return Covered(low, high, grows=False, ended_at=NOW, ended_reason="off")


def heights(found: Coverage) -> list[tuple[int, int]]:
    return [(one.from_height, one.through_height) for one in found.ranges]


def test_what_grows_reaches_the_cursor() -> None:
    """A range has no end of its own; what was never looked for is a gap from height 0 on."""
    assert coverage([on(101)], 100) == Coverage((grown(101, 100),), (Gap(0, 100, NEVER, None),))
    assert coverage([on(101)], 250).ranges == (grown(101, 250),)
    assert coverage([on(0)], 250) == Coverage((grown(0, 250),), ())


def test_switched_off_ends_and_on_again_begins() -> None:
    """The heights in between are a gap, with the reason and since when."""
    steps = switched(switched(switched((), on(11)), off(21)), on(31))
    assert coverage(steps, 40) == Coverage(
        (ended(11, 20), grown(31, 40)), (Gap(0, 10, NEVER, None), Gap(21, 30, "off", NOW))
    )
    assert switched(switched(steps, off(41)), on(41)) == steps


def test_a_retraction_leaves_what_is_in_force_now() -> None:
    """The new branch is scanned for what grows now, also where it began later, and not for what is off now."""
    assert fallen_back((on(11), off(21), on(31)), 25) == (on(11), off(21), on(26))
    assert fallen_back((on(11), off(21), on(31)), 15) == (on(11),)
    assert fallen_back((on(11), off(21)), 15) == (on(11), off(16))
    assert fallen_back((on(11),), 5) == (on(6),)


def test_a_scan_of_everything_mends_the_gap_that_it_read() -> None:
    """Its heights are covered, down to where it read and not below."""
    steps = (on(11), off(21), on(31))
    assert scanned_again(steps, 21, 40, NOW) == (on(11),)
    assert scanned_again(steps, 25, 40, NOW) == (on(11), off(21), on(25))
    assert heights(coverage(scanned_again((on(101),), 50, 100, NOW), 120)) == [(50, 120)]
    assert scanned_again((on(11), off(21)), 0, 15, NOW) == (on(0), off(21))
    assert scanned_again((), 5, 9, NOW)[-1].reason == NEVER
    assert scanned_again(steps, 40, 39, NOW) == steps


def test_an_address_is_covered_since_it_is_watched_and_where_its_past_was_read() -> None:
    """What the chain covers before it was watched is not covered for it; a scan joins on without a seam."""
    whole = coverage((on(11), off(21), on(31)), 60)
    assert of_address(whole, 41, 60, []) == Coverage((grown(41, 60),), (Gap(0, 40, BEFORE_THE_WATCH, None),))
    assert of_address(whole, 41, 60, [(25, 40)]) == Coverage((grown(25, 60),), (Gap(0, 24, BEFORE_THE_WATCH, None),))
    watched_before = of_address(whole, 16, 60, [(0, 9)])
    assert heights(watched_before) == [(0, 9), (16, 20), (31, 60)]
    assert watched_before.gaps == (Gap(10, 15, BEFORE_THE_WATCH, None), Gap(21, 30, "off", NOW))
    assert of_address(whole, 61, 60, []).ranges == (grown(61, 60),)


@st.composite
def histories(draw: st.DrawFn) -> tuple[tuple[Step, ...], set[int], int]:
    """Return steps, the heights that were really scanned, and the cursor, after any story."""
    steps: tuple[Step, ...] = ()
    read: set[int] = set()
    cursor = draw(st.integers(0, 5))
    looking = False
    for _ in range(draw(st.integers(0, 25))):
        match draw(st.sampled_from(["advance", "retract", "switch", "scan"])):
            case "advance":
                last = cursor + draw(st.integers(1, 4))
                read |= set(range(cursor + 1, last + 1)) if looking else set()
                cursor = last
            case "retract":
                cursor -= draw(st.integers(0, min(cursor, 6)))
                read = {height for height in read if height <= cursor}
                steps = fallen_back(steps, cursor)
            case "switch":
                looking = not looking
                steps = switched(steps, on(cursor + 1) if looking else off(cursor + 1))
            case _:
                lowest, highest = sorted(draw(st.tuples(st.integers(0, cursor), st.integers(0, cursor))))
                read |= set(range(lowest, highest + 1))
                steps = scanned_again(steps, lowest, highest, NOW)
    return steps, read, cursor


@given(histories())
def test_whatever_happens_coverage_says_exactly_what_was_read(story: tuple[tuple[Step, ...], set[int], int]) -> None:
    """Ranges are the heights that were scanned, gaps are the others, and neither overlap."""
    steps, read, cursor = story
    known = coverage(steps, cursor)
    claimed = [height for one in known.ranges for height in range(one.from_height, one.through_height + 1)]
    missing = [height for gap in known.gaps for height in range(gap.from_height, gap.through_height + 1)]
    assert sorted(claimed) == sorted(read)
    assert sorted(claimed + missing) == list(range(cursor + 1))
    assert all(before.from_height < after.from_height for before, after in pairwise(steps))


@given(histories(), st.integers(0, 40), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=3))
def test_an_address_is_never_said_to_be_covered_where_it_is_not(
    story: tuple[tuple[Step, ...], set[int], int], watched_from: int, scans: list[tuple[int, int]]
) -> None:
    """Exactly what was scanned while it was watched, and what its own scans have read."""
    steps, read, cursor = story
    watched_from = min(watched_from, cursor + 1)
    past = [(low, low + length) for low, length in scans if low + length <= cursor]
    known = of_address(coverage(steps, cursor), watched_from, cursor, past)
    claimed = {height for one in known.ranges for height in range(one.from_height, one.through_height + 1)}
    missing = [height for gap in known.gaps for height in range(gap.from_height, gap.through_height + 1)]
    scanned = {height for low, high in past for height in range(low, high + 1)}
    assert claimed == {height for height in read if height >= watched_from} | scanned
    assert sorted([*claimed, *missing]) == list(range(cursor + 1))
