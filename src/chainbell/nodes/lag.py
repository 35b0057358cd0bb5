"""Whether a node is too far behind another one to be read. Pure."""

import math
from collections.abc import Iterable

from chainbell.domain.chain import ChainDefinition

LEAST_BLOCKS = 5
TOLERATED_SECONDS = 15.0
"""Worth of blocks that nodes may differ in: they hear of a block at different times, and are asked at different times."""
CAUGHT_UP_SECONDS = 2.0
"""The same for a node that was found behind once, before it is used again."""


def tolerated_lag(definition: ChainDefinition, *, catching_up: bool) -> int:
    """Give the blocks that a node may be behind; fewer for one that was found behind before and is ``catching_up``."""
    if catching_up:
        return 1 + math.ceil(CAUGHT_UP_SECONDS / definition.block_seconds)
    return max(LEAST_BLOCKS, math.ceil(TOLERATED_SECONDS / definition.block_seconds))


def behind(height: int, others: Iterable[tuple[str, int]], tolerated: int) -> str | None:
    """Say how far a tip is behind the highest of ``others`` (names and tips); None where it is near enough."""
    name, best = max(others, key=lambda other: other[1], default=("", height))
    if best - height <= tolerated:
        return None
    return f"its tip {height} lies {best - height} blocks behind that of {name} ({best})"
