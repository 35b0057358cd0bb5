"""Times that somebody names: RFC 3339, with an offset from UTC, because without one nobody knows which hour is meant."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from chainbell.domain.errors import InputError

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> datetime:
    """Read a time, in UTC; what is finer than a microsecond is cut off. Raises `InputError`."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # a thirteenth month, or an offset that leads out of the calendar
        pass
    message = "a time is wanted as in 2026-11-22T10:00:00Z, with Z or an offset such as +01:00"
    raise InputError(message)


def parse_moment(text: str, option: str) -> datetime:
    """Read a time typed for an option of a command: as `parse_time`, or a day, whose beginning in UTC is meant.

    Raises `InputError`, which names the option.
    """
    try:
        return parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except InputError as error:
        message = f"{option}: {error}; or a day, as in 2026-11-22, whose beginning in UTC is meant"
        raise InputError(message) from error


def _read(value: object) -> datetime:
    try:
        return parse_time(value if isinstance(value, str) else "")
    except InputError as error:
        raise ValueError(str(error)) from error


NamedTime = Annotated[datetime, BeforeValidator(_read), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in a request."""
