"""What an address holds."""

from typing import Self

from chainbell.api.views.wire import Wire
from chainbell.domain.address import show_address
from chainbell.domain.amount import plain_decimal
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.seeding import why_not_outgoing
from chainbell.storage.balances import Balance

_NOT_KEPT = "balances are kept for chains of the Bitcoin family alone: ask a node of this one"


class BalanceView(Wire):
    """The coin that an address holds in blocks of our chain, whatever their confirmations; null where that is not known."""

    chain: str
    """Name of the chain's definition."""
    address: str
    symbol: str
    decimals: int
    amount: str | None
    """In whole coins; null: not known, see ``reason``."""
    amount_base_units: str | None
    as_of_height: int
    """The block that was committed last at that moment."""
    reason: str | None
    """Why it is not known; null where it is."""

    @classmethod
    def of(cls, balance: Balance, definition: ChainDefinition) -> Self:
        """Show a balance. What may have been spent unseen is not shown."""
        kept = definition.kind is ChainKind.UTXO
        reason = why_not_outgoing(balance.watch) if kept else _NOT_KEPT
        return cls(
            chain=definition.name,
            address=show_address(definition.addresses, balance.watch.address),
            symbol=definition.native.symbol,
            decimals=definition.native.decimals,
            amount=None if reason else plain_decimal(balance.amount, definition.native.decimals),
            amount_base_units=None if reason else str(balance.amount),
            as_of_height=balance.as_of_height,
            reason=reason,
        )
