"""Watched addresses."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from chainbell.api.views.scan import ScanView
from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.address import show_address
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.watch import Watch


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
    created_at: WireTime
    scan: ScanView | None
    """The latest scan of its own past; null: none was asked for, or there was nothing to read."""

    @classmethod
    def of(cls, watch: Watch, chains: Mapping[str, ChainDefinition], scan: ScanView | None) -> Self:
        """Show a watch. One of a chain that is defined no more is written in hex."""
        definition = chains.get(watch.chain)
        return cls(
            chain=watch.chain,
            address=f"0x{watch.address.hex()}" if definition is None else show_address(definition.addresses, watch.address),
            label=watch.label,
            account_id=UUID(watch.account_id),
            customer_id=None if watch.customer_id is None else UUID(watch.customer_id),
            watched_from=watch.watched_from,
            created_at=watch.created_at,
            scan=scan,
        )
