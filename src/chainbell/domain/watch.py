"""A watched address, as the match sees it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Watch:
    """An address that somebody registered on a chain."""

    id: str
    chain: str
    address: bytes
    account_id: str
    customer_id: str | None
    label: str | None
    watched_from: int
    """First height that is covered; states coverage, and is never a filter."""
    created_at: datetime
