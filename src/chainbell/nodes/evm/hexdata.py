"""The hex of Ethereum's JSON-RPC, read strictly: quantities and data of a known length. Pure.

https://ethereum.org/developers/docs/apis/json-rpc/#conventions; leading zeros of a quantity are tolerated.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from chainbell.nodes.answers import shown
from chainbell.nodes.errors import BadAnswerError

_quantity = re.compile(r"0x[0-9a-fA-F]{1,64}").fullmatch


def quantity(value: object) -> int:
    """Read a number of at most 256 bits.

    Raises:
        BadAnswerError: it is not one.

    """
    number = _number(value) if isinstance(value, str) else None
    if number is None:
        message = f"expected a 0x quantity, found {shown(value)}"
        raise BadAnswerError(message)
    return number


@lru_cache(maxsize=8192)
def _number(text: str) -> int | None:
    """Read a quantity; None where it is none. A block repeats most of its own: heights, indices, types, prices."""
    return int(text, 16) if _quantity(text) else None


def data(value: object, length: int) -> bytes:
    """Read exactly ``length`` bytes.

    Raises:
        BadAnswerError: they are not.

    """
    if isinstance(value, str) and len(value) == 2 + 2 * length and value.startswith("0x"):
        try:
            decoded = bytes.fromhex(value[2:])
        except ValueError:
            decoded = b""
        # fromhex skips blanks, which then are missing in the length.
        if len(decoded) == length:
            return decoded
    message = f"expected {length} bytes in 0x hex, found {shown(value)}"
    raise BadAnswerError(message)


def octets(value: object) -> bytes:
    """Read bytes of any length.

    Raises:
        BadAnswerError: they are none.

    """
    if isinstance(value, str) and len(value) % 2 == 0:
        return data(value, len(value) // 2 - 1)
    message = f"expected bytes in 0x hex, found {shown(value)}"
    raise BadAnswerError(message)


def hash32(value: object) -> bytes:
    """Read a hash: 32 bytes.

    Raises:
        BadAnswerError: it is not one.

    """
    return data(value, 32)


def address(value: object) -> bytes:
    """Read an address: 20 bytes.

    Raises:
        BadAnswerError: it is not one.

    """
    return data(value, 20)


def to_hex(value: bytes) -> str:
    """Write bytes as JSON-RPC takes them."""
    return "0x" + value.hex()


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever goes wrong with the shape of an answer inside into a ``BadAnswerError`` that says of ``what``."""
    try:
        yield
    except BadAnswerError as error:
        message = f"{what}: {error}"
        raise type(error)(message) from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        message = f"{what}: malformed ({type(error).__name__}: {shown(str(error))})"
        raise BadAnswerError(message) from error
