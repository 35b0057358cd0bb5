"""What the judge of the demo holds what arrived against: what was played, and what the nodes said. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chainbell.demo.script import Deposit, Network, Ring
from chainbell.demo.stage import Standing


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have arrived by now."""

    rings: Sequence[Ring]
    tx_hashes: Mapping[Deposit, str]
    """Which transaction on the chain each payment is, so far."""
    addresses: Mapping[Network, str]
    inclusions: Mapping[Deposit, Sequence[str]] = field(default_factory=dict)
    """The hashes of the blocks that the chain put each payment into, so far, in order."""
    standings: Mapping[Deposit, Standing] = field(default_factory=dict)
    """Where the nodes say that each payment is now."""
