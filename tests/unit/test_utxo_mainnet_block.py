"""A real block of Bitcoin's main network: our scan against an independent parse."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from chainbell.domain.utxo import Making, UtxoBlock
from chainbell.nodes.utxo.reveal import reveal
from chainbell.nodes.utxo.scan import scan_block

HASH = "000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae"
RAW = (Path(__file__).parents[1] / f"data/bitcoin-mainnet-{HASH}.raw").read_bytes()
TRANSACTIONS, INPUTS, OUTPUTS = 2500, 6518, 6015
"""As those who gave the block counted it, its coinbase's input included."""


@pytest.fixture(scope="module")
def block() -> UtxoBlock:
    return scan_block(RAW, 0)


@pytest.fixture(scope="module")
def told() -> Iterator[Any]:
    """The block as bitcoinlib parses it; the files that it writes by itself go to a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BCL_DATA_DIR": folder}):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ResourceWarning)  # it leaves a file open
            warnings.filterwarnings("ignore", message="The ``declarative_base")  # it uses SQLAlchemy as of old
            from bitcoinlib.blocks import Block  # noqa: PLC0415 - it makes files and takes a second when it is imported

            parsed = Block.parse_bytes(RAW, parse_transactions=True)
        yield parsed


def test_totals(block: UtxoBlock) -> None:
    """The block has the hash and as many transactions, inputs and outputs as are known of it."""
    assert block.ref.hash.hex() == HASH
    assert len(block.transactions) == TRANSACTIONS
    assert sum(len(each.outpoints) for each in block.transactions) + 1 == INPUTS
    assert sum(len(each.scripts) for each in block.transactions) == OUTPUTS


def test_equals_an_independent_parse(block: UtxoBlock, told: Any) -> None:
    """Every txid, outpoint, script and amount is what bitcoinlib reads out of the same bytes."""
    assert block.ref.hash == told.block_hash
    assert block.ref.parent_hash == told.prev_block
    assert int(block.timestamp.timestamp()) == told.time
    assert len(told.transactions) == TRANSACTIONS
    for ours, theirs in zip(block.transactions, told.transactions, strict=True):
        assert ours.hash.hex() == theirs.txid
        spent = [each.prev_txid[::-1] + each.output_n[::-1] for each in theirs.inputs]
        assert [*ours.outpoints] == ([] if ours.making is Making.COINBASE else spent)
        assert [*ours.scripts] == [each.lock_script for each in theirs.outputs]
        assert [*ours.amounts] == [each.value for each in theirs.outputs]


def test_reveals_what_most_inputs_spend(block: UtxoBlock) -> None:
    """Every input has candidates or none, and nothing but `revealed` is told anew."""
    told = reveal(RAW, block)
    assert [each._replace(revealed=None) for each in told.transactions] == [*block.transactions]
    assert [len(each.revealed or ()) for each in told.transactions] == [len(each.outpoints) for each in block.transactions]
