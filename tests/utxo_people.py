"""Who pays and is paid on a random walk of the Bitcoin family: addresses of every script type, in the node's wallet.

Imports nothing from chainbell.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bitcoin import Litecoind, UtxoDaemon

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PRIVATE_KEY = 239
"""Version byte of a private key, on the test chains of both coins."""
_KEY_TYPES = {"p2pkh": "legacy", "p2sh-p2wpkh": "p2sh-segwit", "p2wpkh": "bech32"}
_MULTISIG = {"p2sh-multisig": "sh", "p2wsh": "wsh", "p2sh-p2wsh": "sh(wsh"}
_POINTS = (
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
)
"""Public keys whose private keys are 1 and 2."""


@dataclass(frozen=True, slots=True)
class Place:
    """A script that is paid to."""

    owner: str
    kind: str
    script: bytes
    address: str
    """Empty where the script has none."""
    change: bool = False


class People:
    """Makes addresses in a node's wallet, and scripts that nobody can spend from."""

    def __init__(self, node: UtxoDaemon, chance: random.Random) -> None:
        self._node = node
        self._chance = chance

    @property
    def kinds(self) -> Sequence[str]:
        """The script types that this node's wallet can spend from."""
        taproot = [] if isinstance(self._node, Litecoind) else ["p2tr"]
        return [*_KEY_TYPES, *_MULTISIG, *taproot]

    async def place(self, owner: str, kind: str, *, change: bool = False) -> Place:
        """Make an address of a script type that the wallet can spend from."""
        address = await self._address(kind)
        return Place(owner, kind, await self._node.script(address), address, change)

    async def witness(self, owner: str, version: int) -> Place:
        """Make an address of a witness version that means nothing yet: it can be paid, and nobody should."""
        script = bytes([0x50 + version, 32]) + self._chance.randbytes(32)
        told = await self._node.rpc("decodescript", script.hex())
        address = told["address"] if "address" in told else told["addresses"][0]
        return Place(owner, f"witness-v{version}", script, address)

    def strangers(self) -> list[Place]:
        """Return scripts of every other type, of which none has an address: none is watched, and all can be paid."""
        keys = b"".join(b"\x21" + bytes.fromhex(point) for point in _POINTS)
        scripts = {
            "p2pk": b"\x21" + bytes.fromhex(_POINTS[0]) + b"\xac",
            "multisig": b"\x51" + keys + b"\x52\xae",
            "nonstandard": b"\x75\x51",
        }
        return [Place("stranger", kind, script, "") for kind, script in scripts.items()]

    def data(self) -> Place:
        """Return an output of data, which holds no value."""
        return Place("nobody", "data", b"\x6a\x10" + self._chance.randbytes(16), "")

    async def _address(self, kind: str) -> str:
        if kind in _KEY_TYPES:
            return await self._node.new_address(_KEY_TYPES[kind])
        if kind == "p2tr":
            return await self._node.new_address("bech32m")
        if isinstance(self._node, Litecoind):
            return await self._legacy_multisig(kind)
        return await self._multisig(_MULTISIG[kind])

    async def _multisig(self, form: str) -> str:
        """Import an address of one signature out of two keys, both of which are in the descriptor."""
        keys = ",".join(_private_key(self._chance) for _ in range(2))
        closed = ")" * (form.count("(") + 1)
        bare = f"{form}(multi(1,{keys}){closed}"
        told = await self._node.rpc("getdescriptorinfo", bare)
        request = [{"desc": f"{bare}#{told['checksum']}", "timestamp": "now"}]
        (imported,) = await self._node.rpc("importdescriptors", request)
        assert imported["success"], imported
        (address,) = await self._node.rpc("deriveaddresses", told["descriptor"])
        return str(address)

    async def _legacy_multisig(self, kind: str) -> str:
        """The same in a wallet that knows no descriptors."""
        keys = [await self._node.new_address("legacy") for _ in range(2)]
        type_ = {"p2sh-multisig": "legacy", "p2wsh": "bech32", "p2sh-p2wsh": "p2sh-segwit"}[kind]
        return str((await self._node.rpc("addmultisigaddress", 1, keys, "", type_))["address"])


def _private_key(chance: random.Random) -> str:
    """Return a fresh private key as wallets write it: base58 with a checksum, for a compressed public key."""
    payload = bytes([_PRIVATE_KEY]) + chance.randbytes(32) + b"\x01"
    payload += hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text
