"""Is a listed token what the chain's definition says? Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from chainbell.domain.chain import Token
from chainbell.watcher.ports import TokenFacts


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The contract says of itself what is listed."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """The contract has another symbol. It *is* its contract, so matching goes on; somebody should look."""

    warning: str


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """Its amounts cannot be told rightly, so they are not told at all until the definition is mended."""

    reason: str


TokenVerdict: TypeAlias = Confirmed | Renamed | SwitchedOff


def judge_token(token: Token, facts: TokenFacts) -> TokenVerdict:
    """Compare a listed token with what its contract says."""
    if not facts.has_code:
        return SwitchedOff("there is no contract at its address")
    if facts.decimals != token.decimals:
        said = "does not say its decimals" if facts.decimals is None else f"says {facts.decimals} decimals"
        return SwitchedOff(f"its contract {said}, and the definition {token.decimals}")
    if facts.symbol != token.symbol:
        said = "does not say its symbol" if facts.symbol is None else f"calls itself {facts.symbol!r}"
        return Renamed(f"its contract {said}, and the definition calls it {token.symbol!r}")
    return Confirmed()
