"""A chain of the demo, as the story sees it: moves can be made on it, and asked what came of them."""

from dataclasses import dataclass
from typing import Protocol

from chainbell.demo.script import Deposit, Move, Network


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node says that a deposit's transaction is."""

    block_hash: str | None
    """The block of its chain that includes it; None: none does."""
    depth: int = 0
    """Its confirmations, 0 in no block."""
    rival: str | None = None
    """Another transaction that spends the same coins, and stands in the mempool or in a block."""
    rival_depth: int = 0
    """Confirmations of that one."""


class Stage(Protocol):
    """One chain: a node of its own, and the merchant's address on it."""

    network: Network
    watched: str
    """The merchant's address."""
    node_url: str
    """The node, as Chainbell's settings want it."""
    definition: str | None
    """The chain's definition, where it is not the built-in one."""
    tx_hashes: dict[Deposit, str]
    """Which transaction each payment is, so far."""

    async def make(self, move: Move, deposit: Deposit | None) -> None:
        """Make a move. Raises `DemoError` when the node does not do what it is asked for."""

    async def tip(self) -> tuple[int, str]:
        """Return height and hash of the newest block."""

    async def standing(self, deposit: Deposit) -> Standing:
        """Ask the node where a payment that was made is."""
