"""The ERC-20 token that the demo deploys: where it will be, and the bytes of its transactions."""

import json
from importlib.resources import files
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

SYMBOL = "DEMO"
DECIMALS = 6
SUPPLY = 1_000_000 * 10**DECIMALS
"""Base units; all of it starts with the deployer."""

_NAME = "Chainbell Demo"
_ADDRESS_BYTES = 20
_SHORT_STRING = 0x80
_SHORT_LIST = 0xC0


def creation_code() -> bytes:
    """Return the data of the transaction that deploys the token."""
    artefact: dict[str, Any] = json.loads((files("chainbell.demo") / "contracts.json").read_text())["contracts"]["DemoToken"]
    arguments = encode(["string", "string", "uint8", "uint256"], [_NAME, SYMBOL, DECIMALS, SUPPLY])
    return bytes.fromhex(artefact["bytecode"].removeprefix("0x")) + arguments


def contract_address(deployer: bytes) -> bytes:
    """Return the address of the contract that an account makes by its very first transaction (nonce 0).

    Source: Ethereum Yellow Paper, section 7: the last 20 bytes of keccak(rlp(sender, nonce)).
    """
    items = bytes([_SHORT_STRING + _ADDRESS_BYTES]) + deployer + bytes([_SHORT_STRING])
    return keccak(bytes([_SHORT_LIST + len(items)]) + items)[-_ADDRESS_BYTES:]


def transfer_data(to: bytes, amount: int) -> bytes:
    """Return the call data of EIP-20 ``transfer(to, amount)``."""
    return keccak(text="transfer(address,uint256)")[:4] + encode(["address", "uint256"], [to, amount])
