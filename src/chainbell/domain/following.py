"""What crosses between following a chain and committing what was found on it."""

from dataclasses import dataclass
from typing import TypeAlias

from chainbell.domain.chain import BlockRef


@dataclass(frozen=True, slots=True)
class Committed:
    """It is written. ``events`` counts what was told."""

    events: int


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was written: somebody else follows this chain now, or the cursor is not where this was prepared."""

    reason: str


Outcome: TypeAlias = Committed | Stale


@dataclass(frozen=True, slots=True)
class KeptLedger:
    """The blocks of our chain that are kept: linked by parent hashes from the oldest to the cursor."""

    refs: tuple[BlockRef, ...]

    @property
    def cursor(self) -> BlockRef:
        """The last block that was committed."""
        return self.refs[-1]


@dataclass(frozen=True, slots=True)
class Leased:
    """This process follows the chain; ``fence`` goes into each of its commits."""

    fence: int


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Another process follows the chain."""

    follower: str


@dataclass(frozen=True, slots=True)
class CoverageChange:
    """What a chain is scanned for from its cursor on: contracts of tokens, and why others are not any more."""

    tokens: tuple[bytes, ...]
    switched_off: tuple[tuple[bytes, str], ...]
