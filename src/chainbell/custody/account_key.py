"""What an operator gives an account to watch: a bare extended key, or a descriptor. Pure.

No error of this module repeats what it was given: it may be a secret.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from chainbell.custody.descriptor import looks_like_descriptor, parse_descriptor, refuse_private_parts
from chainbell.custody.descriptor_checksum import checked
from chainbell.custody.extended_key import BIP32_MAIN, BIP32_TEST, ExtendedKey, PrivateKeyError, parse_extended_key
from chainbell.custody.template import CHANGE, RECEIVING, KeyExpression, OutputType, Template
from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError

LONGEST_KEY = 4_096
"""Characters: twenty keys with their origins are 3,000."""

_ACCOUNT_DEPTH = 3
"""Of BIP44: ``m / purpose' / coin' / account'``."""
_RAW_PRIVATE_DIGITS = 64


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How extended keys of a chain are written."""

    kind: ChainKind
    versions: Mapping[bytes, OutputType]
    """Which addresses a bare key of a version stands for (SLIP-132)."""
    bip32: bytes
    """The version under which descriptors hold one."""
    segwit: bool

    @property
    def in_descriptors(self) -> Collection[bytes]:
        """Versions that an extended key may have inside of a descriptor."""
        return {self.bip32, *(version for version, type_ in self.versions.items() if type_ is OutputType.P2PKH)}


def parse_account_key(text: str, rules: KeyRules) -> Template:
    """Read what an operator gave. Raises `InputError` that says why it is not taken, `PrivateKeyError` for a private one."""
    written = text.strip()
    if len(written) > LONGEST_KEY:
        message = f"a key or descriptor has at most {LONGEST_KEY} characters"
        raise InputError(message)
    _refuse_raw_private(written)
    if looks_like_descriptor(written):
        refuse_private_parts(written)
        if rules.kind is ChainKind.EVM:
            message = "an EVM chain has no descriptors: give the xpub of the account, m/44'/60'/0'"
            raise InputError(message)
        return parse_descriptor(checked(written), rules.in_descriptors, segwit=rules.segwit)
    return _of_bare_key(parse_extended_key(written), rules)


def stored_template(body: str) -> Template:
    """Read a `Template.body` that was checked before it was stored."""
    return parse_descriptor(body, None)


def key_rules(definition: ChainDefinition) -> KeyRules:
    """Return how a chain's extended keys are written."""
    if definition.kind is ChainKind.EVM:
        return KeyRules(definition.kind, {BIP32_MAIN: OutputType.EVM}, BIP32_MAIN, segwit=False)
    versions = {
        version: OutputType(type_.value) for type_, written in definition.extended_keys.items() for version in written
    }
    bip32 = BIP32_MAIN if definition.mode is Mode.LIVE else BIP32_TEST
    return KeyRules(definition.kind, versions, bip32, segwit=definition.addresses.hrp is not None)


def _of_bare_key(key: ExtendedKey, rules: KeyRules) -> Template:
    type_ = rules.versions.get(key.version)
    if type_ is None:
        raise _foreign(rules)
    if key.depth > _ACCOUNT_DEPTH:
        message = (
            "this key is below an account's: give that of the account (m/purpose'/coin'/account'), of which addresses are "
            "derived by 0/index, and by 1/index for change"
        )
        raise InputError(message)
    if type_ is OutputType.EVM:
        return Template(type_, (KeyExpression(key, path=((RECEIVING,),), ranged=True),))
    written = key._replace(version=rules.bip32)
    return Template(type_, (KeyExpression(written, path=((RECEIVING, CHANGE),), ranged=True),))


def _foreign(rules: KeyRules) -> InputError:
    if rules.kind is ChainKind.EVM:
        return InputError("an EVM chain takes extended keys that are written as xpub: export the account's key so")
    known = sorted({f"{_prefix(version)} for {type_}" for version, type_ in rules.versions.items()})
    return InputError(
        f"this extended key is not one of this chain, which takes {', '.join(known)}: choose the chain that it belongs to. "
        "Multisig, taproot and everything else is given as a descriptor"
    )


def _prefix(version: bytes) -> str:
    """Return how a key of a version begins, as in ``xpub``."""
    return ExtendedKey(version, 3, bytes(4), 0, bytes(32), b"\2" + bytes(32)).text(version)[:4]


def _refuse_raw_private(written: str) -> None:
    digits = written.lower().removeprefix("0x")
    if len(digits) == _RAW_PRIVATE_DIGITS and all(digit in "0123456789abcdef" for digit in digits):
        raise PrivateKeyError
