"""Transactions and blocks of the Bitcoin family, serialised. Imports nothing from chainbell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

NOTHING = bytes(32) + b"\xff" * 4
"""The outpoint of a coinbase's input."""
FINAL = b"\xff" * 4


def double_sha256(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def size(number: int) -> bytes:
    """Serialise a count or length in as few bytes as it needs."""
    if number < 0xFD:
        return bytes([number])
    for mark, width in ((0xFD, 2), (0xFE, 4)):
        if number < 1 << 8 * width:
            return bytes([mark]) + number.to_bytes(width, "little")
    return b"\xff" + number.to_bytes(8, "little")


@dataclass(frozen=True)
class In:
    outpoint: bytes
    unlocking: bytes = b""
    witness: tuple[bytes, ...] = ()
    sequence: bytes = FINAL


@dataclass(frozen=True)
class Out:
    script: bytes
    amount: int


@dataclass(frozen=True)
class Tx:
    """One transaction; `extension` is what Litecoin writes before the lock time: 00 makes it a HogEx."""

    inputs: Sequence[In]
    outputs: Sequence[Out]
    version: bytes = b"\2\0\0\0"
    lock_time: bytes = bytes(4)
    extension: bytes = b""

    @property
    def body(self) -> bytes:
        spent = [one.outpoint + size(len(one.unlocking)) + one.unlocking + one.sequence for one in self.inputs]
        paid = [one.amount.to_bytes(8, "little") + size(len(one.script)) + one.script for one in self.outputs]
        return size(len(spent)) + b"".join(spent) + size(len(paid)) + b"".join(paid)

    @property
    def stripped(self) -> bytes:
        return self.version + self.body + self.lock_time

    @property
    def digest(self) -> bytes:
        return double_sha256(self.stripped)

    @property
    def txid(self) -> bytes:
        return self.digest[::-1]

    @property
    def raw(self) -> bytes:
        has_witness = any(one.witness for one in self.inputs)
        flags = has_witness | (8 if self.extension else 0)
        if not flags:
            return self.stripped
        stacks = [size(len(one.witness)) + b"".join(size(len(item)) + item for item in one.witness) for one in self.inputs]
        witnesses = b"".join(stacks) if has_witness else b""
        return self.version + bytes([0, flags]) + self.body + witnesses + self.extension + self.lock_time


@dataclass(frozen=True)
class Block:
    """A block over its transactions; what is given as `root` is written instead of theirs."""

    transactions: Sequence[Tx]
    version: int = 0x20000000
    parent: bytes = bytes(range(32))
    """In display order."""
    seconds: int = 1_700_000_000
    proof: bytes = b""
    """What stands between header and transactions: a merge-mining proof."""
    tail: bytes = b""
    root: bytes | None = field(default=None)

    @property
    def header(self) -> bytes:
        root = merkle([one.digest for one in self.transactions]) if self.root is None else self.root
        return self.version.to_bytes(4, "little") + self.parent[::-1] + root + self.seconds.to_bytes(4, "little") + bytes(8)

    @property
    def hash(self) -> bytes:
        return double_sha256(self.header)[::-1]

    @property
    def raw(self) -> bytes:
        transactions = b"".join(one.raw for one in self.transactions)
        return self.header + self.proof + size(len(self.transactions)) + transactions + self.tail


def merkle(digests: Sequence[bytes]) -> bytes:
    """Return the merkle root, by its definition: of the halves' roots, the second one filled up with its last."""
    if len(digests) == 1:
        return digests[0]
    pairs = [(digests[at], digests[min(at + 1, len(digests) - 1)]) for at in range(0, len(digests), 2)]
    return merkle([double_sha256(one + other) for one, other in pairs])


def coinbase(*outputs: Out) -> Tx:
    return Tx([In(NOTHING, b"\x03abc", (bytes(32),))], outputs or [Out(b"\x51", 50 * 10**8)])


def payment(number: int, *outputs: Out, witness: tuple[bytes, ...] = ()) -> Tx:
    """Return a transaction that spends an output that no payment of another number spends."""
    spent = double_sha256(number.to_bytes(8, "little")) + bytes(4)
    return Tx([In(spent, witness=witness)], outputs or [Out(b"\x51", number)])
