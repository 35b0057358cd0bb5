"""The legacy webhook format, version 1: an event to the bytes of its body. Pure; frozen by golden files."""

import orjson

from chainbell.domain.address import format_hash
from chainbell.domain.transaction import TransactionEvent
from chainbell.events.catalogue import V1_STATUS, V1_TYPES
from chainbell.events.v2 import asset_type, parties, wire_amounts


def render(event: TransactionEvent) -> bytes | None:
    """Return the body of an event, or None where version 1 has no such event."""
    name = V1_TYPES[event.type]
    if name is None:
        return None
    transaction = event.transaction
    subject = transaction.subject
    receiver, sender = parties(transaction)
    return orjson.dumps(
        {
            "event": name,
            "data": {
                "ref": transaction.uid,
                "status": V1_STATUS[transaction.status],
                "amount": wire_amounts(transaction)[0],
                "assetId": subject.asset_id,
                "assetType": asset_type(transaction),
                "chain": subject.chain.wire_name,
                "subAccountId": subject.account_id,
                "address": receiver,
                "senderAddress": sender,
                "hash": format_hash(subject.chain.kind, subject.tx_hash),
                "type": subject.type.value,
            },
        }
    )
