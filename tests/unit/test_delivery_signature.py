import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from chainbell.delivery.signature import new_secret, sign
from chainbell.domain.delivery import WebhookVersion
from chainbell.telemetry import clock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example
THEN = datetime.fromtimestamp(1614265330, UTC)


def test_signs_the_published_example() -> None:
    """The known answer of the Standard Webhooks libraries comes out."""
    body = b'{"test": 2432232314}'
    headers = sign([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", THEN, body, WebhookVersion.V2)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(codec="utf-8")))
def test_the_published_library_verifies_us(random_bytes: bytes, text: str) -> None:
    """Whatever the secret and the text, `standardwebhooks` accepts our headers unchanged."""
    secret = new_secret(random_bytes)
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    headers = sign([secret], "evt_1", clock.now(), body, WebhookVersion.V2)
    assert Webhook(secret).verify(body, headers) == {"text": text}


def test_each_live_secret_signs_during_a_rotation() -> None:
    """A receiver that knows either of two live secrets verifies, and one that knows neither does not."""
    old, new = new_secret(bytes(32)), new_secret(bytes(range(32)))
    headers = sign([new, old], "evt_1", clock.now(), b"{}", WebhookVersion.V2)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        assert Webhook(secret).verify(b"{}", headers) == {}


def test_legacy_endpoints_get_their_own_id_and_a_plain_signature() -> None:
    """Version 1 has ``_v1`` behind the id, and X-Signature keyed with the newest secret string as it is shown."""
    secret, body = new_secret(bytes(range(32))), b'{"event":"transaction.success"}'
    headers = sign([secret, SECRET], "evt_1", clock.now(), body, WebhookVersion.V1)
    assert headers["webhook-id"] == "evt_1_v1"
    assert headers["x-signature"] == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert Webhook(secret).verify(body, headers) == json.loads(body)


def test_a_secret_is_whsec_and_base64_of_32_bytes() -> None:
    """A new secret has the standard's form and length."""
    secret = new_secret(bytes(range(32)))
    assert secret.startswith("whsec_")
    assert base64.b64decode(secret.removeprefix("whsec_")) == bytes(range(32))


def test_refuses_to_sign_with_nothing_or_with_nonsense() -> None:
    """No secret, too few random bytes, or what is not base64, is an error that shows no secret."""
    with pytest.raises(ValueError, match="no live secret"):
        sign([], "evt_1", THEN, b"{}", WebhookVersion.V2)
    with pytest.raises(ValueError, match="not base64") as caught:
        sign(["whsec_***"], "evt_1", THEN, b"{}", WebhookVersion.V2)
    assert "***" not in str(caught.value)
    with pytest.raises(ValueError, match="32 random bytes"):
        new_secret(b"short")
