"""Amounts at the edge: plain decimals, exact, as short as they can be."""

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.amount import plain_decimal

EXACT = Context(prec=200)
UINT256 = 2**256 - 1

base_units = st.integers(-UINT256, UINT256)
decimals = st.integers(0, 77)


@pytest.mark.parametrize(
    ("units", "places", "text"),
    [
        (12_500_000, 6, "12.5"),
        (0, 0, "0"),
        (0, 18, "0"),
        (1, 18, "0.000000000000000001"),
        (10**18, 18, "1"),
        (10**18 + 1, 18, "1.000000000000000001"),
        (100, 0, "100"),
        (100, 2, "1"),
        (100, 3, "0.1"),
        (1_010, 3, "1.01"),
        (-5, 2, "-0.05"),
        (-7, 0, "-7"),
        (UINT256, 0, "115792089237316195423570985008687907853269984665640564039457584007913129639935"),
        (UINT256, 77, "1.15792089237316195423570985008687907853269984665640564039457584007913129639935"),
    ],
)
def test_examples(units: int, places: int, text: str) -> None:
    """Amounts are written as shortest plain decimals."""
    assert plain_decimal(units, places) == text


@given(base_units, decimals)
def test_nothing_is_lost(units: int, places: int) -> None:
    """The text, read by another implementation, is the amount again."""
    assert EXACT.scaleb(Decimal(plain_decimal(units, places)), places) == units


@given(base_units, decimals)
def test_as_short_as_can_be(units: int, places: int) -> None:
    """No exponent, no plus, no leading or trailing zero, no bare point."""
    text = plain_decimal(units, places)
    whole, point, fraction = text.removeprefix("-").partition(".")
    assert whole.isdecimal()
    assert whole == "0" or not whole.startswith("0")
    assert bool(point) == bool(fraction)
    assert not fraction.endswith("0")
    assert len(fraction) <= places


@given(base_units, base_units, decimals)
def test_different_amounts_have_different_texts(one: int, other: int, places: int) -> None:
    """Two amounts of an asset are written alike only when they are the same."""
    assert (plain_decimal(one, places) == plain_decimal(other, places)) == (one == other)
