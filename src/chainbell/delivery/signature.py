"""The headers that sign a webhook: Standard Webhooks 1.0.0, and what legacy endpoints get beside them. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from chainbell.domain.delivery import WebhookVersion

SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's prefix, not a secret
SECRET_BYTES = 32
"""The standard asks for 24 to 64."""


def new_secret(random_bytes: bytes) -> str:
    """Write 32 random bytes as a signing secret, ``whsec_`` and base64, as it is shown once. Raises `ValueError`."""
    if len(random_bytes) != SECRET_BYTES:
        message = f"a signing secret is made of {SECRET_BYTES} random bytes, not {len(random_bytes)}"
        raise ValueError(message)
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def webhook_id(event_id: str, version: WebhookVersion) -> str:
    """Return what a receiver recognises a repetition by: the event's id, with ``_v1`` behind it for legacy endpoints."""
    return f"{event_id}_v1" if version is WebhookVersion.V1 else event_id


def sign(secrets: Sequence[str], event_id: str, timestamp: datetime, body: bytes, version: WebhookVersion) -> dict[str, str]:
    """Return the headers of one attempt: `secrets` are the live ones, newest first, as they were shown.

    Source: Standard Webhooks 1.0.0, "Signature scheme". Raises `ValueError` for a secret that is none.
    """
    if not secrets:
        message = "nothing to sign with: the endpoint has no live secret"
        raise ValueError(message)
    identity = webhook_id(event_id, version)
    seconds = str(int(timestamp.timestamp()))
    content = b".".join((identity.encode(), seconds.encode(), body))
    entries = [base64.b64encode(_hmac_sha256(_key(secret), content)).decode() for secret in secrets]
    headers = {
        "webhook-id": identity,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{entry}" for entry in entries),
    }
    if version is WebhookVersion.V1:
        headers["x-signature"] = _hmac_sha256(secrets[0].encode(), body).hex()
    return headers


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        message = "a signing secret is not base64"
        raise ValueError(message) from None  # the cause would carry nothing but the secret's flaws


def _hmac_sha256(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)
