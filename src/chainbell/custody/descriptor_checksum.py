"""The checksum of output descriptors (BIP380): eight letters behind ``#``."""

from chainbell.domain.errors import InputError

_ALLOWED = "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)
_LENGTH = 8


def checked(text: str) -> str:
    """Return a descriptor without its checksum. Raises `InputError` where that is missing or does not hold."""
    body, separator, checksum = text.rpartition("#")
    if not separator:
        message = (
            f"the descriptor has no checksum, which shows that nothing was mistyped: copy it whole, with # and {_LENGTH} "
            f"letters behind it. Of what was given here it is #{checksum_of(text)} (`bitcoin-cli getdescriptorinfo` says "
            "the same)"
        )
        raise InputError(message)
    if checksum != checksum_of(body):
        message = "the descriptor's checksum does not hold: a letter of it is wrong or missing. Copy it again, whole"
        raise InputError(message)
    return body


def checksum_of(body: str) -> str:
    """Return the checksum of a descriptor. Raises `InputError` for a character that none has."""
    values: list[int] = []
    groups: list[int] = []
    for character in body:
        place = _ALLOWED.find(character)
        if place < 0:
            message = "the descriptor has a character that no descriptor has: copy it again, and leave out line breaks"
            raise InputError(message)
        values.append(place & 31)
        groups.append(place >> 5)
        if len(groups) == 3:  # noqa: PLR2004 - BIP380 packs three groups into one symbol
            values.append(groups[0] * 9 + groups[1] * 3 + groups[2])
            groups.clear()
    if groups:
        values.append(groups[0] if len(groups) == 1 else groups[0] * 3 + groups[1])
    remainder = _polymod([*values, *bytes(_LENGTH)]) ^ 1
    return "".join(_LETTERS[(remainder >> 5 * (_LENGTH - 1 - place)) & 31] for place in range(_LENGTH))


def _polymod(values: list[int]) -> int:
    remainder = 1
    for value in values:
        top = remainder >> 35
        remainder = (remainder & 0x7FFFFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            if top >> place & 1:
                remainder ^= generator
    return remainder
