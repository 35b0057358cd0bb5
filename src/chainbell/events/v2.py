"""The current webhook format, version 2: an event to the bytes of its body. Pure; frozen by golden files."""

from datetime import UTC, datetime
from typing import Any

import orjson

from chainbell.domain.address import format_address, format_hash
from chainbell.domain.amount import plain_decimal
from chainbell.domain.chain import COIN
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.transaction import SPEND, Execution, Transaction, TransactionEvent, TransactionType


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
        "hash": _hash(transaction, subject.tx_hash),
        "position": None if subject.position == SPEND else subject.position,
        "logIndex": transaction.log_index,
        "blockHash": None if block is None else _hash(transaction, block.hash),
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


def _where_they_apply(transaction: Transaction) -> dict[str, str | bool | list[str | None]]:
    """Return the members that most events do not have."""
    members: dict[str, str | bool | list[str | None] | None] = {
        "execution": None if transaction.execution is Execution.SUCCEEDED else transaction.execution.value,
        "conflictedBy": None if transaction.conflict is None else _hash(transaction, transaction.conflict.tx_hash),
        "replacedBy": _hash(transaction, transaction.replaced_by),
        "replaces": _hash(transaction, transaction.replaces),
        "senderAddresses": _senders(transaction),
        "historical": None if transaction.historical_until is None else True,
    }
    return {name: value for name, value in members.items() if value is not None}


def _senders(transaction: Transaction) -> list[str | None] | None:
    """Return who an output is spent from, each once, in input order; null: one that has no address, or cannot be had."""
    if transaction.subject.chain.kind is ChainKind.EVM:
        return None
    return list(dict.fromkeys(_address(transaction, sender) for sender in transaction.senders))


def _hash(transaction: Transaction, value: bytes | None) -> str | None:
    return None if value is None else format_hash(transaction.subject.chain.kind, value)


def _address(transaction: Transaction, address: bytes | None) -> str | None:
    return None if address is None else format_address(transaction.subject.chain.addresses, address)


def wire_time(moment: datetime) -> str:
    """Return a time as it is written everywhere: ISO 8601, in UTC, with microseconds."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
