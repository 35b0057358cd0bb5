"""What tokens say of themselves, whatever they are made of."""

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from chainbell.nodes.evm.token import decimals_of, symbol_of


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (encode(["string"], ["USDT"]), "USDT"),
        (encode(["string"], ["USD₮0"]), "USD₮0"),
        (encode(["string"], [" USDC "]), "USDC"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (encode(["string"], [""]), None),
        (encode(["string"], ["x" * 65]), None),
        (encode(["string"], ["a\nb"]), None),
        (encode(["bytes"], [b"\xff\xfe"]), None),
        (bytes(32), None),
        (b"\xff" * 32, None),
        (b"", None),
        (b"\x01", None),
        (b"\xff" * 64, None),
    ],
)
def test_symbols(answer: bytes, symbol: str | None) -> None:
    """A symbol is a string or bytes32; what is empty, too long or unprintable is none."""
    assert symbol_of(answer) == symbol


@pytest.mark.parametrize(
    ("answer", "decimals"),
    [
        (encode(["uint8"], [6]), 6),
        (encode(["uint256"], [0]), 0),
        (encode(["uint256"], [256]), None),
        (b"", None),
        (b"\6", None),
    ],
)
def test_decimals(answer: bytes, decimals: int | None) -> None:
    """Decimals are one word of at most 255; anything else is none, and never taken for 18."""
    assert decimals_of(answer) == decimals


@given(st.binary(max_size=200))
def test_no_answer_of_a_contract_breaks_us(answer: bytes) -> None:
    """A contract may answer any bytes."""
    symbol, decimals = symbol_of(answer), decimals_of(answer)
    assert symbol is None or symbol
    assert decimals is None or 0 <= decimals <= 255
