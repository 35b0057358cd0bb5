"""Extended public keys (BIP32) as wallets write them, and private keys, which are refused.

No error of this module repeats what it was given: it may be a secret.
"""

from typing import NamedTuple

from chainbell.domain.base58 import Base58Error, decode_check, encode_check
from chainbell.domain.errors import InputError
from chainbell.domain.quoting import EXTENDED_KEY_BYTES, PRIVATE_NAME, WIF_BYTES, WORDS_OF_A_PHRASE

BIP32_MAIN = bytes.fromhex("0488b21e")
"""``xpub``."""
BIP32_TEST = bytes.fromhex("043587cf")
"""``tpub``."""

FIELD = 2**256 - 2**32 - 977
"""The prime of secp256k1 (SEC 2): y^2 = x^3 + 7 modulo it."""

HARDENED = 2**31
"""From this index on, a child needs the private key (BIP32)."""

_KEY_AT = 45
_COMPRESSED = 33


class PrivateKeyError(InputError):
    """What was given is a private key, or what private keys are made of."""

    def __init__(self) -> None:
        super().__init__(
            "this is a private key, or the words of one: Chainbell only watches, and never takes what can spend. Nothing of "
            "it was stored or logged here. Give the public key of the account (xpub, ypub, zpub, tpub, ...) or a descriptor "
            "without private keys, and if this one went where others can read it, move its funds"
        )


class ExtendedKey(NamedTuple):
    """An extended public key."""

    version: bytes
    """The four bytes that make it begin with ``xpub``, ``zpub``, ..."""
    depth: int
    """How many derivations it is below its master key."""
    parent: bytes
    """Fingerprint of its parent, four bytes."""
    number: int
    """Which child of its parent it is."""
    chain_code: bytes
    public_key: bytes
    """Compressed: 33 bytes."""

    def text(self, version: bytes) -> str:
        """Return the key as it is written under a version."""
        place = bytes([self.depth]) + self.parent + self.number.to_bytes(4)
        return encode_check(version + place + self.chain_code + self.public_key)


def parse_extended_key(text: str) -> ExtendedKey:
    """Read an extended public key of any version. Raises `InputError`, and `PrivateKeyError` for a private one."""
    refuse_private(text)
    try:
        data = decode_check(text)
    except Base58Error:
        message = "the key cannot be read: its checksum does not hold, so a letter is wrong or missing. Copy it again, whole"
        raise InputError(message) from None
    if len(data) != EXTENDED_KEY_BYTES:
        message = "this is no extended key: it would have 111 letters and begin with xpub, ypub, zpub, tpub or the like"
        raise InputError(message)
    key = ExtendedKey(data[:4], data[4], data[5:9], int.from_bytes(data[9:13]), data[13:_KEY_AT], data[_KEY_AT:])
    if not is_point(key.public_key):
        message = "the key is damaged: what it holds is no point of the curve secp256k1. Export it again from the wallet"
        raise InputError(message)
    return key


def refuse_private(text: str) -> None:
    """Raise `PrivateKeyError` where a text is a private key by what it holds, or looks like one that was mistyped."""
    if PRIVATE_NAME.match(text) or len(text.split()) >= WORDS_OF_A_PHRASE:
        raise PrivateKeyError
    try:
        data = decode_check(text)
    except Base58Error:
        return
    wif = len(data) in WIF_BYTES and (len(data) != WIF_BYTES[1] or data[-1] == 1)
    if wif or (len(data) == EXTENDED_KEY_BYTES and data[_KEY_AT] == 0):
        raise PrivateKeyError


def is_point(public_key: bytes) -> bool:
    """Tell whether these bytes are a public key, compressed or not (SEC 1)."""
    x = int.from_bytes(public_key[1:_COMPRESSED])
    if x >= FIELD:
        return False
    if len(public_key) == _COMPRESSED:
        return public_key[0] in {2, 3} and lift(x) is not None
    y = int.from_bytes(public_key[_COMPRESSED:])
    return public_key[0] == 4 and y < FIELD and (y * y - x**3 - 7) % FIELD == 0  # noqa: PLR2004 - SEC 1: uncompressed


def lift(x: int) -> int | None:
    """Return the even y of the point with this x; None where the curve has none (BIP340, lift_x)."""
    square = (pow(x, 3, FIELD) + 7) % FIELD
    y = pow(square, (FIELD + 1) // 4, FIELD)
    if pow(y, 2, FIELD) != square:
        return None
    return y if y % 2 == 0 else FIELD - y
