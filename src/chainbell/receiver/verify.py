"""Whether a webhook came from Chainbell, unchanged and just now: Standard Webhooks 1.0.0 for receivers in Python."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chainbell.telemetry import clock

TOLERANCE_SECONDS = 300

_PREFIX = "whsec_"
_LEAST_KEY_BYTES, _MOST_KEY_BYTES = 24, 64
_LONGEST_TIMESTAMP = 12
_VERSION = "v1"


class WebhookVerificationError(Exception):
    """A webhook must not be trusted; the text says why. The only error that `verify` raises."""


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return the webhook's JSON object once its signature and its age are right.

    Args:
        body: The request's body exactly as it came, never parsed and written again.
        headers: The request's headers; upper and lower case do not matter.
        secret: The endpoint's secret, ``whsec_...``; while it is rotated, all that are live.
        tolerance: Greatest age, and greatest distance into the future, in seconds.
        now: The current time, for tests; aware. Left out: the clock.

    Raises:
        WebhookVerificationError: for every kind of bad input, also of wrong types.

    A good webhook may come again: act once per ``webhook-id``.
    """
    content = _to_bytes(body)
    names = _lower_names(headers)
    identity, timestamp, signatures = (
        _header(names, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    )
    _check_age(timestamp, tolerance, now)
    signed = b".".join((_encode(identity), _encode(timestamp), content))
    if not _is_signed(signed, signatures, _keys(secret)):
        message = "no signature matches: another secret, or the body was changed on its way"
        raise WebhookVerificationError(message)
    return _parse(content)


def is_secret(text: str) -> bool:
    """Tell whether a text is a signing secret: ``whsec_`` and the base64 of 24 to 64 bytes (Standard Webhooks 1.0.0)."""
    key = _from_base64(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
    return key is not None and _LEAST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES


def _is_signed(content: bytes, header: str, keys: Sequence[bytes]) -> bool:
    """Compare every entry with every key, in constant time and to the end."""
    expected = [hmac.digest(key, content, hashlib.sha256) for key in keys]
    matches = False
    for entry in header.split(" "):
        version, _, encoded = entry.partition(",")
        if version != _VERSION:
            continue
        given = _from_base64(encoded) or b""
        for wanted in expected:
            matches |= hmac.compare_digest(wanted, given)
    return matches


def _to_bytes(body: object) -> bytes:
    if isinstance(body, str):
        return _encode(body)
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    message = f"the body must be bytes or str, not {type(body).__name__}: pass it as it came, before it is parsed"
    raise WebhookVerificationError(message)


def _lower_names(headers: object) -> dict[str, object]:
    if not isinstance(headers, Mapping):
        message = f"the headers must be a mapping, not {type(headers).__name__}"
        raise WebhookVerificationError(message)
    return {name.lower(): value for name, value in headers.items() if isinstance(name, str)}


def _header(names: Mapping[str, object], name: str) -> str:
    value = names.get(name)
    if not isinstance(value, str) or not value:
        message = f"the header {name} is missing or empty"
        raise WebhookVerificationError(message)
    return value


def _check_age(timestamp: str, tolerance: object, now: object) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP):
        message = "webhook-timestamp is not a number of seconds"
        raise WebhookVerificationError(message)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance >= 0:
        message = "tolerance must be a number of seconds, 0 or more"
        raise WebhookVerificationError(message)
    present = clock.now() if now is None else now
    if not isinstance(present, datetime) or present.tzinfo is None:
        message = "now must be an aware datetime"
        raise WebhookVerificationError(message)
    age = present.timestamp() - int(timestamp)
    if abs(age) > tolerance:
        message = (
            f"webhook-timestamp is {abs(age):.0f} s in the {'past' if age > 0 else 'future'}: {tolerance:g} s are allowed"
        )
        raise WebhookVerificationError(message)


def _keys(secret: object) -> list[bytes]:
    secrets = [secret] if isinstance(secret, str) else secret
    if not isinstance(secrets, Sequence) or isinstance(secrets, (bytes, bytearray)) or not secrets:
        message = "the secret must be a string, or a sequence of strings"
        raise WebhookVerificationError(message)
    return [_key(entry) for entry in secrets]


def _key(secret: object) -> bytes:
    key = _from_base64(secret.removeprefix(_PREFIX)) if isinstance(secret, str) else None
    if not key:
        message = "a secret is not whsec_ and base64: copy it as it was shown when the endpoint was made"
        raise WebhookVerificationError(message)
    return key


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        message = "the body or a header holds characters that UTF-8 has not"
        raise WebhookVerificationError(message) from error


def _parse(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        message = f"the body is signed, but is not JSON ({error})"
        raise WebhookVerificationError(message) from error
    if not isinstance(parsed, dict):
        message = "the body is signed, but is not a JSON object"
        raise WebhookVerificationError(message)
    return parsed
