"""What proves that a block was read whole: each fault that a node is known for is refused, with its name."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainbell.domain.chain import BlockCheck
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.evm.decode import scan_block

SAMPLE: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data/evm_block.json").read_text())
ALL = frozenset(BlockCheck)
OTHER = "0x" + "ab" * 32
Receipts = list[dict[str, Any]]


def scan(change: Callable[[dict[str, Any], Receipts], object], checks: frozenset[BlockCheck]) -> None:
    block, receipts = copy.deepcopy(SAMPLE["block"]), copy.deepcopy(SAMPLE["receipts"])
    change(block, receipts)
    scan_block(block, receipts, {}, checks)


def put(place: Receipts, index: int, **members: object) -> None:
    place[index] |= members


ALWAYS: dict[str, tuple[Callable[[dict[str, Any], Receipts], object], str]] = {
    "receipts come later": (lambda _, r: r.clear(), "0 receipts for 8 transactions"),
    "one receipt too few": (lambda _, r: r.pop(), "7 receipts"),
    "one receipt too many": (lambda _, r: r.append(r[0]), "9 receipts"),
    "receipts swapped": (lambda _, r: r.insert(0, r.pop(1)), "receipt 0 has index 1"),
    "receipt of another block": (lambda _, r: put(r, 3, blockHash=OTHER), "receipt 3 has another block's hash"),
    "receipt of another height": (lambda _, r: put(r, 3, blockNumber="0x99"), "receipt 3 is of height 153"),
    "receipt of another transaction": (lambda _, r: put(r, 3, transactionHash=OTHER), "receipt 3 is of another"),
    "transaction of another block": (
        lambda b, _: put(b["transactions"], 2, blockHash=OTHER),
        "transaction 2 has another block's hash",
    ),
    "log of another block": (lambda _, r: put(r[1]["logs"], 0, blockHash=OTHER), "log 0 is of another block"),
    "log of another transaction": (lambda _, r: put(r[1]["logs"], 0, transactionHash=OTHER), "log 0 is of another"),
    "log left out": (lambda _, r: r[1]["logs"].pop(1), "log 1 is missing"),
    "log twice": (lambda _, r: r[1]["logs"].insert(1, r[1]["logs"][0]), "log 1 is missing"),
    "log removed": (lambda _, r: put(r[1]["logs"], 3, removed=True), "log 3 is marked as removed"),
}


@pytest.mark.parametrize("name", ALWAYS)
@pytest.mark.parametrize("checks", [frozenset[BlockCheck](), ALL], ids=["none promised", "all promised"])
def test_always_checked(name: str, checks: frozenset[BlockCheck]) -> None:
    """Count, order, block hash and log indices are held against the block on every chain."""
    change, reason = ALWAYS[name]
    with pytest.raises(BadAnswerError, match=reason) as caught:
        scan(change, checks)
    assert SAMPLE["block"]["hash"] in str(caught.value)


def test_last_logs_left_out_are_missed_by_the_bloom() -> None:
    """Logs missing at the block's end leave no hole in the indices; the bloom tells, where the chain promises it."""

    def drop(_: dict[str, Any], receipts: Receipts) -> None:
        for receipt in receipts[5:]:
            receipt["logs"] = []

    with pytest.raises(BadAnswerError, match="do not make up the block's bloom"):
        scan(drop, ALL)
    scan(drop, frozenset({BlockCheck.GAS}))


def test_foreign_log_is_missed_by_the_bloom() -> None:
    """A log that is not of this block shows in the bloom."""
    with pytest.raises(BadAnswerError, match="bloom"):
        scan(lambda _, r: put(r[1]["logs"], 0, address="0x" + "12" * 20), ALL)


def test_gas_is_held_against_the_block() -> None:
    """The last cumulative gas is the block's, where the chain promises it."""
    with pytest.raises(BadAnswerError, match="gas"):
        scan(lambda _, r: put(r, -1, cumulativeGasUsed="0x1"), ALL)
    scan(lambda _, r: put(r, -1, cumulativeGasUsed="0x1"), frozenset({BlockCheck.BLOOM}))


def test_receipts_and_transactions_both_missing() -> None:
    """An emptied block that says it used gas is refused, though its counts agree."""

    def empty(block: dict[str, Any], receipts: Receipts) -> None:
        block["transactions"] = []
        receipts.clear()

    with pytest.raises(BadAnswerError, match="gas"):
        scan(empty, ALL)


def test_hashes_only_block_is_refused() -> None:
    """A block with transaction hashes in place of transactions is refused."""

    def hashes(block: dict[str, Any], _: Receipts) -> None:
        block["transactions"] = [entry["hash"] for entry in block["transactions"]]

    with pytest.raises(BadAnswerError, match="expected an object"):
        scan(hashes, ALL)
