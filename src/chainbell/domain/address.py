"""Addresses and hashes at the edge: text that people and nodes write, bytes inside.

The bytes of an address are 20 on EVM chains, and the scriptPubKey on UTXO chains.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from eth_utils.address import to_checksum_address

from chainbell.domain.base58 import Base58Error, decode_check, encode_check
from chainbell.domain.bech32 import Bech32Error, decode_witness, encode_witness, is_addressable, prefix_of
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError
from chainbell.domain.quoting import quoted
from chainbell.domain.script import (
    WitnessProgram,
    key_hash_of,
    pay_to_key_hash,
    pay_to_script_hash,
    pay_to_witness,
    script_hash_of,
    witness_program_of,
)

_EVM = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")

_HASH_BYTES = 20
_LONGEST_PREFIX = 12
"""Letters of another network's prefix that an error repeats."""
# What litecoind (src/script/standard.cpp) calls witness_mweb_hogaddr and witness_mweb_pegin: it shows no address for them.
_EXTENSION_BLOCK_VERSIONS = (8, 9)
_EXTENSION_BLOCK_PROGRAM = 32


@dataclass(frozen=True, slots=True)
class AddressFormat:
    """How addresses are written on a chain. On an EVM chain the kind says it all."""

    kind: ChainKind
    hrp: str | None = None
    """What a segwit address begins with, before its 1 (BIP173); None: the chain has no segwit."""
    p2pkh: int = 0
    """The version byte of a pay-to-public-key-hash address."""
    p2sh: tuple[int, ...] = ()
    """The version bytes of pay-to-script-hash addresses: the first is written, all are read."""
    mweb_hrp: str | None = None
    """What an address inside of Litecoin's extension block begins with; None: the chain has none."""
    neighbours: "tuple[tuple[str, AddressFormat], ...]" = field(default=(), compare=False, repr=False)
    """Other chains by name, so that an error can say where an address belongs."""


EVM_ADDRESSES = AddressFormat(ChainKind.EVM)


def parse_address(addresses: AddressFormat, text: str) -> bytes:
    """Return the bytes by which a chain knows an address.

    EVM: 20 bytes, from hex in one case, or in the mixed case of EIP-55, whose checksum must then hold. UTXO: the
    scriptPubKey of Base58Check, Bech32 or Bech32m (BIP13, BIP173, BIP350). Raises `InputError` that says what is wrong with
    the text.
    """
    match addresses.kind:
        case ChainKind.EVM:
            return _parse_evm(text)
        case ChainKind.UTXO:
            return _parse_utxo(addresses, text)


@lru_cache(maxsize=16_384)
def format_address(addresses: AddressFormat, address: bytes) -> str | None:
    """Return an address as it is written: EVM in the mixed case of EIP-55, segwit in lower case.

    None: a scriptPubKey that has no address (pay to public key, bare multisig, OP_RETURN, a peg-in). Remembered: one block's
    events write each address many times, and its checksum was the dearest part of a commit.
    """
    match addresses.kind:
        case ChainKind.EVM:
            return str(to_checksum_address(address))
        case ChainKind.UTXO:
            return _format_script(addresses, address)


def show_address(addresses: AddressFormat, address: bytes) -> str:
    """Return an address as it is written, or the script in hex where it has no address."""
    return format_address(addresses, address) or address.hex()


def format_hash(kind: ChainKind, value: bytes) -> str:
    """Return the hash of a block or transaction as nodes and block explorers of the kind write it."""
    return f"0x{value.hex()}" if kind is ChainKind.EVM else value.hex()


def parse_hash(text: str) -> bytes:
    """Return the hash of a block or transaction, written with or without 0x. Raises `InputError`."""
    if not _HASH.fullmatch(text):
        message = f"{quoted(text)} is no hash: that is 64 hexadecimal digits, on EVM chains behind 0x"
        raise InputError(message)
    return bytes.fromhex(text[-64:])


def _parse_evm(text: str) -> bytes:
    if not _EVM.fullmatch(text):
        message = f"{quoted(text)} is not an address of an EVM chain: that is 0x and 40 hexadecimal digits"
        raise InputError(message)
    address = bytes.fromhex(text[2:])
    digits = text[2:]
    one_case = digits in {digits.lower(), digits.upper()}
    if not one_case and to_checksum_address(address) != text:
        message = f"the checksum of {quoted(text)} is wrong (EIP-55): copy it again, a letter or its case has changed"
        raise InputError(message)
    return address


def _parse_utxo(addresses: AddressFormat, text: str) -> bytes:
    try:
        return _script(addresses, text)
    except _StrangeError as error:
        home = [name for name, other in addresses.neighbours if _is_written_by(other, text)]
        if home:
            message = f"{quoted(text)} is an address of {_listed(home)}, and of no use here: give one of this chain"
            raise InputError(message) from error
        message = f"{quoted(text)} {error}"
        raise InputError(message) from error


class _StrangeError(Exception):
    """The text is no address of the format; the message continues "the address ..."."""


def _script(addresses: AddressFormat, text: str) -> bytes:
    if not text.isascii():
        message = "has a character that is in no address: copy it again"
        raise _StrangeError(message)
    if _EVM.fullmatch(text):
        message = "is an address of an EVM chain: give one of this chain"
        raise _StrangeError(message)
    prefix = prefix_of(text)
    if _begins_with(text, addresses.mweb_hrp):
        message = (
            "is an MWEB address: what it is paid stays hidden in the extension block, where nobody can watch it without its "
            "keys. Give an ordinary address"
        )
        raise _StrangeError(message)
    if _begins_with(text, addresses.hrp):
        return _witness_script(addresses, text)
    try:
        payload = decode_check(text)
    except Base58Error as error:
        if prefix is not None:
            raise _other_prefix(addresses, prefix) from error
        message = f"{error}: copy it again"
        raise _StrangeError(message) from error
    return _hash_script(addresses, payload)


def _begins_with(text: str, hrp: str | None) -> bool:
    return hrp is not None and text.lower().startswith(f"{hrp}1")


def _witness_script(addresses: AddressFormat, text: str) -> bytes:
    try:
        prefix, witness = decode_witness(text)
    except Bech32Error as error:
        message = f"{error}: copy it again"
        raise _StrangeError(message) from error
    if prefix != addresses.hrp:  # a prefix may hold a 1 of its own: bc1x1...
        raise _other_prefix(addresses, prefix)
    if _is_of_extension_block(addresses, witness):
        message = "is where the chain keeps the coins of its extension block, and nobody's address: give an ordinary one"
        raise _StrangeError(message)
    return pay_to_witness(*witness)


def _other_prefix(addresses: AddressFormat, prefix: str) -> _StrangeError:
    own = "has no segwit" if addresses.hrp is None else f"writes {addresses.hrp}1"
    written = f"{prefix}1" if len(prefix) <= _LONGEST_PREFIX else f"{prefix[:_LONGEST_PREFIX]}..."
    return _StrangeError(f"begins with {written} as on another network, and this chain {own}: give an address of this chain")


def _hash_script(addresses: AddressFormat, payload: bytes) -> bytes:
    version, digest = payload[:1], payload[1:]
    if len(digest) != _HASH_BYTES:
        message = f"is no address, though its checksum is right: it holds {len(payload)} bytes, an address 21"
        raise _StrangeError(message)
    if version[0] == addresses.p2pkh:
        return pay_to_key_hash(digest)
    if version[0] in addresses.p2sh:
        return pay_to_script_hash(digest)
    known = _listed([str(byte) for byte in (addresses.p2pkh, *addresses.p2sh)])
    message = f"is of another network: its version byte is {version[0]}, and here it is {known}. Give one of this chain"
    raise _StrangeError(message)


def _is_written_by(addresses: AddressFormat, text: str) -> bool:
    if addresses.kind is ChainKind.EVM:
        return False
    try:
        _script(addresses, text)
    except _StrangeError:
        return False
    return True


def _format_script(addresses: AddressFormat, script: bytes) -> str | None:
    for version, digest in ((addresses.p2pkh, key_hash_of(script)), (addresses.p2sh[0], script_hash_of(script))):
        if digest is not None:
            return encode_check(bytes([version]) + digest)
    witness = witness_program_of(script)
    if witness is None or addresses.hrp is None or not is_addressable(witness):
        return None
    if _is_of_extension_block(addresses, witness):
        return None
    return encode_witness(addresses.hrp, witness)


def _is_of_extension_block(addresses: AddressFormat, witness: WitnessProgram) -> bool:
    if addresses.mweb_hrp is None:
        return False
    return witness.version in _EXTENSION_BLOCK_VERSIONS and len(witness.program) == _EXTENSION_BLOCK_PROGRAM


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
