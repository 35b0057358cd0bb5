"""Base58Check: bytes as Bitcoin writes those in which a mistyped letter must show (BIP13, BIP32)."""

from hashlib import sha256

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
LONGEST = 120
"""Characters of the longest text that is looked at: an extended key has 111, an address at most 35."""

_DIGITS = {letter: value for value, letter in enumerate(ALPHABET)}
_CHECKSUM_BYTES = 4


class Base58Error(ValueError):
    """Text that is not Base58Check; its message continues "the address ..."."""


def encode_check(payload: bytes) -> str:
    """Return a payload with its checksum, the first four bytes of its double SHA-256."""
    data = payload + _checksum(payload)
    number, letters = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        letters = ALPHABET[digit] + letters
    return ALPHABET[0] * (len(data) - len(data.lstrip(b"\0"))) + letters


def decode_check(text: str) -> bytes:
    """Return the payload of a text whose checksum holds. Raises `Base58Error` that says what is wrong."""
    if len(text) > LONGEST:
        message = f"has {len(text)} characters, more than any in Base58"
        raise Base58Error(message)
    number = 0
    for letter in text:
        digit = _DIGITS.get(letter)
        if digit is None:
            message = f"has {letter!r}, which no address in Base58 has"
            raise Base58Error(message)
        number = number * 58 + digit
    data = bytes(len(text) - len(text.lstrip(ALPHABET[0]))) + number.to_bytes((number.bit_length() + 7) // 8)
    payload, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(data) < _CHECKSUM_BYTES or checksum != _checksum(payload):
        message = "has a wrong checksum"
        raise Base58Error(message)
    return payload


def _checksum(payload: bytes) -> bytes:
    return sha256(sha256(payload).digest()).digest()[:_CHECKSUM_BYTES]
