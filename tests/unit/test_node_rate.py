"""A URL never gets more requests than its rate allows, and nobody who asks it waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from chainbell.nodes.token_bucket import TokenBucket, burst_of

RATES = st.floats(0.1, 500, allow_nan=False)
STEPS = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 100)), min_size=1, max_size=60)


@given(RATES, STEPS)
def test_no_more_goes_out_than_a_seconds_worth_and_the_rate(rate: float, steps: list[tuple[float, int]]) -> None:
    """Between any two sendings lie as many seconds as what was sent needs, but for one second's worth."""
    bucket, at = TokenBucket.full(rate, 0.0), 0.0
    sent: list[tuple[float, int]] = []
    for pause, wanted in steps:
        at += pause
        count = min(wanted, bucket.burst)
        bucket, wait = bucket.booked(count, at)
        assert wait >= 0
        sent.append((at + wait, count))
    moments = [moment for moment, _ in sent]
    assert moments == sorted(moments)  # in the order of asking
    for first in range(len(sent)):
        total = 0
        for moment, count in sent[first:]:
            total += count
            assert total <= burst_of(rate) + rate * (moment - sent[first][0]) + 1e-6


def test_a_rest_is_not_saved_up() -> None:
    """However long nobody asked, a second's worth is all that goes out at once."""
    bucket, wait = TokenBucket.full(4, 0.0).booked(4, 1000.0)
    assert wait == 0
    bucket, wait = bucket.booked(4, 1000.0)
    assert wait == 1.0
    assert bucket.booked(2, 1000.5)[1] == 1.0


def test_a_rate_below_one_still_asks() -> None:
    """Half a request per second is one every two seconds."""
    bucket, wait = TokenBucket.full(0.5, 0.0).booked(1, 0.0)
    assert (bucket.burst, wait) == (1, 0.0)
    assert bucket.booked(1, 0.0)[1] == 2.0
