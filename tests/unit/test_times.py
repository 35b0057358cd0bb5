"""Times that somebody names: one reading of them, in requests and in options of commands."""

from datetime import UTC, datetime

import pytest

from chainbell.api.times import parse_moment, parse_time
from chainbell.domain.errors import InputError
from chainbell.events.v2 import wire_time

MOMENT = datetime(2026, 11, 22, 10, 0, 0, 123456, UTC)


@pytest.mark.parametrize("text", [wire_time(MOMENT), "2026-11-22T10:00:00.1234569z", "2026-11-22T11:00:00.123456+01:00"])
def test_what_is_printed_is_read_again(text: str) -> None:
    """Fractions, Z and offsets, in a request as in an option."""
    assert parse_time(text) == parse_moment(text, "--before") == MOMENT


def test_a_year_is_written_with_four_digits() -> None:
    """Also an early one, which nobody means: what is printed is always a time, and read again."""
    early = datetime(264, 3, 4, tzinfo=UTC)
    assert wire_time(early) == "0264-03-04T00:00:00.000000Z"
    assert parse_time(wire_time(early)) == early


def test_a_day_is_its_beginning_in_utc_on_the_command_line_only() -> None:
    """A program that asks the API says which hour it means."""
    assert parse_moment("2026-11-22", "--since") == datetime(2026, 11, 22, tzinfo=UTC)
    with pytest.raises(InputError, match="a time is wanted"):
        parse_time("2026-11-22")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22T10:00:00", "2026-02-30", "2026-11-22 10:00:00Z"])
def test_anything_else_is_refused_with_the_option(text: str) -> None:
    """The words say what is wanted instead."""
    with pytest.raises(InputError, match=r"^--before: a time is wanted .* or a day, as in 2026-11-22"):
        parse_moment(text, "--before")
