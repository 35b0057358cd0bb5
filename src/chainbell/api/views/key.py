"""Extended public keys and descriptors."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime
from chainbell.custody.template import OutputType
from chainbell.domain.address import show_address
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.watch import Purpose
from chainbell.storage.keys import AccountKey, KeyBranch


class BranchView(Wire):
    """One branch of a key: of its addresses each has an index, from 0 on."""

    branch: int
    purpose: Purpose
    """``deposit``: given to payers. ``change``: what its own account pays to it is no deposit."""
    next_index: int
    """What is handed out next: behind all that were handed out or seen used."""
    watched_through: int
    """The highest index that is watched."""
    first_address: str | None
    """That of index 0, to compare with the wallet that the key comes from; null: it was removed."""


class KeyView(Wire):
    """An extended public key, or a descriptor, whose addresses are watched ahead and handed out one by one."""

    id: UUID
    chain: str
    """Name of the chain's definition."""
    account_id: UUID
    key: str
    """A descriptor with its checksum; of an EVM chain the extended key."""
    type: OutputType
    """What its addresses are."""
    label: str | None
    """What its addresses have as theirs until they get their own."""
    gap_limit: int
    first_index: int
    watched_from: int
    """First block height that is covered for what was watched at first."""
    created_at: WireTime
    branches: list[BranchView]

    @classmethod
    def of(cls, key: AccountKey, chains: Mapping[str, ChainDefinition]) -> Self:
        """Show a key."""
        return cls(
            id=UUID(key.id),
            chain=key.chain,
            account_id=UUID(key.account_id),
            key=key.text,
            type=key.type,
            label=key.label,
            gap_limit=key.gap_limit,
            first_index=key.first_index,
            watched_from=key.watched_from,
            created_at=key.created_at,
            branches=[_branch(branch, chains.get(key.chain)) for branch in key.branches],
        )


def _branch(branch: KeyBranch, definition: ChainDefinition | None) -> BranchView:
    first = branch.first_address
    if first is None:
        written = None
    else:
        written = f"0x{first.hex()}" if definition is None else show_address(definition.addresses, first)
    return BranchView(
        branch=branch.branch,
        purpose=branch.purpose,
        next_index=branch.next_index,
        watched_through=branch.watched_end - 1,
        first_address=written,
    )
