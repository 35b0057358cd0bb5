"""What a key or descriptor says: which scripts it makes, of which keys, by which path."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import ExtendedKey
from chainbell.domain.watch import Purpose


class OutputType(StrEnum):
    """What an address of a key is; the words of a chain's ``[extended_keys]``."""

    P2PKH = "p2pkh"
    P2SH_P2WPKH = "p2sh-p2wpkh"
    P2WPKH = "p2wpkh"
    P2TR = "p2tr"
    P2SH = "p2sh"
    P2WSH = "p2wsh"
    P2SH_P2WSH = "p2sh-p2wsh"
    EVM = "evm"
    """An address of an EVM chain, which is no script."""


_WRITTEN = {
    OutputType.P2PKH: "pkh({})",
    OutputType.P2SH_P2WPKH: "sh(wpkh({}))",
    OutputType.P2WPKH: "wpkh({})",
    OutputType.P2TR: "tr({})",
    OutputType.P2SH: "sh({})",
    OutputType.P2WSH: "wsh({})",
    OutputType.P2SH_P2WSH: "sh(wsh({}))",
    OutputType.EVM: "evm({})",
}
"""As descriptors write them; ``evm`` is ours, and is written nowhere but in the database."""

RECEIVING, CHANGE = 0, 1
"""The branches of a key."""


@dataclass(frozen=True, slots=True)
class KeyExpression:
    """One key of a descriptor: a single public key, or an extended one with the path below it (BIP380, BIP389)."""

    key: ExtendedKey | bytes
    origin: str | None = None
    """Where an extended key comes from, as in ``d34db33f/84h/0h/0h``."""
    path: tuple[tuple[int, ...], ...] = ()
    """Steps below it; one of two numbers has the branch choose."""
    ranged: bool = False
    """Whether the index of the address is the last step."""

    def text(self, version: bytes | None = None) -> str:
        """Return it as a descriptor writes it; with a version, an extended key under that."""
        steps = [f"<{';'.join(map(str, step))}>" if len(step) > 1 else str(step[0]) for step in self.path]
        origin = "" if self.origin is None else f"[{self.origin}]"
        if isinstance(self.key, bytes):
            return origin + self.key.hex()
        return origin + "/".join([self.key.text(version or self.key.version), *steps, *(["*"] if self.ranged else [])])

    @property
    def identity(self) -> str:
        """What it derives from, however it is written."""
        if isinstance(self.key, bytes):
            return self.key.hex()
        return f"{self.key.public_key.hex()}{self.key.chain_code.hex()}{self.path}{self.ranged}"


@dataclass(frozen=True, slots=True)
class Multisig:
    """How many of several keys must sign."""

    threshold: int
    by_order: bool
    """Whether the keys stand in the order of their bytes: ``sortedmulti``."""


@dataclass(frozen=True, slots=True)
class Template:
    """What the addresses of a key are made of."""

    type: OutputType
    keys: tuple[KeyExpression, ...]
    multisig: Multisig | None = None

    @property
    def ranged(self) -> bool:
        """Whether it has an address for each index; else each branch has one, of index 0."""
        return any(key.ranged for key in self.keys)

    @property
    def branches(self) -> tuple[Purpose, ...]:
        """What the addresses of each branch are for: the first one is given to payers, the second takes change."""
        two = any(len(step) > 1 for key in self.keys for step in key.path)
        return (Purpose.DEPOSIT, Purpose.CHANGE) if two else (Purpose.DEPOSIT,)

    @property
    def keys_derived(self) -> int:
        """How many public keys are derived for each address."""
        return sum(key.ranged for key in self.keys)

    @property
    def body(self) -> str:
        """The descriptor, without a checksum."""
        return self._written([key.text() for key in self.keys])

    @property
    def text(self) -> str:
        """The descriptor with its checksum; of an EVM key the key itself."""
        if self.type is OutputType.EVM and isinstance(self.keys[0].key, ExtendedKey):
            return self.keys[0].key.text(self.keys[0].key.version)
        return f"{self.body}#{checksum_of(self.body)}"

    @property
    def identity(self) -> bytes:
        """32 bytes that are the same for what derives the same addresses, whatever origins and versions are written."""
        return sha256(self._written([key.identity for key in self.keys]).encode()).digest()

    def _written(self, keys: list[str]) -> str:
        inside = ",".join(keys)
        if self.multisig is not None:
            name = "sortedmulti" if self.multisig.by_order else "multi"
            inside = f"{name}({self.multisig.threshold},{inside})"
        return _WRITTEN[self.type].format(inside)
