"""When is a block deep enough? Pure."""

from dataclasses import dataclass

from chainbell.domain.transaction import ScreeningStatus


@dataclass(frozen=True, slots=True)
class Policy:
    """What a chain asks before it calls something settled."""

    required_depth: int | None
    """Confirmations; None: the block must be at or below the finalized one."""
    screening: bool
    """Whether deposits are screened; False only where the operator switched it off explicitly."""

    def required_of(self, maturity: int) -> int | None:
        """Return the confirmations that something of this maturity needs; None: as `required_depth`."""
        return None if self.required_depth is None else max(self.required_depth, maturity)

    def allows_success(self, screening: ScreeningStatus) -> bool:
        """Tell whether screening lets a deposit succeed; ``UNSCREENED`` does only where screening is off."""
        if screening is ScreeningStatus.UNSCREENED:
            return not self.screening
        return screening in {ScreeningStatus.CLEAR, ScreeningStatus.RELEASED}


@dataclass(frozen=True, slots=True)
class ChainView:
    """How far we have come on a chain: confirmations count from our own cursor, never from a node's announced tip."""

    cursor_height: int
    finalized_height: int | None
    """Highest block that a node called finalized and that is on our chain by hash; None before the first."""

    def depth(self, height: int) -> int:
        """Return the confirmations of a block: the cursor's own block has 1."""
        return max(0, self.cursor_height - height + 1)

    def is_deep(self, height: int, policy: Policy, maturity: int = 0) -> bool:
        """Tell whether what stands at this height, and needs so many confirmations in any case, is settled."""
        if self.depth(height) < maturity:
            return False
        if policy.required_depth is None:
            return self.finalized_height is not None and height <= self.finalized_height
        return self.depth(height) >= policy.required_depth
