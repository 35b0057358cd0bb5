"""Seeding: outputs older than a watch, read from a node's set of unspent outputs, so that whatever spends them is seen."""

from dataclasses import dataclass
from enum import Enum, auto

from chainbell.domain.watch import Watch

NOT_READ = "its older outputs are not read yet: a node is asked for them"
READ_AGAIN = "its older outputs are known, and the blocks that came meanwhile are read again for what spends them"


@dataclass(frozen=True, slots=True)
class Unseeded:
    """A watched address whose older outputs are not known."""

    id: str
    script: bytes
    watched_from: int


class Seeding(Enum):
    """What came of entering the outputs of some addresses, as they were unspent at one block."""

    ENTERED = auto()
    EARLY = auto()
    """Our cursor has not reached that block yet: the same again later."""
    FOREIGN = auto()
    """That block is not on our chain: nothing that is unspent there says what is unspent here."""
    ANOTHER_LEADS = auto()
    """Another process follows the chain now."""


@dataclass(frozen=True, slots=True)
class SeedingState:
    """What of a chain is not seeded."""

    addresses: int
    """How many watched addresses have outgoing movements that are not covered yet."""
    trouble: str | None
    """What keeps them waiting; None while nothing does."""


def why_not_outgoing(watch: Watch) -> str | None:
    """Return why what leaves an address is not covered yet; None where it is."""
    if watch.outgoing_from is not None:
        return None
    return NOT_READ if watch.seeded_height is None else READ_AGAIN
