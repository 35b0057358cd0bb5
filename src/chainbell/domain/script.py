"""The scriptPubKeys that addresses stand for, made and read: P2PKH, P2SH (BIP16) and witness programs (BIP141). Pure."""

import hashlib
from typing import NamedTuple

_HASH_BYTES = 20
_OP_1, _OP_16 = 0x51, 0x60


class WitnessProgram(NamedTuple):
    """What a segwit address says (BIP141)."""

    version: int
    """0 to 16."""
    program: bytes
    """2 to 40 bytes; of version 0, 20 or 32."""


def hash160(data: bytes) -> bytes:
    """Return the 20 bytes by which outputs name public keys and redeem scripts."""
    return hashlib.new("ripemd160", hashlib.sha256(data).digest(), usedforsecurity=False).digest()


def pay_to_key_hash(digest: bytes) -> bytes:
    """Return the P2PKH script of a public key's `hash160`."""
    return b"\x76\xa9\x14" + digest + b"\x88\xac"


def pay_to_script_hash(digest: bytes) -> bytes:
    """Return the P2SH script of a redeem script's `hash160`."""
    return b"\xa9\x14" + digest + b"\x87"


def pay_to_witness(version: int, program: bytes) -> bytes:
    """Return the script that is a witness program: its version as a small number, then one push."""
    return bytes([_OP_1 + version - 1 if version else 0, len(program)]) + program


def pay_to_witness_key_hash(key: bytes) -> bytes:
    """Return the P2WPKH script of a serialised public key."""
    return pay_to_witness(0, hash160(key))


def pay_to_witness_script_hash(script: bytes) -> bytes:
    """Return the P2WSH script of a witness script."""
    return pay_to_witness(0, hashlib.sha256(script).digest())


def key_hash_of(script: bytes) -> bytes | None:
    """Return the hash that a P2PKH script pays; None for any other script."""
    digest = script[3 : 3 + _HASH_BYTES]
    return digest if len(digest) == _HASH_BYTES and script == pay_to_key_hash(digest) else None


def script_hash_of(script: bytes) -> bytes | None:
    """Return the hash that a P2SH script pays; None for any other script."""
    digest = script[2 : 2 + _HASH_BYTES]
    return digest if len(digest) == _HASH_BYTES and script == pay_to_script_hash(digest) else None


def witness_program_of(script: bytes) -> WitnessProgram | None:
    """Return the witness program that a script is: a small number, then one push of all the rest; None for any other."""
    if len(script) < 2 or len(script) != script[1] + 2 or not (script[0] == 0 or _OP_1 <= script[0] <= _OP_16):  # noqa: PLR2004 - two opcodes
        return None
    return WitnessProgram(script[0] - _OP_1 + 1 if script[0] else 0, script[2:])
