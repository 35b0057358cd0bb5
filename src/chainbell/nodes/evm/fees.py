"""What a transaction cost its sender, from its receipt. Pure."""

from typing import Any

from chainbell.nodes.evm.hexdata import quantity

_BLOB_TRANSACTION = 3
_SCALE_ISTHMUS = 1_000_000
_SCALE_JOVIAN = 100
_JOVIAN_EXTRA_DATA = 17
"""Bytes of ``extraData`` from Jovian on, version 1 (OP Stack specification, Jovian execution engine)."""


def is_jovian(extra_data: object) -> bool:
    """Whether a header's ``extraData`` is that of an OP Stack block since Jovian, which has another operator fee."""
    return isinstance(extra_data, str) and len(extra_data) == 2 + 2 * _JOVIAN_EXTRA_DATA and extra_data[:4] == "0x01"


def fee_of(transaction: dict[str, Any], kind: int, receipt: dict[str, Any], *, jovian: bool) -> int:
    """Fee in the coin's base units.

    Gas at the effective price (EIP-1559; before it ``gasPrice``), blob gas (EIP-4844), and on OP Stack chains the data
    fee ``l1Fee`` and the operator fee (Isthmus; its formula changed with Jovian, told by ``jovian``).

    Raises:
        BadAnswerError: the receipt or the transaction is malformed.

    """
    gas = quantity(receipt["gasUsed"])
    price = receipt.get("effectiveGasPrice")
    fee = gas * quantity(transaction["gasPrice"] if price is None else price)
    if kind == _BLOB_TRANSACTION:
        fee += quantity(receipt["blobGasUsed"]) * quantity(receipt["blobGasPrice"])
    if (data_fee := receipt.get("l1Fee")) is not None:
        fee += quantity(data_fee)
    if receipt.get("operatorFeeScalar") is not None or receipt.get("operatorFeeConstant") is not None:
        fee += _operator_fee(gas, receipt, jovian=jovian)
    return fee


def _operator_fee(gas: int, receipt: dict[str, Any], *, jovian: bool) -> int:
    scalar = quantity(receipt.get("operatorFeeScalar") or "0x0")
    constant = quantity(receipt.get("operatorFeeConstant") or "0x0")
    scaled = gas * scalar * _SCALE_JOVIAN if jovian else gas * scalar // _SCALE_ISTHMUS
    return scaled + constant
