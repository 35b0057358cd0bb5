"""Where everything is in the bytes of one transaction. Pure, and lean: a block has thousands.

Bitcoin's serialisation (BIP144), and Litecoin's with extension data (LIP-3, litecoin ``primitives/transaction.h``).
Whatever is malformed raises ``BadAnswerError``; bytes that end too early may raise ``IndexError`` or ``struct.error``
(``TOO_SHORT``) instead, which the reader of the whole turns into one. Every step of every loop reads at least one byte
that no other step reads: time and memory follow the bytes that are there, whatever counts they claim.
"""

import struct
from collections.abc import Sequence
from enum import Enum, auto
from hashlib import sha256
from typing import Final, NamedTuple

from chainbell.nodes.errors import BadAnswerError

TOO_SHORT: Final = (IndexError, struct.error)
"""What reading raises where the bytes end too early."""
_WITNESS = 0x01
_EXTENSION = 0x08
_MOST = 0x02000000
"""No count or length is larger: ``MAX_SIZE`` of Bitcoin Core's ``serialize.h``."""
_AMOUNTS = 2**63
"""More is kept nowhere, and no chain has it."""
_INPUT = struct.Struct("<36sB").unpack_from
_OUTPUT = struct.Struct("<QB").unpack_from
_SHORTEST_WIDE = 0xFD
"""The least first byte of a compact size that goes on. Most sizes are below it, and read in place: a call costs more."""
_WIDE = {0xFD: (2, 0xFD), 0xFE: (4, 0x10000), 0xFF: (8, 0x100000000)}
"""By the first byte of a compact size, how many bytes follow, and the least number that needs so many."""


class Extension(Enum):
    """What a transaction of a chain with an extension block has to do with it (LIP-3)."""

    NONE = auto()
    HOGEX = auto()
    """It is the one that a block ends with, and carries the balance of the extension block on."""
    CARRIED = auto()
    """It carries a part for the extension block, which is taken from it when it goes into a block."""


class RawTransaction(NamedTuple):
    """One transaction among its bytes."""

    digest: bytes
    """The txid in the order in which it is hashed."""
    outpoints: tuple[bytes, ...]
    scripts: tuple[bytes, ...]
    amounts: tuple[int, ...]
    inputs: int
    """Where the inputs begin, after their count."""
    witness: int
    """Where the witness of the first input begins; 0: it has none."""
    extension: Extension
    end: int
    """Where what comes after it begins."""


def double_sha256(data: bytes) -> bytes:
    """Return what names blocks and transactions, in the order in which it is hashed."""
    return sha256(sha256(data).digest()).digest()


def compact_size(raw: bytes, at: int) -> tuple[int, int]:
    """Read a count or length; return it and where what comes after it begins.

    Raises:
        BadAnswerError: it is larger than anything can be, or could have been written shorter.

    """
    first = raw[at]
    if first < _SHORTEST_WIDE:
        return first, at + 1
    width, least = _WIDE[first]
    end = at + 1 + width
    if end > len(raw):
        raise IndexError
    size = int.from_bytes(raw[at + 1 : end], "little")
    if least <= size <= _MOST:
        return size, end
    what = "is larger than anything can be" if size > _MOST else "could have been written shorter"
    message = f"a count or length of {size} at byte {at} {what}"
    raise BadAnswerError(message)


def read_transaction(raw: bytes, start: int, *, mweb: bool) -> RawTransaction:
    """Read the transaction that begins at ``start``; ``mweb``: of a chain with an extension block.

    One that carries a part for the extension block (``Extension.CARRIED``) must be all that is left of ``raw``: where that
    part ends is only known from where the whole ends.

    Raises:
        BadAnswerError: it is malformed.
        IndexError: the bytes end too early.
        struct.error: the same.

    """
    body = start + 4
    flags = 0
    if not raw[body]:
        flags = _known_flags(raw[body + 1], _WITNESS | _EXTENSION if mweb else _WITNESS)
        body += 2
    count, inputs = compact_size(raw, body)
    at, outpoints = _inputs(raw, inputs, count)
    body_end, scripts, amounts = _outputs(raw, at)
    at, witness, extension = body_end, 0, Extension.NONE
    if flags & _WITNESS:
        witness = at
        at = _skip_witnesses(raw, at, len(outpoints))
    if flags & _EXTENSION:
        at, extension = _extension(raw, at)
    end = at + 4
    if end > len(raw):
        raise IndexError
    if not (outpoints and scripts) and (outpoints or scripts or extension is not Extension.CARRIED):
        message = f"a transaction has {len(outpoints)} inputs and {len(scripts)} outputs, and needs one of each"
        raise BadAnswerError(message)
    stripped = raw[start : start + 4] + raw[body:body_end] + raw[at:end] if flags else raw[start:end]
    return RawTransaction(double_sha256(stripped), outpoints, scripts, amounts, inputs, witness, extension, end)


def read_unlocking(raw: bytes, transaction: RawTransaction) -> list[bytes]:
    """Read the scriptSig of each input of a transaction that was read from the same bytes."""
    at = transaction.inputs
    unlocking = []
    for _ in transaction.outpoints:
        length, begin = compact_size(raw, at + 36)
        unlocking.append(raw[begin : begin + length])
        at = begin + length + 4
    return unlocking


def read_witnesses(raw: bytes, transaction: RawTransaction) -> list[Sequence[bytes]]:
    """Read the witness stack of each input of a transaction that was read from the same bytes."""
    at = transaction.witness
    if not at:
        return [()] * len(transaction.outpoints)
    stacks: list[Sequence[bytes]] = []
    for _ in transaction.outpoints:
        count, at = compact_size(raw, at)
        stack = []
        for _ in range(count):
            length, begin = compact_size(raw, at)
            at = begin + length
            stack.append(raw[begin:at])
        stacks.append(stack)
    return stacks


def _known_flags(flags: int, known: int) -> int:
    """Return what the byte after the marker says: which further data there is."""
    if flags and not flags & ~known:
        return flags
    message = f"a transaction has unknown data (flag {flags:#04x})" if flags else "a transaction has no inputs"
    raise BadAnswerError(message)


def _inputs(raw: bytes, at: int, count: int) -> tuple[int, tuple[bytes, ...]]:
    outpoints = []
    for _ in range(count):
        outpoint, length = _INPUT(raw, at)
        at += 37
        if length >= _SHORTEST_WIDE:
            length, at = compact_size(raw, at - 1)
        outpoints.append(outpoint)
        at += length + 4
    return at, tuple(outpoints)


def _outputs(raw: bytes, at: int) -> tuple[int, tuple[bytes, ...], tuple[int, ...]]:
    count, at = compact_size(raw, at)
    scripts, amounts = [], []
    for _ in range(count):
        amount, length = _OUTPUT(raw, at)
        at += 9
        if length >= _SHORTEST_WIDE:
            length, at = compact_size(raw, at - 1)
        end = at + length
        if amount >= _AMOUNTS:
            message = f"an output's amount is {amount}, and no chain has so much"
            raise BadAnswerError(message)
        amounts.append(amount)
        scripts.append(raw[at:end])
        at = end
    return at, tuple(scripts), tuple(amounts)


def _skip_witnesses(raw: bytes, at: int, inputs: int) -> int:
    begin = at
    for _ in range(inputs):
        count = raw[at]
        at += 1
        if count >= _SHORTEST_WIDE:
            count, at = compact_size(raw, at - 1)
        for _ in range(count):
            length = raw[at]
            at += 1
            if length >= _SHORTEST_WIDE:
                length, at = compact_size(raw, at - 1)
            at += length
    if at - begin == inputs:
        message = "a transaction is said to have witnesses, and all are empty"
        raise BadAnswerError(message)
    return at


def _extension(raw: bytes, at: int) -> tuple[int, Extension]:
    """Return where the lock time begins, and what is before it: nothing (a HogEx), or a part for the extension block."""
    present = raw[at]
    if not present:
        return at + 1, Extension.HOGEX
    if present == 1:
        lock_time = len(raw) - 4
        if lock_time > at + 1:
            return lock_time, Extension.CARRIED
        raise IndexError
    message = f"whether a transaction has extension data is neither no nor yes but {present:#04x}"
    raise BadAnswerError(message)
