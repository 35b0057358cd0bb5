"""Pages of a listing, newest first, by an opaque cursor that stays right while rows are added."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import orjson

from chainbell.domain.errors import InputError

T = TypeVar("T")
K = TypeVar("K")

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")

MAX_LIMIT = 200
DEFAULT_LIMIT = 50


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many, and after which. Raises `InputError` for a limit out of range or a cursor that is none of ours."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        if not 1 <= self.limit <= MAX_LIMIT:
            message = f"limit must be from 1 to {MAX_LIMIT}, not {self.limit}"
            raise InputError(message)
        _ = self.after

    @property
    def after(self) -> tuple[datetime | None, str | None]:
        """The time and id of the last row of the page before; Nones for the first page."""
        return (None, None) if self.cursor is None else _decode(self.cursor)

    def after_key(self, parse: Callable[[str], K]) -> tuple[datetime | None, K | None]:
        """Return `after` with the id as the listing keeps it. Raises `InputError` for a cursor of another listing."""
        moment, id_ = self.after
        try:
            return moment, None if id_ is None else parse(id_)
        except ValueError as error:
            raise _foreign_cursor() from error


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and the cursor of the next page; None: this was the last."""

    items: Sequence[T]
    next_cursor: str | None


def to_page(rows: Sequence[T], request: PageRequest, key: Callable[[T], tuple[datetime, str]]) -> Page[T]:
    """Make a page of rows that were read with one more than the limit."""
    items = rows[: request.limit]
    more = len(rows) > request.limit
    return Page(items, _encode(*key(items[-1])) if more else None)


def _encode(moment: datetime, id_: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([moment.isoformat(), id_])).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        moment, id_ = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or not isinstance(id_, str) or not _ID.fullmatch(id_):
            raise _foreign_cursor()
        return at.astimezone(UTC), id_
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise _foreign_cursor() from error


def _foreign_cursor() -> InputError:
    return InputError("this cursor is none of ours: start without one")
