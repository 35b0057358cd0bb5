"""Watched addresses."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from chainbell.api.views.scan import ScanView
from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.address import show_address
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.seeding import why_not_outgoing
from chainbell.domain.watch import Purpose, Watch


class AddressView(Wire):
    """An address that is watched on one chain."""

    chain: str
    """Name of the chain's definition."""
    address: str
    label: str | None
    account_id: UUID
    customer_id: UUID | None
    watched_from: int
    """First block height that is covered."""
    outgoing_from: int | None
    """First block height from which on what leaves it is covered; null: not yet."""
    outgoing_reason: str | None
    """Why not; null where it is."""
    created_at: WireTime
    purpose: Purpose
    """``change``: what its own account pays to it stays with that account, and is no deposit."""
    key_id: UUID | None
    """The extended key that it is of; null: it was registered by itself."""
    branch: int | None
    key_index: int | None
    """Its place among the addresses of the key's branch."""
    handed_out: bool
    """False: nobody was given it here yet, it is watched because the window of its key reaches so far."""
    scan: ScanView | None
    """The latest scan of its own past; null: none was asked for, or there was nothing to read."""

    @classmethod
    def of(cls, watch: Watch, chains: Mapping[str, ChainDefinition], scan: ScanView | None) -> Self:
        """Show a watch. One of a chain that is defined no more is written in hex."""
        definition, place = chains.get(watch.chain), watch.place
        return cls(
            chain=watch.chain,
            address=f"0x{watch.address.hex()}" if definition is None else show_address(definition.addresses, watch.address),
            label=watch.label,
            account_id=UUID(watch.account_id),
            customer_id=None if watch.customer_id is None else UUID(watch.customer_id),
            watched_from=watch.watched_from,
            outgoing_from=watch.outgoing_from,
            outgoing_reason=why_not_outgoing(watch),
            created_at=watch.created_at,
            purpose=watch.purpose,
            key_id=None if place is None else UUID(place.key_id),
            branch=None if place is None else place.branch,
            key_index=None if place is None else place.index,
            handed_out=place is None or place.handed_out,
            scan=scan,
        )
