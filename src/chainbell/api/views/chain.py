"""Chains as they stand."""

from collections.abc import Sequence
from typing import Self

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.address import format_address
from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.storage.chains import ChainStatus
from chainbell.storage.coverage import CoverageRange


class CursorView(Wire):
    """The last block that was committed."""

    height: int
    hash: str


class CoverageView(Wire):
    """Heights that were scanned for one thing."""

    capability: str
    token: str | None
    """Contract; null for what is not one token's."""
    from_height: int
    through_height: int
    """Below ``fromHeight``: nothing yet."""
    ended_at: WireTime | None
    """Null while it grows with the cursor."""
    ended_reason: str | None

    @classmethod
    def of(cls, found: CoverageRange, definition: ChainDefinition) -> Self:
        """Show a range."""
        return cls(
            capability=found.capability,
            token=None if found.token is None else format_address(definition.kind, found.token),
            from_height=found.from_height,
            through_height=found.through_height,
            ended_at=found.ended_at,
            ended_reason=found.ended_reason,
        )


class ChainView(Wire):
    """A chain: what it is, and how far it is followed. One that was never started has no cursor."""

    name: str
    wire_name: str
    caip2: str
    mode: Mode
    required_confirmation: int | None
    """Null under the ``finalized`` tag."""
    cursor: CursorView | None
    lag: int | None
    """Blocks behind the node's tip; null: not known to this process."""
    finalized_height: int | None
    advanced_at: WireTime | None
    trouble: str | None
    """What keeps it from going on; null while nothing does, and for a key of one account."""
    follower: str | None
    """Who follows it now; null: nobody, and for a key of one account."""
    unsettled: int | None
    """Transactions of all accounts that are told, but not final; null for a key of one account."""
    stranded: list[str] | None
    """uids of transactions in no block for longer than the chain's ``drop_after``, the oldest 100; null as `unsettled`."""
    coverage: list[CoverageView]

    @classmethod
    def of(cls, definition: ChainDefinition, status: ChainStatus | None, coverage: Sequence[CoverageRange]) -> Self:
        """Show a chain."""
        return cls(
            name=definition.name,
            wire_name=definition.wire_name,
            caip2=definition.caip2,
            mode=definition.mode,
            required_confirmation=definition.required_depth,
            cursor=None if status is None else CursorView(height=status.cursor.height, hash=f"0x{status.cursor.hash.hex()}"),
            lag=None,
            finalized_height=None if status is None else status.finalized_height,
            advanced_at=None if status is None else status.advanced_at,
            trouble=None if status is None else status.trouble,
            follower=None if status is None else status.follower,
            unsettled=0 if status is None else status.unsettled,
            stranded=[] if status is None else list(status.stranded),
            coverage=[CoverageView.of(found, definition) for found in coverage],
        )

    def without_inner_life(self) -> Self:
        """Leave out what tells of other accounts or of the operator's machines: a key of one account may not see it."""
        return self.model_copy(update=dict.fromkeys(("trouble", "follower", "unsettled", "stranded")))
