"""The window of a branch: a gap limit of unused addresses is watched behind the last one that was taken."""

from hypothesis import given
from hypothesis import strategies as st

from chainbell.custody.window import END, derived_until, next_after, watched_until

INDEXES = st.integers(0, 200)


@given(st.lists(INDEXES), st.integers(1, 30), INDEXES)
def test_behind_every_taken_one_lies_a_gap(taken: list[int], gap: int, first: int) -> None:
    """In whichever order they are taken; the window never shrinks, and is no wider than twice the gap."""
    next_index, end = first, watched_until(first, gap, 0)
    for index in taken:
        next_index = next_after(next_index, index)
        wider = watched_until(next_index, gap, end)
        assert wider >= end
        end = wider
    assert next_index == max([first, *(index + 1 for index in taken)])
    assert next_index + gap <= end <= max(first, next_index) + 2 * gap
    assert derived_until(end, gap) == end + 2 * gap


@given(st.integers(1, 30))
def test_nothing_lies_behind_the_last_index(gap: int) -> None:
    """A branch ends where a public key can derive no more; a descriptor of one address at once."""
    assert watched_until(END - 1, gap, END - 1) == END
    assert next_after(END - 1, END - 1) == END
    assert watched_until(END, gap, END) == END
    assert watched_until(0, gap, 0, 1) == derived_until(1, gap, 1) == next_after(0, 0, 1) == next_after(1, None, 1) == 1
