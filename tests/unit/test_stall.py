"""When a chain counts as standing still: measured against its own pace, and bounded where blocks come at random."""

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.watcher.stall import PACE_BLOCKS, PATIENCE, PATIENCE_BLOCKS, ChainFacts, Stall, pace_of, stalled

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SLOT = 12 * SECOND
BITCOIN = timedelta(minutes=10)

MOVING = ChainFacts(
    cursor_height=1000,
    cursor_mined_at=NOW - 5 * SECOND,
    advanced_at=NOW - 4 * SECOND,
    halted=False,
    followed=True,
    tip_height=1000,
    tip_at=NOW - 5 * SECOND,
    pace=SLOT,
)


def idle(for_: timedelta, facts: ChainFacts = MOVING) -> ChainFacts:
    """Let a chain that stands at its node's tip have moved so long ago."""
    return replace(facts, advanced_at=NOW - for_, cursor_mined_at=NOW - for_ - SECOND, tip_at=NOW - for_ - SECOND)


def kind(facts: ChainFacts) -> Stall | None:
    found = stalled(facts, NOW)
    return None if found is None else found.kind


def test_a_chain_that_moves_is_not_stalled() -> None:
    """At the tip, a moment after its last block, there is nothing to say."""
    assert kind(MOVING) is None


def test_a_halted_chain_is_stalled_at_once() -> None:
    """No time heals it, so none is waited for."""
    assert kind(replace(MOVING, halted=True)) is Stall.HALTED


def test_the_chain_stands_still_after_a_gap_that_is_no_chance() -> None:
    """Neither before its patience, in block times, nor without a reason that names the pace."""
    assert kind(idle(PATIENCE_BLOCKS * SLOT - SECOND)) is None
    found = stalled(idle(PATIENCE_BLOCKS * SLOT + SECOND), NOW)
    assert found is not None
    assert found.kind is Stall.STILL
    assert "12 s" in found.reason
    assert found.since == NOW - PATIENCE_BLOCKS * SLOT - SECOND


def test_a_slow_chain_is_waited_for_longer_than_a_fast_one() -> None:
    """Fifteen minutes are nothing for blocks of ten minutes, and far too long for those of twelve seconds."""
    quarter = idle(timedelta(minutes=15))
    assert kind(quarter) is Stall.STILL
    assert kind(replace(quarter, pace=BITCOIN)) is None


def test_a_fast_chain_is_given_the_time_that_a_hand_over_takes() -> None:
    """Four blocks a second do not make a pause of some seconds an alarm."""
    assert kind(idle(PATIENCE - SECOND, replace(MOVING, pace=SECOND / 4))) is None
    assert kind(idle(PATIENCE + SECOND, replace(MOVING, pace=SECOND / 4))) is Stall.STILL


def test_a_chain_without_follower_is_told_apart() -> None:
    """Nobody holds its lease: nodes and chain are not to blame."""
    gone = replace(idle(PATIENCE + SECOND), followed=False)
    assert kind(gone) is Stall.UNFOLLOWED
    assert kind(replace(gone, advanced_at=NOW - PATIENCE + SECOND)) is None


def test_a_chain_whose_nodes_go_on_without_us_is_behind() -> None:
    """They show blocks, we commit none: that is told apart from a chain that stands still."""
    stuck = replace(idle(PATIENCE + SECOND), tip_height=1005, tip_at=NOW - SECOND)
    found = stalled(stuck, NOW)
    assert found is not None
    assert found.kind is Stall.BEHIND
    assert "1005" in found.reason
    assert kind(replace(stuck, advanced_at=NOW - SECOND)) is None, "it catches up"


def test_the_first_block_after_a_long_gap_is_no_alarm() -> None:
    """It was shown just now, and is committed in a moment; shown a while ago, and not committed, it is one."""
    gap = replace(idle(timedelta(minutes=30)), pace=BITCOIN)
    assert kind(replace(gap, tip_height=1001, tip_at=NOW - SECOND)) is None
    assert kind(replace(gap, tip_height=1001, tip_at=NOW - PATIENCE - SECOND)) is Stall.BEHIND


def test_a_cursor_that_goes_back_and_forth_gets_nowhere() -> None:
    """It moved a moment ago, and yet its block is old, and no node has a newer one."""
    flapping = replace(MOVING, cursor_mined_at=NOW - 25 * SLOT)
    assert kind(flapping) is Stall.STILL
    assert kind(replace(flapping, tip_height=2000)) is None, "it catches up: its blocks are old"
    assert kind(replace(flapping, tip_height=None)) is None, "how far it is behind is not known"


def test_a_chain_that_mines_on_demand_may_rest() -> None:
    """A development chain makes no block for days and is well; one that we do not follow is told all the same."""
    resting = replace(idle(timedelta(days=3)), mined_on_demand=True)
    assert kind(resting) is None
    assert kind(replace(resting, tip_height=1003)) is Stall.BEHIND


def test_a_frozen_follower_is_seen_without_it() -> None:
    """What it leaves are facts that grow old: its lease ends, and nobody tells of the nodes any more."""
    frozen = replace(idle(timedelta(minutes=2)), followed=False, tip_height=None, tip_at=None)
    assert kind(frozen) is Stall.UNFOLLOWED


def times(gaps: list[timedelta]) -> list[datetime]:
    found = [NOW]
    for gap in gaps:
        found.append(found[-1] + gap)
    return found


def test_the_pace_is_the_chains_own() -> None:
    """It is measured where there is enough to measure, and never below the typical one of the definition."""
    assert pace_of(times([20 * SECOND] * 40), SLOT) == 20 * SECOND
    assert pace_of(times([6 * SECOND] * 40), SLOT) == SLOT
    assert pace_of(times([20 * SECOND] * 5), SLOT) == SLOT
    assert pace_of([], SLOT) == SLOT


def test_one_halt_of_the_chain_does_not_make_us_patient_for_the_next() -> None:
    """The longest gap is left out, and many long ones count up to a bound."""
    assert pace_of(times([SLOT] * 30 + [timedelta(hours=9)] + [SLOT] * 30), SLOT) == SLOT
    assert pace_of(times([timedelta(hours=1)] * 60), SLOT) == 10 * SLOT


@given(st.lists(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC))))  # noqa: DTZ001
def test_the_pace_has_bounds_whatever_the_blocks_say(mined_at: list[datetime]) -> None:
    """Times of blocks are the miners' word: they come in any order and with any error."""
    assert SLOT <= pace_of(mined_at, SLOT) <= 10 * SLOT


@pytest.mark.parametrize("pace", [BITCOIN, timedelta(minutes=2.5)])
def test_false_alarms_are_rare_where_blocks_come_at_random(pace: timedelta) -> None:
    """Six years of Bitcoin's blocks bring two false alarms by the formula: no more than a handful are found."""
    chance = random.Random(20261122)
    recent: list[datetime] = [NOW]
    alarms, blocks = 0, 300_000
    for _ in range(blocks):
        gap = pace * chance.expovariate(1)
        if gap > max(PATIENCE, PATIENCE_BLOCKS * pace):  # no alarm before, whatever was measured
            facts = replace(MOVING, pace=pace_of(recent, pace), advanced_at=recent[-1], cursor_mined_at=recent[-1])
            alarms += stalled(facts, recent[-1] + gap) is not None
        recent = [*recent[-PACE_BLOCKS:], recent[-1] + gap]
    assert alarms <= 6, (alarms, blocks * math.exp(-PATIENCE_BLOCKS))
