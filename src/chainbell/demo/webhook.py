"""One received webhook, as its receiver understood it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST that reached an endpoint; what could not be read of its body is None."""

    version: int
    webhook_id: str
    received_at: datetime
    problem: str | None
    """Why it cannot be trusted; None: every signature is good."""
    event: str | None
    ref: str | None
    event_id: str | None
    """``id`` of a v2 body; version 1 has it in the header only."""
    sequence: int | None
    """Position among the events of its transaction; version 2 only."""
    status: str | None
    confirmations: int | None
    required: int | None
    amount: str | None
    asset_type: str | None
    address: str | None
    tx_hash: str | None
    block_hash: str | None = None
    """Version 2 only, like all that follows."""
    final: bool | None = None
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"v{self.version} {self.event or 'webhook'} ({self.webhook_id})"


def read_webhook(version: int, webhook_id: str, body: bytes, received_at: datetime, problem: str | None) -> Webhook:
    """Understand a body as far as it can be understood; one that is no such JSON has nothing in it, and no error."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    outer: Mapping[str, object] = content if isinstance(content, dict) else {}
    data = outer.get("data")
    inner: Mapping[str, object] = data if isinstance(data, dict) else {}
    return Webhook(
        version=version,
        webhook_id=webhook_id,
        received_at=received_at,
        problem=problem,
        event=_text(outer, "event"),
        ref=_text(inner, "ref"),
        event_id=_text(outer, "id"),
        sequence=_number(outer, "sequence"),
        status=_text(inner, "status"),
        confirmations=_number(inner, "confirmation"),
        required=_number(inner, "requiredConfirmation"),
        amount=_text(inner, "amount"),
        asset_type=_text(inner, "assetType"),
        address=_text(inner, "address"),
        tx_hash=_text(inner, "hash"),
        block_hash=_text(inner, "blockHash"),
        final=_flag(inner, "final"),
        replaced_by=_text(inner, "replacedBy"),
        replaces=_text(inner, "replaces"),
    )


def to_line(webhook: Webhook) -> str:
    """Return the line of JSON by which ``chainbell demo --once`` reports a verified webhook."""
    fields = {
        "version": webhook.version,
        "webhookId": webhook.webhook_id,
        "event": webhook.event,
        "ref": webhook.ref,
        "sequence": webhook.sequence,
        "status": webhook.status,
        "confirmation": webhook.confirmations,
        "requiredConfirmation": webhook.required,
        "amount": webhook.amount,
        "assetType": webhook.asset_type,
        "address": webhook.address,
        "hash": webhook.tx_hash,
        "blockHash": webhook.block_hash,
        "final": webhook.final,
        "replacedBy": webhook.replaced_by,
        "replaces": webhook.replaces,
        "receivedAt": webhook.received_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    return json.dumps(fields)


def _text(content: Mapping[str, object], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def _number(content: Mapping[str, object], key: str) -> int | None:
    value = content.get(key)
    return value if type(value) is int else None


def _flag(content: Mapping[str, object], key: str) -> bool | None:
    value = content.get(key)
    return value if isinstance(value, bool) else None
