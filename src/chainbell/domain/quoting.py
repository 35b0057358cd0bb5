"""What somebody wrote, inside of an error: cut short, and never what may be somebody's key. Pure.

An error goes to whoever asked, into their logs and to ours. Whoever takes an address for a key, or a key for an address, has
told us enough by that: this is the one place that decides what is not said again.
"""

import re

from chainbell.domain.base58 import Base58Error, decode_check

PRIVATE_NAME = re.compile(r"(?:[tuvxyzTUVXYZ]prv|[LMt]tpv|dgpv)")
"""How extended private keys begin (BIP32, SLIP-132), whatever follows."""
EXTENDED_KEY_BYTES = 78
"""What an extended key holds in Base58Check (BIP32), public or private."""
WIF_BYTES = (33, 34)
"""What a private key in the wallet import format holds; the longer one ends in 1."""
WORDS_OF_A_PHRASE = 12
"""The shortest recovery phrase (BIP39)."""

LONGEST = 128
"""Characters of an address that are said again; none has more."""
LONGEST_NAME = 24
"""Characters of a name that are said again, as that of a chain."""

_HIDDEN = "this text (not repeated: it looks like a private or extended key, which belongs nowhere here)"
_WORD = re.compile(r"[0-9A-Za-z_]+")
_RAW = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
_PUBLIC_NAME = re.compile(r"(?:[tuvxyzTUVXYZ]pub|[LMt]tub|dgub)[0-9A-Za-z]{20}")
# A key in the wallet import format, of which a letter may be wrong. What Bech32 writes is in one case.
_LIKE_WIF = re.compile(r"(?=.*[a-z])(?=.*[A-Z])[1-9A-HJ-NP-Za-km-z]{51,52}")


def looks_like_key(text: str) -> bool:
    """Tell whether a text is, or holds, what may be a private key, an extended one, or the words of one.

    By what it decodes to: Base58Check of 33, 34 or 78 bytes. Also 32 bytes in hex, and what was mistyped but begins as a
    key does, or is as long. No address of any chain is such.
    """
    return len(text.split()) >= WORDS_OF_A_PHRASE or any(map(_is_key, _WORD.findall(text)))


def quoted(text: str, most: int = LONGEST) -> str:
    """Return what somebody wrote as an error says it again: in quotes, cut short, and not at all where it may be a key."""
    if looks_like_key(text):
        return _HIDDEN
    return repr(text if len(text) <= most else f"{text[:most]}...")


def without_keys(path: str) -> str:
    """Return the path of a URL with what may be a key left out of it."""
    return "/".join("..." if looks_like_key(part) else part for part in path.split("/"))


def _is_key(word: str) -> bool:
    if PRIVATE_NAME.match(word) or _PUBLIC_NAME.match(word) or _RAW.fullmatch(word) or _LIKE_WIF.fullmatch(word):
        return True
    try:
        return len(decode_check(word)) in {*WIF_BYTES, EXTENDED_KEY_BYTES}
    except Base58Error:
        return False
