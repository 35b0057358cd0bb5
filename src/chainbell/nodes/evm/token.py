"""What a token contract says of itself: ``symbol()`` and ``decimals()``. Pure."""

from dataclasses import dataclass

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

SYMBOL_CALL = "0x95d89b41"
"""Selector of ``symbol()`` (ERC-20)."""
DECIMALS_CALL = "0x313ce567"
"""Selector of ``decimals()`` (ERC-20)."""
_WORD = 32
_MOST_DECIMALS = 255
_LONGEST_SYMBOL = 64


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """A contract's own word; None where it has none that can be read."""

    symbol: str | None
    decimals: int | None
    has_code: bool


def decimals_of(answer: bytes) -> int | None:
    """Read the answer to ``decimals()``: a uint8 in one word; None when it is not that."""
    if len(answer) < _WORD:
        return None
    number = int.from_bytes(answer[:_WORD], "big")
    return number if number <= _MOST_DECIMALS else None


def symbol_of(answer: bytes) -> str | None:
    """Read the answer to ``symbol()``: a string, or bytes32 as some old tokens have it; None when it is neither."""
    raw = answer.rstrip(b"\0") if len(answer) == _WORD else _string(answer)
    try:
        symbol = raw.decode() if raw else ""
    except UnicodeDecodeError:
        return None
    symbol = symbol.strip()
    return symbol if symbol.isprintable() and 0 < len(symbol) <= _LONGEST_SYMBOL else None


def _string(answer: bytes) -> bytes | None:
    """Bytes of an ABI-encoded string; decoded as ``bytes``, which is the same but for UTF-8."""
    try:
        (raw,) = decode(["bytes"], answer)
    except (DecodingError, OverflowError):
        return None
    return raw if isinstance(raw, bytes) else None
