"""What the demo does on the chain, step by step, and which events each step must ring. Data and a little arithmetic; pure.

It is written by hand from the tables of the lifecycle and knows nothing of the code that produces the events: what
Chainbell tells is judged by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

REQUIRED = 3
"""Confirmations that the chain definition asks for before a deposit is a success."""
REORG_DEPTH = 2
"""Blocks that the reorg takes back: the one with the deposit, and the one on top of it."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """A payment to the watched address."""

    title: str
    token: bool
    amount: int
    """Base units."""
    wire_amount: str
    """The same amount as webhooks write it."""
    asset_type: str
    """What webhooks call the asset."""


COIN = Deposit("coin", token=False, amount=1_500_000_000_000_000_000, wire_amount="1.5", asset_type="ETH_ANVIL")
TOKEN = Deposit("token", token=True, amount=250_000_000, wire_amount="250", asset_type="DEMO_ANVIL")
REORGANISED = Deposit("reorganised", token=False, amount=750_000_000_000_000_000, wire_amount="0.75", asset_type="ETH_ANVIL")
DEPOSITS = (COIN, TOKEN, REORGANISED)

V1_NAMES = {
    "created": "transaction.incoming",
    "awaiting_confirmation": "transaction.awaiting_confirmation",
    "pending": "transaction.pending",
    "success": "transaction.success",
}
"""The legacy event of each step; ``confirmation`` has none."""


class Move(StrEnum):
    """What is done to the chain."""

    PAY = "pay"
    """Send the deposit's transaction, and mine it."""
    MINE = "mine"
    REORGANISE = "reorganise"
    """Replace the newest blocks by others without the deposit."""
    PAY_AGAIN = "pay again"
    """Send the bytes of the deposit's transaction, kept from before the reorg, once more, and mine them."""


@dataclass(frozen=True, slots=True)
class Ring:
    """One event of a deposit, told to both endpoints where the legacy format knows it."""

    deposit: Deposit
    name: str
    """Last part of the v2 event type."""
    status: str
    confirmations: int

    @property
    def v2(self) -> str:
        """The event's name in version 2."""
        return f"transaction.deposit.{self.name}"

    @property
    def v1(self) -> str | None:
        """The event's name in version 1, None where it has none."""
        return V1_NAMES.get(self.name)


@dataclass(frozen=True, slots=True)
class Beat:
    """One move on the chain, and what it must ring, in order for each deposit, before the next."""

    caption: str
    move: Move
    deposit: Deposit | None
    rings: tuple[Ring, ...]


def _included(deposit: Deposit, *, again: bool = False) -> tuple[Ring, ...]:
    awaiting = Ring(deposit, "awaiting_confirmation", "AWAITING_CONFIRMATION", 1)
    return (awaiting,) if again else (Ring(deposit, "created", "AWAITING_CONFIRMATION", 1), awaiting)


def _deeper(deposit: Deposit, confirmations: int) -> tuple[Ring, ...]:
    deeper = Ring(deposit, "confirmation", "AWAITING_CONFIRMATION", confirmations)
    return (deeper,) if confirmations < REQUIRED else (deeper, Ring(deposit, "success", "SUCCESS", confirmations))


def _orphaned(deposit: Deposit) -> tuple[Ring, ...]:
    return (Ring(deposit, "pending", "PENDING", 0),)


SCRIPT = (
    Beat("A customer pays 1.5 ETH: the payment is in a block", Move.PAY, COIN, _included(COIN)),
    Beat("Another pays 250 DEMO, an ERC-20 token", Move.PAY, TOKEN, _deeper(COIN, 2) + _included(TOKEN)),
    Beat("A block later the coins are deep enough", Move.MINE, None, _deeper(COIN, 3) + _deeper(TOKEN, 2)),
    Beat("And now the tokens are", Move.MINE, None, _deeper(TOKEN, 3)),
    Beat("A third customer pays 0.75 ETH", Move.PAY, REORGANISED, _included(REORGANISED)),
    Beat("One more block, and it would nearly be safe", Move.MINE, None, _deeper(REORGANISED, 2)),
    Beat(
        "The chain reorganises: two blocks are replaced, the payment is in none of them",
        *(Move.REORGANISE, REORGANISED, _orphaned(REORGANISED)),
    ),
    Beat(
        "The same transaction is mined again, in another block",
        *(Move.PAY_AGAIN, REORGANISED, _included(REORGANISED, again=True)),
    ),
    Beat("Its depth is counted anew", Move.MINE, None, _deeper(REORGANISED, 2)),
    Beat("Deep enough: now it is money", Move.MINE, None, _deeper(REORGANISED, 3)),
)


def rings(beats: Iterable[Beat]) -> list[Ring]:
    """Return what these moves ring together, in order: as many events as the feed must hold."""
    return [ring for beat in beats for ring in beat.rings]
