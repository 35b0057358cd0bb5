"""Addresses at the edge: EIP-55 holds where a text claims it, and what is refused is explained."""

import pytest
from eth_utils.crypto import keccak
from hypothesis import assume, given
from hypothesis import strategies as st

from chainbell.domain.address import EVM_ADDRESSES, format_address, parse_address, show_address
from chainbell.domain.errors import InputError

EVM = EVM_ADDRESSES

EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
"""Test cases of EIP-55."""


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_address(EVM, text)
    return str(caught.value)


def plain_checksum(address: bytes) -> str:
    """Write an address as EIP-55 says, by nothing of chainbell but the hash function."""
    digits = address.hex()
    nibbles = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, nibbles, strict=False)
    )


@pytest.mark.parametrize("text", EIP_55)
def test_vectors_of_the_eip(text: str) -> None:
    """Each test case of EIP-55 is read, and written again as it was."""
    assert format_address(EVM, parse_address(EVM, text)) == text


@given(st.binary(min_size=20, max_size=20))
def test_every_address_comes_back(address: bytes) -> None:
    """What is written is read as the same bytes, also in one case, and follows EIP-55."""
    text = show_address(EVM, address)
    assert text == plain_checksum(address)
    assert parse_address(EVM, text) == address
    assert parse_address(EVM, text.lower()) == address
    assert parse_address(EVM, "0x" + text[2:].upper()) == address


@given(st.binary(min_size=20, max_size=20), st.integers(2, 41))
def test_a_letter_in_the_wrong_case_is_refused(address: bytes, place: int) -> None:
    """One letter in the other case breaks the checksum, and the message says so."""
    right = show_address(EVM, address)
    wrong = right[:place] + right[place].swapcase() + right[place + 1 :]
    assume(wrong not in {right, right.lower(), "0x" + right[2:].upper()})
    assert "checksum" in complaint(wrong)
    assert wrong in complaint(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x1234",
        EIP_55[0][:-1],
        EIP_55[0] + "0",
        EIP_55[0][2:],
        "0X" + EIP_55[0][2:],
        EIP_55[0] + "\n",
        " " + EIP_55[0],
        "0x" + "g" * 40,
        "0x" + "\N{FULLWIDTH DIGIT ONE}" * 40,
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "vitalik.eth",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Wrong length, wrong prefix, other characters and other chains' addresses are refused with what would be right."""
    assert "0x and 40 hexadecimal digits" in complaint(text)
