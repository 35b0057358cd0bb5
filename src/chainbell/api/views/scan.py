"""Scans of the past."""

from typing import Self
from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.history import Scan


class ScanView(Wire):
    """A scan of blocks that were read before an address was watched, and how far it is. It reads downwards."""

    id: UUID
    chain: str
    """Name of the chain's definition."""
    account_id: UUID | None
    """Whose addresses it is for; null: all addresses that were watched on the chain when it was asked for."""
    from_height: int
    """The last block that it reads."""
    through_height: int
    """The first block that it read: the cursor when it was asked for."""
    next_height: int | None
    """The block that it reads next; null: none, it is finished."""
    notify: bool
    """Whether endpoints are told of what it finds; it is on the feed in any case."""
    blocks: int
    """How many blocks it reads in all."""
    blocks_read: int
    trouble: str | None
    """What keeps it from going on; null while nothing does, and for a key of one account."""
    created_at: WireTime
    advanced_at: WireTime
    finished_at: WireTime | None
    """Null while it goes on."""

    @classmethod
    def of(cls, scan: Scan, *, inner_life: bool = True) -> Self:
        """Show a scan; without `inner_life`, leave out what tells of the operator's machines."""
        return cls(
            id=UUID(scan.id),
            chain=scan.chain,
            account_id=None if scan.account_id is None else UUID(scan.account_id),
            from_height=scan.from_height,
            through_height=scan.through_height,
            next_height=scan.next_height if scan.finished_at is None else None,
            notify=scan.notify,
            blocks=scan.blocks,
            blocks_read=scan.blocks_read,
            trouble=scan.trouble if inner_life else None,
            created_at=scan.created_at,
            advanced_at=scan.advanced_at,
            finished_at=scan.finished_at,
        )
