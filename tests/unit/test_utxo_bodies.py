"""Bodies of the Bitcoin family on the wire, byte by byte."""

import json
from pathlib import Path
from typing import Any

import pytest

from chainbell.domain.transaction import TransactionEvent
from chainbell.events import v1, v2
from tests.told_utxo import BLOCK, RIVAL, TOLD, TX_HASH

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "utxo"
EVERY = pytest.mark.parametrize(("name", "event"), TOLD.items(), ids=TOLD.keys())


def body_v2(event: TransactionEvent) -> bytes:
    return v2.render(event, "evt_cccccccccccccccccccccccccc", 0)


def members(name: str) -> dict[str, Any]:
    data = json.loads(body_v2(TOLD[name]))["data"]
    assert isinstance(data, dict)
    return data


@EVERY
def test_both_bodies_are_frozen(name: str, event: TransactionEvent) -> None:
    """Each event renders to the very bytes of its golden files."""
    assert body_v2(event) == (GOLDEN / f"{name}.v2.json").read_bytes()
    assert v1.render(event) == (GOLDEN / f"{name}.v1.json").read_bytes()


def test_every_golden_file_is_compared() -> None:
    """No file lies there that no test reads."""
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.v{version}.json" for name in TOLD for version in (1, 2)}


def test_hashes_are_as_block_explorers_write_them() -> None:
    """Hashes of the family carry no 0x, in both versions."""
    assert members("transfer.success")["hash"] == TX_HASH.hex()
    assert members("transfer.success")["blockHash"] == BLOCK.hash.hex()
    assert members("deposit.replaced")["replacedBy"] == RIVAL.hex()
    assert members("deposit.conflicted")["conflictedBy"] == RIVAL.hex()
    assert json.loads(v1.render(TOLD["transfer.success"]) or b"")["data"]["hash"] == TX_HASH.hex()


def test_addresses_are_those_of_the_chain() -> None:
    """A scriptPubKey is written as its address."""
    assert members("deposit.pending")["address"] == "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
    assert members("transfer.success")["address"] == "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
    assert members("transfer.success")["senderAddress"] == "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


def test_all_senders_are_told() -> None:
    """Each sending address once in input order, null for one that cannot be had or has no address; none of a coinbase."""
    taproot = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"
    assert members("deposit.pending")["senderAddresses"] == [taproot, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", None]
    assert members("deposit.pending")["senderAddress"] == taproot
    assert members("deposit.from_public_key")["senderAddresses"] == [None]
    assert members("deposit.from_public_key")["senderAddress"] is None
    assert members("deposit.coinbase")["senderAddresses"] == []


def test_a_whole_spend_has_no_position() -> None:
    """What leaves as a whole stands at no output; a single output at its index."""
    assert members("transfer.spend")["position"] is None
    assert members("transfer.spend")["amount"] == "0"
    assert members("transfer.success")["position"] == 0
