"""Looking back: scans of blocks that were committed before an address was watched."""

from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.watch import Watch


@dataclass(frozen=True, slots=True)
class History:
    """What somebody asks for when an address is registered: its past, from a height on."""

    from_height: int
    notify: bool
    """Whether endpoints are told of what is found; it is on the feed in any case."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan as it stands. It reads downwards, from the cursor of the moment it was asked for."""

    id: str
    chain: str
    account_id: str | None
    """Whose addresses it is for; None: all addresses of the chain."""
    from_height: int
    """The last block that it reads."""
    through_height: int
    """The first block that it read: the cursor of the moment it was asked for."""
    next_height: int
    """The block that it reads next; below `from_height`: none."""
    notify: bool
    covers: frozenset[str]
    """What it looks for from its first block to its last: ``coin``, ``logs``, ``token:`` and a contract in hex."""
    trouble: str | None
    """What keeps it from going on; None while nothing does."""
    created_at: datetime
    advanced_at: datetime
    finished_at: datetime | None

    @property
    def blocks(self) -> int:
        """How many blocks it reads in all."""
        return self.through_height - self.from_height + 1

    @property
    def blocks_read(self) -> int:
        """How many blocks it has read, or need not read any more because the follower does."""
        return self.through_height - self.next_height


@dataclass(frozen=True, slots=True)
class ScanWindow:
    """Blocks that some scans of one chain read next, together: all of them stand at its upper end."""

    scan_ids: tuple[str, ...]
    lowest: int
    highest: int
    highest_hash: bytes
    """Hash of our chain's block at `highest`."""


@dataclass(frozen=True, slots=True)
class ScannedWatch:
    """A watched address whose past is looked for."""

    watch: Watch
    notify: bool
    late: bool = False
    """Whether the blocks are read again for what the follower could not see yet: what is found there is no history."""
