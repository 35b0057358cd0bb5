"""What the demo does on the chains, step by step, and which events each step must ring. Data and a little arithmetic; pure.

It is written by hand from the tables of the lifecycle and knows nothing of the code that produces the events: what
Chainbell tells is judged by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

REQUIRED = 3
"""Confirmations that both chain definitions ask for before a deposit is a success."""


class Network(StrEnum):
    """A chain of the demo, by the name of its definition."""

    ANVIL = "anvil"
    BITCOIN = "bitcoin-regtest"


REORG_DEPTHS = {Network.ANVIL: 2, Network.BITCOIN: REQUIRED}
"""Blocks that each reorg takes back, from the one with the deposit up: on anvil before the success, on Bitcoin with it."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """A payment to a watched address."""

    title: str
    network: Network
    token: bool
    amount: int
    """Base units."""
    wire_amount: str
    """The same amount as webhooks write it."""
    asset_type: str
    """What webhooks call the asset."""


COIN = Deposit(
    title="coin",
    network=Network.ANVIL,
    token=False,
    amount=1_500_000_000_000_000_000,
    wire_amount="1.5",
    asset_type="ETH_ANVIL",
)
TOKEN = Deposit(
    title="token",
    network=Network.ANVIL,
    token=True,
    amount=250_000_000,
    wire_amount="250",
    asset_type="DEMO_ANVIL",
)
REORGANISED = Deposit(
    title="reorganised",
    network=Network.ANVIL,
    token=False,
    amount=750_000_000_000_000_000,
    wire_amount="0.75",
    asset_type="ETH_ANVIL",
)
CHEAP = Deposit(
    title="low fee",
    network=Network.BITCOIN,
    token=False,
    amount=1_500_000,
    wire_amount="0.015",
    asset_type="BTC_BITCOIN_REGTEST",
)
BUMPED = Deposit(
    title="fee bump",
    network=Network.BITCOIN,
    token=False,
    amount=1_500_000,
    wire_amount="0.015",
    asset_type="BTC_BITCOIN_REGTEST",
)
DEPOSITS = (COIN, TOKEN, REORGANISED, CHEAP, BUMPED)

V1_NAMES = {
    "created": "transaction.incoming",
    "awaiting_confirmation": "transaction.awaiting_confirmation",
    "pending": "transaction.pending",
    "success": "transaction.success",
    "replaced": "transaction.failed",
    "reverted": "transaction.failed",
}
"""The legacy event of each step; ``confirmation`` has none."""
V1_STATUSES = {"REPLACED": "FAILED", "REVERTED": "FAILED"}
"""The legacy word for a status, where it is another one."""


class Move(StrEnum):
    """What is done to a chain."""

    PAY = "pay"
    """Send the deposit's transaction, and mine it."""
    SEND = "send"
    """Send the deposit's transaction, which waits in the mempool then."""
    BUMP = "bump"
    """Send the deposit's transaction in place of the one that waits."""
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
    inclusion: int = 0
    """Which of the blocks that the chain ever put the deposit into is told, from 1; 0: none, it is in no block."""
    final: bool = False
    replaced_by: Deposit | None = None
    replaces: Deposit | None = None

    @property
    def v2(self) -> str:
        """The event's name in version 2."""
        return f"transaction.deposit.{self.name}"

    @property
    def v1(self) -> str | None:
        """The event's name in version 1, None where it has none."""
        return V1_NAMES.get(self.name)

    @property
    def v1_status(self) -> str:
        """The status as version 1 calls it."""
        return V1_STATUSES.get(self.status, self.status)


@dataclass(frozen=True, slots=True)
class Beat:
    """One move on a chain, and what it must ring, in order for each deposit, before the next."""

    caption: str
    network: Network
    move: Move
    deposit: Deposit | None
    rings: tuple[Ring, ...]


def _included(deposit: Deposit, inclusion: int = 1) -> tuple[Ring, ...]:
    awaiting = Ring(deposit, "awaiting_confirmation", "AWAITING_CONFIRMATION", 1, inclusion)
    first_sight = inclusion == 1 and deposit.network is Network.ANVIL
    return (replace(awaiting, name="created"), awaiting) if first_sight else (awaiting,)


def _deeper(deposit: Deposit, confirmations: int, inclusion: int = 1) -> tuple[Ring, ...]:
    deeper = Ring(deposit, "confirmation", "AWAITING_CONFIRMATION", confirmations, inclusion)
    success = replace(deeper, name="success", status="SUCCESS", final=True)
    return (deeper,) if confirmations < REQUIRED else (deeper, success)


def _waiting(deposit: Deposit, *, first: bool = True, replaces: Deposit | None = None) -> tuple[Ring, ...]:
    pending = Ring(deposit, "pending", "PENDING", 0, replaces=replaces)
    return (replace(pending, name="created"), pending) if first else (pending,)


def _replaced(deposit: Deposit, by: Deposit, *, final: bool = False) -> tuple[Ring, ...]:
    return (Ring(deposit, "replaced", "REPLACED", 0, final=final, replaced_by=by),)


def _on_anvil(caption: str, move: Move, deposit: Deposit | None, rings: tuple[Ring, ...]) -> Beat:
    return Beat(caption, Network.ANVIL, move, deposit, rings)


def _on_bitcoin(caption: str, move: Move, deposit: Deposit | None, rings: tuple[Ring, ...]) -> Beat:
    return Beat(caption, Network.BITCOIN, move, deposit, rings)


_ANVIL_ACT = (
    _on_anvil("A customer pays 1.5 ETH: the payment is in a block", Move.PAY, COIN, _included(COIN)),
    _on_anvil("Another pays 250 DEMO, an ERC-20 token", Move.PAY, TOKEN, _deeper(COIN, 2) + _included(TOKEN)),
    _on_anvil("A block later the coins are deep enough", Move.MINE, None, _deeper(COIN, 3) + _deeper(TOKEN, 2)),
    _on_anvil("And now the tokens are", Move.MINE, None, _deeper(TOKEN, 3)),
    _on_anvil("A third customer pays 0.75 ETH", Move.PAY, REORGANISED, _included(REORGANISED)),
    _on_anvil("One more block, and it would nearly be safe", Move.MINE, None, _deeper(REORGANISED, 2)),
    _on_anvil(
        "The chain reorganises: two blocks are replaced, the payment is in none of them",
        *(Move.REORGANISE, REORGANISED, _waiting(REORGANISED, first=False)),
    ),
    _on_anvil(
        "The same transaction is mined again, in another block",
        *(Move.PAY_AGAIN, REORGANISED, _included(REORGANISED, 2)),
    ),
    _on_anvil("Its depth is counted anew", Move.MINE, None, _deeper(REORGANISED, 2, 2)),
    _on_anvil("Deep enough: now it is money", Move.MINE, None, _deeper(REORGANISED, 3, 2)),
)

_BITCOIN_ACT = (
    _on_bitcoin(
        "Bitcoin: a customer pays 0.015 BTC at a low fee, and it waits in the mempool",
        *(Move.SEND, CHEAP, _waiting(CHEAP)),
    ),
    _on_bitcoin(
        "The customer raises the fee: another transaction takes its place",
        *(Move.BUMP, BUMPED, _replaced(CHEAP, BUMPED) + _waiting(BUMPED, replaces=CHEAP)),
    ),
    _on_bitcoin("A block includes the second one", Move.MINE, None, _included(BUMPED)),
    _on_bitcoin("One block more", Move.MINE, None, _deeper(BUMPED, 2)),
    _on_bitcoin(
        "Deep enough: the second one is money, and the first one can never be",
        *(Move.MINE, None, _deeper(BUMPED, 3) + _replaced(CHEAP, BUMPED, final=True)),
    ),
    _on_bitcoin(
        "A deep reorg gives up three blocks: even the success is taken back, and waits in the mempool",
        Move.REORGANISE,
        BUMPED,
        (
            Ring(BUMPED, "reverted", "REVERTED", 0),
            *_waiting(BUMPED, first=False, replaces=CHEAP),
            *_waiting(CHEAP, first=False),
            *_replaced(CHEAP, BUMPED),
        ),
    ),
    _on_bitcoin("The new chain includes it too", Move.MINE, None, _included(BUMPED, 2)),
    _on_bitcoin("Its depth is counted anew", Move.MINE, None, _deeper(BUMPED, 2, 2)),
    _on_bitcoin(
        "Deep enough once more",
        *(Move.MINE, None, _deeper(BUMPED, 3, 2) + _replaced(CHEAP, BUMPED, final=True)),
    ),
)

SCRIPT = (*_ANVIL_ACT, *_BITCOIN_ACT)


def rings(beats: Iterable[Beat]) -> list[Ring]:
    """Return what these moves ring together, in order: as many events as the feed must hold."""
    return [ring for beat in beats for ring in beat.rings]
