"""Bech32 and Bech32m (BIP173, BIP350): witness programs as text in one case."""

from collections.abc import Iterable

from chainbell.domain.script import WitnessProgram

LONGEST = 90
"""Characters of the longest text for which the checksum promises anything."""

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {letter: value for value, letter in enumerate(_CHARSET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32, _BECH32M = 1, 0x2BC830A3
_CHECKSUM_LETTERS = 6
_SHORTEST_PROGRAM, _LONGEST_PROGRAM = 2, 40
_V0_PROGRAMS = (20, 32)
_HIGHEST_VERSION = 16


class Bech32Error(ValueError):
    """Text that is no witness address; its message continues "the address ..."."""


def encode_witness(hrp: str, witness: WitnessProgram) -> str:
    """Return the address of a witness program that `is_addressable`: version 0 in Bech32, others in Bech32m."""
    data = [witness.version, *_fives(witness.program)]
    constant = _BECH32 if witness.version == 0 else _BECH32M
    remainder = _polymod([*_expanded(hrp), *data, *bytes(_CHECKSUM_LETTERS)]) ^ constant
    checksum = [(remainder >> 5 * (_CHECKSUM_LETTERS - 1 - place)) & 31 for place in range(_CHECKSUM_LETTERS)]
    return f"{hrp}1{''.join(_CHARSET[value] for value in (*data, *checksum))}"


def is_addressable(witness: WitnessProgram) -> bool:
    """Tell whether an address can say this: a version 0 that pays nobody knows what has none."""
    size = len(witness.program)
    if witness.version == 0:
        return size in _V0_PROGRAMS
    return witness.version <= _HIGHEST_VERSION and _SHORTEST_PROGRAM <= size <= _LONGEST_PROGRAM


def prefix_of(text: str) -> str | None:
    """Return the human-readable part of what looks like Bech32, in lower case; None for what does not."""
    prefix, separator, data = text.lower().rpartition("1")
    return prefix if separator and prefix and len(data) >= _CHECKSUM_LETTERS and set(data) <= _VALUES.keys() else None


def decode_witness(text: str) -> tuple[str, WitnessProgram]:
    """Return the human-readable part, in lower case, and the witness program. Raises `Bech32Error`."""
    hrp, data, constant = _decode(text)
    if not data:
        message = "says nothing: there is no data in it"
        raise Bech32Error(message)
    version, *values = data
    if version > _HIGHEST_VERSION:
        message = f"is of witness version {version}, and {_HIGHEST_VERSION} is the highest"
        raise Bech32Error(message)
    if constant != (_BECH32 if version == 0 else _BECH32M):
        wanted, found = ("Bech32", "Bech32m") if version == 0 else ("Bech32m", "Bech32")
        message = f"is of witness version {version}, whose checksum is {wanted}, and has that of {found} (BIP350)"
        raise Bech32Error(message)
    program = _whole_bytes(values)
    _check_size(version, len(program))
    return hrp, WitnessProgram(version, program)


def _decode(text: str) -> tuple[str, list[int], int]:
    """Return human-readable part, data and which checksum it has."""
    if len(text) > LONGEST:
        message = f"has {len(text)} characters, more than the {LONGEST} of Bech32"
        raise Bech32Error(message)
    if text not in {text.lower(), text.upper()}:
        message = "mixes upper and lower case: Bech32 is in one case"
        raise Bech32Error(message)
    hrp, separator, letters = text.lower().rpartition("1")
    if not separator or not hrp or len(letters) < _CHECKSUM_LETTERS or not _printable(hrp):
        message = "is too short for Bech32, or cut off"
        raise Bech32Error(message)
    stranger = next((letter for letter in letters if letter not in _VALUES), None)
    if stranger is not None:
        message = f"has {stranger!r}, which no Bech32 has behind its prefix"
        raise Bech32Error(message)
    data = [_VALUES[letter] for letter in letters]
    constant = _polymod([*_expanded(hrp), *data])
    if constant not in {_BECH32, _BECH32M}:
        message = "has a wrong checksum"
        raise Bech32Error(message)
    return hrp, data[:-_CHECKSUM_LETTERS], constant


def _printable(hrp: str) -> bool:
    return all("!" <= letter <= "~" for letter in hrp)


def _whole_bytes(values: list[int]) -> bytes:
    spare = len(values) * 5 % 8
    number = 0
    for value in values:
        number = number << 5 | value
    if spare > 4 or number & ((1 << spare) - 1):  # noqa: PLR2004 - five bits more would be a letter too many
        message = "does not end on a whole byte, or its last bits are not zero"
        raise Bech32Error(message)
    return (number >> spare).to_bytes(len(values) * 5 // 8)


def _check_size(version: int, size: int) -> None:
    if version == 0 and size not in _V0_PROGRAMS:
        message = f"has a witness program of {size} bytes: of version 0 it has {' or '.join(map(str, _V0_PROGRAMS))}"
        raise Bech32Error(message)
    if not _SHORTEST_PROGRAM <= size <= _LONGEST_PROGRAM:
        message = f"has a witness program of {size} bytes: it has {_SHORTEST_PROGRAM} to {_LONGEST_PROGRAM}"
        raise Bech32Error(message)


def _fives(program: bytes) -> list[int]:
    """Cut bytes into groups of five bits, the last one filled up with zeros."""
    groups = -(-len(program) * 8 // 5)
    number = int.from_bytes(program) << (groups * 5 - len(program) * 8)
    return [number >> 5 * (groups - 1 - place) & 31 for place in range(groups)]


def _expanded(hrp: str) -> list[int]:
    return [*(ord(letter) >> 5 for letter in hrp), 0, *(ord(letter) & 31 for letter in hrp)]


def _polymod(values: Iterable[int]) -> int:
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            if top >> place & 1:
                remainder ^= generator
    return remainder
