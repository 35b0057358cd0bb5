"""Keys to look up, in portions that PostgreSQL finds by their index."""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

KEYS_AT_ONCE = 5000
"""With some 20,000 keys in one array, PostgreSQL 18 reads a table of 1,000,000 rows from end to end instead. Behind
``= any`` it sorts them, so that neighbours share the pages of an index."""


def chunks(keys: Collection[T], size: int = KEYS_AT_ONCE) -> Iterator[list[T]]:
    """Yield all keys in lists of up to `size`, in their order; nothing where there are none."""
    rest = iter(keys)
    while portion := list(islice(rest, size)):
        yield portion
