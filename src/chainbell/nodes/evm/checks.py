"""A block's receipts against the block: a node that answers too early, or of another block, is caught here. Pure."""

from collections.abc import Collection
from typing import Any

from chainbell.domain.chain import BlockCheck, BlockRef
from chainbell.nodes.errors import BadAnswerError, BadLogsError
from chainbell.nodes.evm.bloom import bloom_of
from chainbell.nodes.evm.hexdata import data, hash32, quantity, to_hex

_BLOOM_BYTES = 256


def check_block(
    ref: BlockRef, block: dict[str, Any], receipts: list[dict[str, Any]], checks: Collection[BlockCheck]
) -> None:
    """Hold the transactions and receipts of one block against each other and against its header.

    Always: as many receipts as transactions, in their order; each with this block's hash and number; every log with
    this block's hash, its transaction's hash, and an index that follows the one before, from 0. By definition of the
    chain: the last cumulative gas is ``gasUsed`` (``gas``), and the bloom of all logs is ``logsBloom`` (``bloom``).

    Raises:
        BadLogsError: the logs do not hold; the message says which.
        BadAnswerError: something else does not.

    """
    transactions = block["transactions"]
    if len(receipts) != len(transactions):
        message = f"{len(receipts)} receipts for {len(transactions)} transactions"
        raise BadAnswerError(message)
    block_hash = to_hex(ref.hash)
    next_log = 0
    for index, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
        _check_place(transaction, block_hash, index, "transaction")
        _check_place(receipt, block_hash, index, "receipt")
        if quantity(receipt["blockNumber"]) != ref.height:
            message = f"receipt {index} is of height {quantity(receipt['blockNumber'])}"
            raise BadAnswerError(message)
        if not _same_hash(receipt["transactionHash"], transaction["hash"]):
            message = f"receipt {index} is of another transaction"
            raise BadAnswerError(message)
        next_log = _check_logs(receipt, block_hash, next_log)
    if BlockCheck.GAS in checks:
        _check_gas(block, receipts)
    if BlockCheck.BLOOM in checks:
        _check_bloom(block, receipts)


def _check_place(entry: dict[str, Any], block_hash: str, index: int, what: str) -> None:
    if not _same_hash(entry["blockHash"], block_hash):
        message = f"{what} {index} has another block's hash"
        raise BadAnswerError(message)
    if quantity(entry["transactionIndex"]) != index:
        message = f"{what} {index} has index {quantity(entry['transactionIndex'])}"
        raise BadAnswerError(message)


def _check_logs(receipt: dict[str, Any], block_hash: str, first: int) -> int:
    """Check one receipt's logs; give the index that the next log of the block must have."""
    transaction_hash = receipt["transactionHash"]
    expected = first
    for log in receipt["logs"]:
        if not _same_hash(log["blockHash"], block_hash) or not _same_hash(log["transactionHash"], transaction_hash):
            message = f"log {expected} is of another block or transaction than its receipt"
            raise BadLogsError(message)
        if quantity(log["logIndex"]) != expected:
            message = f"log {expected} is missing: found index {quantity(log['logIndex'])} in its place"
            raise BadLogsError(message)
        if log.get("removed"):
            message = f"log {expected} is marked as removed: the block is not on the node's chain any more"
            raise BadLogsError(message)
        expected += 1
    return expected


def _check_gas(block: dict[str, Any], receipts: list[dict[str, Any]]) -> None:
    promised = quantity(block["gasUsed"])
    found = quantity(receipts[-1]["cumulativeGasUsed"]) if receipts else 0
    if found != promised:
        message = f"the receipts used {found} gas, the block {promised}"
        raise BadAnswerError(message)


def _check_bloom(block: dict[str, Any], receipts: list[dict[str, Any]]) -> None:
    promised = int.from_bytes(data(block["logsBloom"], _BLOOM_BYTES), "big")
    addresses: set[str] = set()
    topics: set[str] = set()
    for receipt in receipts:
        for log in receipt["logs"]:
            addresses.add(log["address"])
            topics.update(log["topics"])
    if bloom_of(addresses, topics) != promised:
        message = "the logs do not make up the block's bloom: some are missing, or are not its own"
        raise BadLogsError(message)


def _same_hash(found: object, expected: object) -> bool:
    """Compare two hashes; as text first, since hex is lower-case nearly everywhere."""
    return found == expected or hash32(found) == hash32(expected)
