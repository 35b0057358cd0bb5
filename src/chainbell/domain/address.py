"""Addresses at the edge: text that people and nodes write, bytes inside."""

import re
from functools import lru_cache

from eth_utils.address import to_checksum_address

from chainbell.domain.chain import ChainKind
from chainbell.domain.errors import InputError

_EVM = re.compile(r"0x[0-9a-fA-F]{40}")


def parse_address(kind: ChainKind, text: str) -> bytes:
    """Return the bytes by which a chain of this kind knows an address.

    EVM: 20 bytes, from hex in one case, or in the mixed case of EIP-55, whose checksum must then hold. Raises `InputError`
    that says what is wrong with the text.
    """
    match kind:
        case ChainKind.EVM:
            return _parse_evm(text)


@lru_cache(maxsize=16_384)
def format_address(kind: ChainKind, address: bytes) -> str:
    """Return an address as it is written: EVM in the mixed case of EIP-55.

    Remembered: one block's events write each address many times, and its checksum was the dearest part of a commit.
    """
    match kind:
        case ChainKind.EVM:
            return str(to_checksum_address(address))


def _parse_evm(text: str) -> bytes:
    if not _EVM.fullmatch(text):
        message = f"{text!r} is not an address of an EVM chain: that is 0x and 40 hexadecimal digits"
        raise InputError(message)
    address = bytes.fromhex(text[2:])
    digits = text[2:]
    one_case = digits in {digits.lower(), digits.upper()}
    if not one_case and to_checksum_address(address) != text:
        message = f"the checksum of {text!r} is wrong (EIP-55): copy it again, a letter or its case has changed"
        raise InputError(message)
    return address
