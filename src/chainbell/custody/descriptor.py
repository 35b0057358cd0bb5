"""Output descriptors without private keys: BIP380 to BIP386, BIP389. What is not taken is refused with a reason.

No error of this module repeats what it was given: it may be a secret.
"""

import re
from collections.abc import Collection
from itertools import pairwise

from chainbell.custody.extended_key import HARDENED, ExtendedKey, is_point, parse_extended_key, refuse_private
from chainbell.custody.template import KeyExpression, Multisig, OutputType, Template
from chainbell.domain.errors import InputError

_CALL = re.compile(r"([a-z_0-9]+)\((.*)\)")
_TOKENS = re.compile(r"[()\[\],/{}<>;#*]+")
_ORIGIN = re.compile(r"\[([0-9a-fA-F]{8})((?:/[0-9]+[h']?)*)\]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_BRANCHES = re.compile(r"<(.*)>")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_COMPRESSED, _UNCOMPRESSED, _X_ONLY = 33, 65, 32
_EVEN = b"\2"
"""Before an x coordinate, it makes the point with even y (BIP340)."""
_LARGEST_P2SH = 520
_MOST_KEYS = 20
_MOST_BRANCHES = 2

_SINGLE = {
    "pkh": OutputType.P2PKH,
    "wpkh": OutputType.P2WPKH,
    "tr": OutputType.P2TR,
}
_NESTED = {"sh": OutputType.P2SH, "wsh": OutputType.P2WSH}
_MULTI = ("multi", "sortedmulti")
_TAKEN = "pkh, wpkh, sh(wpkh), tr with a key alone, and multi or sortedmulti in sh, wsh or sh(wsh)"
_REASONS = {
    "addr": "it names one address: register that with POST /v2/addresses or `chainbell address add`",
    "raw": "it names one script: register its address with POST /v2/addresses or `chainbell address add`",
    "combo": "it stands for several kinds of addresses at once: register each kind as a key of its own",
    "pk": "its outputs have no address that anybody could be given",
    "rawtr": "it names an output key that nobody can check: give tr(...) of the internal key",
    "multi": "its outputs have no address that anybody could be given: put it in wsh, sh or sh(wsh)",
    "sortedmulti": "its outputs have no address that anybody could be given: put it in wsh, sh or sh(wsh)",
}
_SEGWIT = {OutputType.P2WPKH, OutputType.P2SH_P2WPKH, OutputType.P2TR, OutputType.P2WSH, OutputType.P2SH_P2WSH}


def looks_like_descriptor(text: str) -> bool:
    """Tell a descriptor from a bare key."""
    return "(" in text


def refuse_private_parts(text: str) -> None:
    """Raise `PrivateKeyError` where any part of a descriptor is a private key."""
    for token in _TOKENS.split(text):
        refuse_private(token)


def parse_descriptor(body: str, versions: Collection[bytes] | None, *, segwit: bool = True) -> Template:
    """Read a descriptor, given without its checksum.

    `versions` are those of extended keys that belong to the chain; None takes any. Raises `InputError` that says why one is
    not taken.
    """
    refuse_private_parts(body)
    template = _Reader(versions).template(body)
    if template.type in _SEGWIT and not segwit:
        message = "this chain has no segwit: of descriptors it takes pkh, and sh of multi or sortedmulti"
        raise InputError(message)
    return template


class _Reader:
    def __init__(self, versions: Collection[bytes] | None) -> None:
        self._versions = versions

    def template(self, body: str) -> Template:
        name, inside = _call(body)
        if name == "evm" and self._versions is None:
            return Template(OutputType.EVM, (self._key(inside, uncompressed=False),))
        if name in _SINGLE:
            return self._single(_SINGLE[name], inside)
        if name in _NESTED:
            return self._nested(_NESTED[name], inside)
        raise _refused(name)

    def _nested(self, outer: OutputType, body: str) -> Template:
        name, inside = _call(body)
        if name in _MULTI:
            return self._multisig(outer, name, inside)
        if outer is OutputType.P2SH and name == "wpkh":
            return self._single(OutputType.P2SH_P2WPKH, inside)
        if outer is OutputType.P2SH and name == "wsh":
            name, inside = _call(inside)
            if name in _MULTI:
                return self._multisig(OutputType.P2SH_P2WSH, name, inside)
        raise _refused(name, inside_of_another=True)

    def _single(self, type_: OutputType, inside: str) -> Template:
        if type_ is OutputType.P2TR and "," in inside:
            message = "tr with a script tree is not taken: only tr with a key alone, spent by that key"
            raise InputError(message)
        origin, written = _origin(inside)
        if type_ is OutputType.P2TR and _HEX.fullmatch(written) and len(written) == 2 * _X_ONLY:
            return Template(type_, (KeyExpression(_x_only(written), origin),))
        return Template(type_, (self._key(inside, uncompressed=type_ is OutputType.P2PKH),))

    def _multisig(self, type_: OutputType, name: str, inside: str) -> Template:
        threshold, *keys = inside.split(",")
        if not _NUMBER.fullmatch(threshold) or not 1 <= int(threshold) <= len(keys) or len(keys) > _MOST_KEYS:
            message = f"{name} begins with how many must sign, from 1 to the number of its keys, of which it has at most 20"
            raise InputError(message)
        read = tuple(self._key(key, uncompressed=type_ is OutputType.P2SH) for key in keys)
        size = 3 + sum(1 + (len(key.key) if isinstance(key.key, bytes) else _COMPRESSED) for key in read)
        if type_ is OutputType.P2SH and size > _LARGEST_P2SH:
            message = f"{name} in sh has too many keys: its script would have {size} bytes, and {_LARGEST_P2SH} can be spent"
            raise InputError(message)
        return Template(type_, read, Multisig(int(threshold), by_order=name == "sortedmulti"))

    def _key(self, text: str, *, uncompressed: bool) -> KeyExpression:
        origin, rest = _origin(text)
        written, *steps = rest.split("/")
        if _HEX.fullmatch(written):
            if steps:
                message = "a single public key has no path behind it: only an extended key has"
                raise InputError(message)
            return KeyExpression(_public_key(written, uncompressed=uncompressed), origin)
        key = parse_extended_key(written)
        if self._versions is not None and key.version not in self._versions:
            message = (
                "an extended key of this descriptor is of another network, or of the kind that says its script type "
                "(ypub, zpub): inside of a descriptor a chain takes xpub (test chains: tpub)"
            )
            raise InputError(message)
        return _with_steps(key, origin, steps)


def _call(text: str) -> tuple[str, str]:
    found = _CALL.fullmatch(text)
    if found is None:
        message = f"this is no descriptor: it would be a name with brackets behind it. Taken are {_TAKEN}"
        raise InputError(message)
    return found[1], found[2]


def _refused(name: str, *, inside_of_another: bool = False) -> InputError:
    reason = None if inside_of_another else _REASONS.get(name)
    if reason is None:
        return InputError(
            f"this kind of descriptor is not taken (miniscript, musig and scripts of other kinds): {_TAKEN} are"
        )
    return InputError(f"a descriptor of the kind {name} is not taken: {reason}")


def _origin(text: str) -> tuple[str | None, str]:
    if not text.startswith("["):
        return None, text
    found = _ORIGIN.match(text)
    if found is None:
        message = "the origin of a key is 8 hexadecimal digits and a path, as in [d34db33f/84h/0h/0h]"
        raise InputError(message)
    for step in found[2].split("/")[1:]:
        _step(step.rstrip("h'"))
    return found[1].lower() + found[2].replace("'", "h"), text[found.end() :]


def _public_key(digits: str, *, uncompressed: bool) -> bytes:
    key = bytes.fromhex(digits)
    if len(key) not in ({_COMPRESSED, _UNCOMPRESSED} if uncompressed else {_COMPRESSED}) or not is_point(key):
        message = (
            "a public key of the descriptor is none: it has 66 hexadecimal digits and begins with 02 or 03 "
            "(in pkh and sh(multi) also 130, beginning with 04)"
        )
        raise InputError(message)
    return key


def _x_only(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if not is_point(_EVEN + key):
        message = "the key of tr is none: its 64 hexadecimal digits are no point of the curve"
        raise InputError(message)
    return key


def _with_steps(key: ExtendedKey, origin: str | None, steps: list[str]) -> KeyExpression:
    ranged = bool(steps) and steps[-1] == "*"
    path = tuple(_alternatives(step) for step in (steps[:-1] if ranged else steps))
    if sum(len(step) > 1 for step in path) > 1:
        message = "a key of the descriptor branches twice: one step alone may be written as <0;1> (BIP389)"
        raise InputError(message)
    if key.depth + len(path) + ranged > 255:  # noqa: PLR2004 - BIP32 writes the depth in one byte
        message = "a path of the descriptor is too long: no key is more than 255 derivations below its master"
        raise InputError(message)
    return KeyExpression(key, origin, path, ranged)


def _alternatives(text: str) -> tuple[int, ...]:
    found = _BRANCHES.fullmatch(text)
    if found is None:
        return (_step(text),)
    numbers = tuple(_step(number) for number in found[1].split(";"))
    if len(numbers) != _MOST_BRANCHES or any(one == other for one, other in pairwise(numbers)):
        message = "a key branches in two: <0;1> are the addresses given to payers, and those for change (BIP389)"
        raise InputError(message)
    return numbers


def _step(text: str) -> int:
    if text.endswith(("h", "'", "H")):
        message = (
            "a path of the descriptor has a hardened step (h or ') behind its extended key: only its private key can do "
            "that. Export the key of the account, with that path in its origin, as in [d34db33f/84h/0h/0h]xpub.../<0;1>/*"
        )
        raise InputError(message)
    if not _NUMBER.fullmatch(text) or int(text) >= HARDENED:
        message = "a path of the descriptor is wrong: its steps are numbers below 2147483648, <0;1>, and * as the last one"
        raise InputError(message)
    return int(text)
