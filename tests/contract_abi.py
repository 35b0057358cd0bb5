"""What the compiled test contracts look like from outside: creation code and call data.

The artefacts are written by `tools/build-contracts` and committed. Imports nothing from chainbell, so that the
tests' view of a contract is their own.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

CHECKOUT = Path(__file__).resolve().parent.parent
ARTEFACTS = (CHECKOUT / "tests/contracts/contracts.json", CHECKOUT / "src/chainbell/demo/contracts.json")
TRANSFER_TOPIC = "0x" + keccak(text="Transfer(address,address,uint256)").hex()


@cache
def contracts() -> dict[str, dict[str, Any]]:
    """Return every compiled contract by name: `abi`, `bytecode`, `source` and `sourceSha256`."""
    return {name: found for path in ARTEFACTS for name, found in json.loads(path.read_text())["contracts"].items()}


def creation_code(contract: str, *args: object) -> bytes:
    """Return the data of the transaction that deploys `contract` with these constructor arguments."""
    entry = contracts()[contract]
    # A contract without a constructor of its own has none in its ABI.
    inputs: list[dict[str, Any]] = next((item["inputs"] for item in entry["abi"] if item["type"] == "constructor"), [])
    return bytes.fromhex(entry["bytecode"][2:]) + _encode(inputs, args)


def call_data(contract: str, function: str, *args: object) -> bytes:
    """Return the data of a call of `contract.function(*args)`: selector and arguments (Solidity ABI)."""
    named = [item for item in contracts()[contract]["abi"] if item.get("name") == function]
    (entry,) = (item for item in named if item["type"] == "function" and len(item["inputs"]) == len(args))
    signature = f"{function}({','.join(item['type'] for item in entry['inputs'])})"
    return keccak(text=signature)[:4] + _encode(entry["inputs"], args)


def _encode(inputs: list[dict[str, Any]], args: tuple[object, ...]) -> bytes:
    return encode([item["type"] for item in inputs], args)
