"""A watched address, as the match sees it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError


class Purpose(StrEnum):
    """What an address is for."""

    DEPOSIT = "deposit"
    CHANGE = "change"
    """What its own account pays to it stays with that account: it is no deposit, and does not leave."""


def check_purpose(kind: ChainKind, purpose: Purpose) -> None:
    """Raise `InputError` for what an address of this kind of chain cannot be for."""
    if kind is ChainKind.EVM and purpose is Purpose.CHANGE:
        message = (
            "purpose change is for chains of the Bitcoin family: here a payment has no change, and all that arrives is a "
            "deposit. Leave the purpose out"
        )
        raise InputError(message)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where an address stands among those of an extended key."""

    key_id: str
    branch: int
    index: int
    handed_out: bool
    """Whether it was given to somebody, or registered by name; else it is watched since its key's window reaches so far."""


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
    purpose: Purpose = Purpose.DEPOSIT
    outgoing_from: int | None = None
    """First height whose spends from it are covered; None: not yet, see `domain.seeding`."""
    seeded_height: int | None = None
    """Block at which a node told its unspent outputs; None: none has, or (EVM) there are none."""
    place: KeyPlace | None = None
    """None: it is of no key."""
