"""Which scriptPubKeys the unlocking data of an input would fit. Pure.

An output says what unlocks it, so that what unlocked it tells most outputs: it must show the public key or script that was
paid. Nothing is shown by what unlocks a bare public key (P2PK), bare multisig or Taproot (P2TR) by key; a Taproot output
spent by script shows its key only to elliptic curve arithmetic, which is not done here.

What fits is a candidate and no proof: unlocking data can be made to fit an output that it does not spend.
"""

from collections.abc import Sequence

from chainbell.domain.script import (
    hash160,
    pay_to_key_hash,
    pay_to_script_hash,
    pay_to_witness_key_hash,
    pay_to_witness_script_hash,
)

_OP_PUSHDATA = {0x4C: 1, 0x4D: 2, 0x4E: 4}
"""Opcodes that push bytes, and in how many bytes they say how many."""
_OP_16 = 0x60
"""No opcode beyond it pushes."""
_PUSHES = 0x4C
"""Opcodes below it push as many bytes as they say themselves."""
_LARGEST_PUSH = 520
_LARGEST_WITNESS_SCRIPT = 10_000
"""Larger ones unlock nothing: ``MAX_SCRIPT_ELEMENT_SIZE`` and ``MAX_SCRIPT_SIZE`` of Bitcoin Core's ``script.h``."""
_KEY_LENGTHS = {0x02: 33, 0x03: 33, 0x04: 65, 0x06: 65, 0x07: 65}
"""By its first byte, how long a serialised public key is (6 and 7: the hybrid form)."""
_ANNEX = 0x50
"""How a Taproot annex begins (BIP341), and no script that could succeed: it is OP_RESERVED."""
_SCHNORR_SIGNATURE_LENGTHS = {64, 65}
_OF_KEY_HASH = 2
"""What unlocks P2WPKH: a signature and a public key."""


def fitting_scripts(unlocking: bytes, witness: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the scriptPubKeys that an input's scriptSig and witness stack would fit; none where nothing can be told.

    A witness program inside of P2SH needs no case of its own: it is the redeem script, and named by its hash.
    """
    if unlocking:
        return _fitting_pushes(unlocking)
    return _fitting_witness(witness) if witness else ()


def _fitting_pushes(unlocking: bytes) -> tuple[bytes, ...]:
    """P2PKH by the public key, P2SH by the redeem script: both are what is pushed last."""
    last, pushes_only = _last_push(unlocking)
    if not last or len(last) > _LARGEST_PUSH:
        return ()
    fitting = []
    if _is_key(last):
        fitting.append(pay_to_key_hash(hash160(last)))
    if pushes_only:
        fitting.append(pay_to_script_hash(hash160(last)))
    return tuple(fitting)


def _fitting_witness(witness: Sequence[bytes]) -> tuple[bytes, ...]:
    last = witness[-1]
    fitting = []
    if len(witness) == _OF_KEY_HASH and _is_key(last):
        fitting.append(pay_to_witness_key_hash(last))
    by_taproot = last[:1] == bytes([_ANNEX]) or (len(witness) == 1 and len(last) in _SCHNORR_SIGNATURE_LENGTHS)
    if not by_taproot and 0 < len(last) <= _LARGEST_WITNESS_SCRIPT:
        fitting.append(pay_to_witness_script_hash(last))
    return tuple(fitting)


def _is_key(data: bytes) -> bool:
    return bool(data) and _KEY_LENGTHS.get(data[0]) == len(data)


def _last_push(script: bytes) -> tuple[bytes, bool]:
    """Return what a script's last operation pushes as bytes (nothing: it does not), and whether all of them push.

    What is said to be pushed, but is not there, is pushed by nothing.
    """
    at, last, pushes_only = 0, b"", True
    while at < len(script):
        code = script[at]
        at += 1
        length = code
        if code >= _PUSHES:
            width = _OP_PUSHDATA.get(code, 0)
            length = int.from_bytes(script[at : at + width], "little")
            at += width
            pushes_only = pushes_only and code <= _OP_16
        last = script[at : at + length]
        at += length
    return (last if at == len(script) else b""), pushes_only
