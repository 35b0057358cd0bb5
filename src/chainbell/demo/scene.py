"""What there is to see of a running demo."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainbell.demo.script import Beat, Deposit, Network
from chainbell.demo.webhook import Webhook


@dataclass(slots=True)
class Scene:
    """The state of the story. The story changes it, views read it."""

    received: Sequence[Webhook]
    """Every webhook so far; it grows by itself."""
    caption: str = "Starting a fresh PostgreSQL, anvil, bitcoind, Chainbell and a merchant's server"
    played: list[Beat] = field(default_factory=list)
    tx_hashes: dict[Deposit, str] = field(default_factory=dict)
    watched: dict[Network, str] = field(default_factory=dict)
    """The merchant's addresses."""
    network: Network = Network.ANVIL
    """The chain that the story is on."""
    height: int | None = None
    tip_hash: str | None = None
    complaints: list[str] | None = None
    """What was wrong; None until the end."""
