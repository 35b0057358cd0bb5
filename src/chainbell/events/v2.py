"""The current webhook format, version 2: an event to the bytes of its body. Pure; frozen by golden files."""

from datetime import UTC, datetime
from typing import Any

import orjson

from chainbell.domain.address import format_address
from chainbell.domain.amount import plain_decimal
from chainbell.domain.chain import COIN
from chainbell.domain.transaction import Execution, Transaction, TransactionEvent, TransactionType


def render(event: TransactionEvent, event_id: str, generation: int) -> bytes:
    """Return the body of an event, rendered once and stored: retries and replays send these very bytes."""
    transaction = event.transaction
    return orjson.dumps(
        {
            "id": event_id,
            "type": event.type,
            "event": event.type,
            "timestamp": wire_time(event.at),
            "version": 2,
            "mode": transaction.subject.chain.mode.value,
            "generation": generation,
            "sequence": transaction.sequence,
            "data": members(event),
        }
    )


def wire_amounts(transaction: Transaction) -> tuple[str, str]:
    """Return the amount as a plain decimal and in base units."""
    return plain_decimal(transaction.amount, transaction.subject.decimals), str(transaction.amount)


def asset_type(transaction: Transaction) -> str:
    """Return the asset as it is called on the wire, such as ``USDT_ETHEREUM``."""
    return f"{transaction.subject.symbol}_{transaction.subject.chain.wire_name}"


def parties(transaction: Transaction) -> tuple[str | None, str | None]:
    """Return the receiving and the sending address of a movement."""
    subject = transaction.subject
    ours, other = _address(transaction, subject.address), _address(transaction, transaction.counterparty)
    return (ours, other) if subject.type is TransactionType.DEPOSIT else (other, ours)


def hex_or_none(value: bytes | None) -> str | None:
    """Return bytes as a node writes them."""
    return None if value is None else f"0x{value.hex()}"


def members(event: TransactionEvent) -> dict[str, Any]:
    """Return the members of ``data``: the record as it was when the fact was told."""
    transaction = event.transaction
    subject = transaction.subject
    amount, base_units = wire_amounts(transaction)
    receiver, sender = parties(transaction)
    block = transaction.block
    data: dict[str, Any] = {
        "uid": transaction.uid,
        "ref": transaction.uid,
        "reference": None,
        "type": subject.type.value,
        "status": transaction.status.value,
        "previousStatus": None if event.previous_status is None else event.previous_status.value,
        "final": transaction.final,
        "chain": subject.chain.wire_name,
        "assetId": subject.asset_id,
        "assetType": asset_type(transaction),
        "contract": None if subject.asset == COIN else _address(transaction, subject.asset),
        "amount": amount,
        "amountBaseUnits": base_units,
        "decimals": subject.decimals,
        "fee": None if transaction.fee is None else plain_decimal(transaction.fee, subject.chain.coin_decimals),
        "feeOf": transaction.fee_of,
        "address": receiver,
        "senderAddress": sender,
        "hash": hex_or_none(subject.tx_hash),
        "position": subject.position,
        "logIndex": transaction.log_index,
        "blockHash": None if block is None else hex_or_none(block.hash),
        "blockHeight": None if block is None else block.height,
        "confirmation": event.confirmations,
        "requiredConfirmation": event.required_confirmations,
        "label": subject.label,
        "accountId": subject.account_id,
        "customerId": subject.customer_id,
        "screening": {"status": transaction.screening.value, "provider": None, "listVersion": None},
        "createdAt": wire_time(transaction.created_at),
        "updatedAt": wire_time(transaction.updated_at),
    }
    return data | _where_they_apply(transaction)


def _where_they_apply(transaction: Transaction) -> dict[str, str | bool]:
    """Return the members that most events do not have."""
    members: dict[str, str | bool | None] = {
        "execution": None if transaction.execution is Execution.SUCCEEDED else transaction.execution.value,
        "conflictedBy": None if transaction.conflict is None else hex_or_none(transaction.conflict.tx_hash),
        "replacedBy": hex_or_none(transaction.replaced_by),
        "replaces": hex_or_none(transaction.replaces),
        "historical": None if transaction.historical_until is None else True,
    }
    return {name: value for name, value in members.items() if value is not None}


def _address(transaction: Transaction, address: bytes | None) -> str | None:
    return None if address is None else format_address(transaction.subject.chain.kind, address)


def wire_time(moment: datetime) -> str:
    """Return a time as it is written everywhere: ISO 8601, in UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
