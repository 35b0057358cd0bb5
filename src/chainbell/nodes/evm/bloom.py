"""The bloom filter over logs (Ethereum yellow paper, section 4.3.1), recomputed from the logs themselves. Pure."""

from collections.abc import Iterable
from functools import lru_cache

from eth_hash.auto import keccak

from chainbell.nodes.evm.hexdata import address, hash32

_BIT = 0x7FF
_REMEMBERED = 65536
"""Addresses and topics repeat from block to block; a keccak is the dearest step of a block's check."""


@lru_cache(maxsize=_REMEMBERED)
def bits_of_address(text: str) -> int:
    """Filter bits, as a 2048-bit number, of a log's ``address`` as it stands in JSON.

    Raises:
        BadAnswerError: it is no address.

    """
    return _bits(address(text))


@lru_cache(maxsize=_REMEMBERED)
def bits_of_topic(text: str) -> int:
    """Filter bits, as a 2048-bit number, of a log's topic as it stands in JSON.

    Raises:
        BadAnswerError: it is no topic.

    """
    return _bits(hash32(text))


def bloom_of(addresses: Iterable[str], topics: Iterable[str]) -> int:
    """Union of the filters of logs with these addresses and topics; compare with ``logsBloom`` read as a number.

    Raises:
        BadAnswerError: one of them is malformed.

    """
    bloom = 0
    for text in addresses:
        bloom |= bits_of_address(text)
    for text in topics:
        bloom |= bits_of_topic(text)
    return bloom


def _bits(value: bytes) -> int:
    digest = keccak(value)
    bits = 0
    for start in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") & _BIT)
    return bits
