"""Addresses of a key: scripts as the chain knows them, of EVM chains the 20 bytes of the address."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from eth_utils.crypto import keccak

from chainbell.custody.extended_key import FIELD, lift
from chainbell.custody.public_derivation import child_keys, key_at
from chainbell.custody.template import KeyExpression, Multisig, OutputType, Template
from chainbell.domain.script import (
    hash160,
    pay_to_key_hash,
    pay_to_script_hash,
    pay_to_witness,
    pay_to_witness_key_hash,
    pay_to_witness_script_hash,
)

_CHECKMULTISIG = 0xAE
_SMALLEST_NUMBER, _HIGHEST_SMALL = 0x50, 16
_ODD = 3


def derive(template: Template, branch: int, first: int, end: int) -> list[bytes]:
    """Return the addresses of a branch, from an index on to before another; each key of it costs 1.3 ms an address."""
    keys = [_public_keys(key, branch, first, end) for key in template.keys]
    make = _MAKERS.get(template.type)
    if make is not None:
        return [make(key) for key in keys[0]]
    if template.multisig is None:
        message = f"{template.type} without its signers"
        raise AssertionError(message)
    wrap = _WRAPPERS[template.type]
    return [wrap(_multisig_script(template.multisig, signers)) for signers in zip(*keys, strict=True)]


def _public_keys(expression: KeyExpression, branch: int, first: int, end: int) -> list[bytes]:
    if isinstance(expression.key, bytes):
        return [expression.key] * (end - first)
    steps = [step[branch] if len(step) > 1 else step[0] for step in expression.path]
    if expression.ranged:
        return child_keys(expression.key, steps, range(first, end))
    return [key_at(expression.key, steps)] * (end - first)


def _pkh(key: bytes) -> bytes:
    return pay_to_key_hash(hash160(key))


def _sh(script: bytes) -> bytes:
    return pay_to_script_hash(hash160(script))


def _sh_wpkh(key: bytes) -> bytes:
    return _sh(pay_to_witness_key_hash(key))


def _sh_wsh(script: bytes) -> bytes:
    return _sh(pay_to_witness_script_hash(script))


def _tr(key: bytes) -> bytes:
    """Return the output of an internal key alone: Q = P + hash(P)G (BIP341, BIP86)."""
    internal = key[-32:]
    tag = sha256(b"TapTweak").digest()
    tweak = int.from_bytes(sha256(tag + tag + internal).digest())
    point = ec.derive_private_key(tweak, ec.SECP256K1()).public_key().public_numbers()
    x = int.from_bytes(internal)
    y = lift(x)
    if y is None:
        message = "an internal key that is no point"
        raise AssertionError(message)
    slope = (point.y - y) * pow(point.x - x, -1, FIELD)
    return pay_to_witness(1, ((slope * slope - x - point.x) % FIELD).to_bytes(32))


def _evm(key: bytes) -> bytes:
    """Return the last 20 bytes of the Keccak-256 of the point (yellow paper, appendix F)."""
    x = int.from_bytes(key[1:])
    y = lift(x)
    if y is None:
        message = "a public key that is no point"
        raise AssertionError(message)
    point = key[1:] + (FIELD - y if key[0] == _ODD else y).to_bytes(32)
    return keccak(point)[-20:]


def _multisig_script(multisig: Multisig, keys: Sequence[bytes]) -> bytes:
    ordered = sorted(keys) if multisig.by_order else keys
    pushed = b"".join(bytes([len(key)]) + key for key in ordered)
    return _number(multisig.threshold) + pushed + _number(len(keys)) + bytes([_CHECKMULTISIG])


def _number(value: int) -> bytes:
    """Return how a script pushes a small number (1 to 127)."""
    return bytes([_SMALLEST_NUMBER + value]) if value <= _HIGHEST_SMALL else bytes([1, value])


_MAKERS: dict[OutputType, Callable[[bytes], bytes]] = {
    OutputType.P2PKH: _pkh,
    OutputType.P2WPKH: pay_to_witness_key_hash,
    OutputType.P2SH_P2WPKH: _sh_wpkh,
    OutputType.P2TR: _tr,
    OutputType.EVM: _evm,
}
_WRAPPERS: dict[OutputType, Callable[[bytes], bytes]] = {
    OutputType.P2SH: _sh,
    OutputType.P2WSH: pay_to_witness_script_hash,
    OutputType.P2SH_P2WSH: _sh_wsh,
}
