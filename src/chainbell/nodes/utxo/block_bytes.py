"""Where everything is in the bytes of a block: header, merge-mining proof, transactions, extension block. Pure."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.transaction_bytes import (
    TOO_SHORT,
    Extension,
    RawTransaction,
    compact_size,
    double_sha256,
    read_transaction,
)

HEADER_BYTES: Final = 80
_HEADER = struct.Struct("<I32s32sI").unpack_from
_AUXPOW = 0x100
"""The bit of a header's version that says that a merge-mining proof follows it (dogecoin ``primitives/pureheader.h``)."""


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block among its bytes. Hashes in display order, except ``root``."""

    hash: bytes
    parent_hash: bytes
    root: bytes
    """What the header says of the transactions, in the order in which it is hashed."""
    timestamp: datetime
    transactions: tuple[RawTransaction, ...]


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Say of ``what`` whatever is wrong with bytes that are read inside, as a ``BadAnswerError``."""
    try:
        yield
    except BadAnswerError as error:
        message = f"{what} is malformed: {error}"
        raise BadAnswerError(message) from None
    except TOO_SHORT:
        message = f"{what} is malformed: its bytes end too early"
        raise BadAnswerError(message) from None


def read_block(raw: bytes, *, auxpow: bool, mweb: bool) -> RawBlock:
    """Read a whole block; whether its parts fit together is not looked at.

    ``auxpow``: the chain is merge-mined, and a bit of the version says where a proof follows the header (elsewhere miners
    are free to use that bit). ``mweb``: the chain has an extension block.

    Raises:
        BadAnswerError: it is malformed.
        IndexError: the bytes end too early.
        struct.error: the same.

    """
    version, parent, root, seconds = _HEADER(raw)
    at = HEADER_BYTES
    if auxpow and version & _AUXPOW:
        at = _skip_proof(raw, at)
    at, transactions = _transactions(raw, at, mweb=mweb)
    _check_end(raw, at, with_extension_block=transactions[-1].extension is Extension.HOGEX)
    return RawBlock(
        hash=double_sha256(raw[:HEADER_BYTES])[::-1],
        parent_hash=parent[::-1],
        root=root,
        timestamp=datetime.fromtimestamp(seconds, UTC),
        transactions=transactions,
    )


def _transactions(raw: bytes, at: int, *, mweb: bool) -> tuple[int, tuple[RawTransaction, ...]]:
    count, at = compact_size(raw, at)
    if not count:
        message = "it has no transactions"
        raise BadAnswerError(message)
    transactions = []
    for number in range(count):
        try:
            transaction = read_transaction(raw, at, mweb=mweb)
        except TOO_SHORT:
            message = f"its {len(raw)} bytes end inside of transaction {number} of {count}"
            raise BadAnswerError(message) from None
        if transaction.extension is not Extension.NONE:
            _check_extension(transaction, number, count)
        transactions.append(transaction)
        at = transaction.end
    return at, tuple(transactions)


def _check_extension(transaction: RawTransaction, number: int, count: int) -> None:
    """Demand that extension data is a HogEx's, and that one the last after others (litecoin ``mweb/mweb_node.cpp``)."""
    if transaction.extension is Extension.CARRIED or not 0 < number == count - 1:
        message = f"transaction {number} of {count} has extension data, where only a HogEx at the end may"
        raise BadAnswerError(message)


def _skip_proof(raw: bytes, at: int) -> int:
    """Return where the transactions begin, after a merge-mining proof (dogecoin ``auxpow.h``).

    It is the parent chain's coinbase, the hash of its block, two merkle branches, each with an index, and its header.
    """
    at = read_transaction(raw, at, mweb=False).end + 32
    for _ in ("of the coinbase in the parent block", "of this block in the coinbase"):
        length, at = compact_size(raw, at)
        at += 32 * length + 4
    return at + HEADER_BYTES


def _check_end(raw: bytes, at: int, *, with_extension_block: bool) -> None:
    """Demand that nothing comes after the transactions, or only the extension block after a HogEx: 00, or 01 and it."""
    left = len(raw) - at
    if with_extension_block:
        present = raw[at]
        if (present == 0 and left == 1) or (present == 1 and left > 1):
            return
    elif not left:
        return
    message = f"{left} bytes after its transactions are no part of it"
    raise BadAnswerError(message)
