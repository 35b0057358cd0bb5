import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from chainbell.delivery.signature import new_secret, sign
from chainbell.domain.delivery import WebhookVersion
from chainbell.telemetry import clock
from chainbell.webhooks import WebhookVerificationError, verify

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRET = new_secret(bytes(range(32)))
OTHER = new_secret(bytes(range(1, 33)))
BODY = b'{"id":"evt_1","data":{"uid":"trx_1"}}'


def signed(body: bytes = BODY, at: datetime = NOW, secret: str = SECRET) -> dict[str, str]:
    return sign([secret], "evt_1", at, body, WebhookVersion.V2)


def test_returns_the_webhook_that_is_signed() -> None:
    """A good webhook comes back parsed, as bytes or as text, with header names in any case."""
    expected = json.loads(BODY)
    assert verify(BODY, signed(), SECRET, now=NOW) == expected
    assert verify(BODY.decode(), {name.upper(): value for name, value in signed().items()}, SECRET, now=NOW) == expected


def test_reads_the_clock_when_no_time_is_given() -> None:
    """Without `now` the age is measured against the clock."""
    assert verify(BODY, signed(at=clock.now()), SECRET) == json.loads(BODY)


def test_verifies_what_the_published_library_signs() -> None:
    """What `standardwebhooks` signed is good for us."""
    at = clock.now()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", at, BODY.decode()),
    }
    assert verify(BODY, headers, SECRET) == json.loads(BODY)


def test_any_of_several_secrets_and_signatures_will_do() -> None:
    """During a rotation either side may know two secrets; entries of unknown versions are passed over."""
    headers = signed(secret=OTHER)
    assert verify(BODY, headers, [SECRET, OTHER], now=NOW)
    both = sign([SECRET, OTHER], "evt_1", NOW, BODY, WebhookVersion.V2)
    both["webhook-signature"] = f"v1a,AAAA v1 v1,*** , {both['webhook-signature']}"
    assert verify(BODY, both, OTHER, now=NOW)


def test_the_legacy_format_verifies_the_same() -> None:
    """A v1 webhook carries the same headers, with its own id."""
    headers = sign([SECRET], "evt_1", NOW, b'{"event":"transaction.success"}', WebhookVersion.V1)
    assert verify(b'{"event":"transaction.success"}', headers, SECRET, now=NOW) == {"event": "transaction.success"}


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_takes_what_is_within_the_tolerance(seconds: int) -> None:
    """Five minutes in either direction are allowed."""
    assert verify(BODY, signed(), SECRET, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-301, 301])
def test_refuses_what_is_too_old_or_too_new(seconds: int) -> None:
    """A replayed webhook is refused, and one from the future."""
    with pytest.raises(WebhookVerificationError, match="301 s in the"):
        verify(BODY, signed(), SECRET, now=NOW + timedelta(seconds=seconds))


def with_header(name: str, value: object) -> dict[str, Any]:
    return {**signed(), name: value}


def forge(body: bytes) -> dict[str, str]:
    """Sign whatever bytes, as our own sender never would."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    content = b"evt_1." + str(int(NOW.timestamp())).encode() + b"." + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {**signed(), "webhook-signature": f"v1,{signature}"}


@pytest.mark.parametrize(
    ("body", "headers", "secret"),
    [
        (BODY + b" ", signed(), SECRET),
        (BODY, signed(), OTHER),
        (BODY, {}, SECRET),
        (BODY, None, SECRET),
        (BODY, [("webhook-id", "x")], SECRET),
        (BODY, with_header("webhook-id", ["evt_1"]), SECRET),
        (BODY, with_header("webhook-id", "evt_2"), SECRET),
        (BODY, with_header("webhook-id", "\ud800"), SECRET),
        (BODY, with_header("webhook-timestamp", "soon"), SECRET),
        (BODY, with_header("webhook-timestamp", "1e9"), SECRET),
        (BODY, with_header("webhook-timestamp", "9" * 13), SECRET),
        (BODY, with_header("webhook-timestamp", "٣"), SECRET),
        (BODY, with_header("webhook-timestamp", int(NOW.timestamp())), SECRET),
        (BODY, with_header("webhook-signature", "v1"), SECRET),
        (BODY, with_header("webhook-signature", "v1,"), SECRET),
        (BODY, with_header("webhook-signature", "v1,***"), SECRET),
        (BODY, with_header("webhook-signature", "v1,a,b"), SECRET),
        (BODY, with_header("webhook-signature", signed()["webhook-signature"].replace("v1", "v2")), SECRET),
        (BODY, with_header("webhook-signature", "v1,é"), SECRET),
        (BODY, signed(), ""),
        (BODY, signed(), "whsec_"),
        (BODY, signed(), "whsec_***"),
        (BODY, signed(), b"whsec_AAAA"),
        (BODY, signed(), []),
        (BODY, signed(), [SECRET, None]),
        (BODY, signed(), None),
        (None, signed(), SECRET),
        ({"id": "evt_1"}, signed(), SECRET),
        ("\ud800", signed(), SECRET),
        (b"[]", forge(b"[]"), SECRET),
        (b"not json", forge(b"not json"), SECRET),
        (b"\xff", forge(b"\xff"), SECRET),
        (b"[" * 100_000, forge(b"[" * 100_000), SECRET),
    ],
)
def test_every_kind_of_bad_input_raises_the_one_error(body: Any, headers: Any, secret: Any) -> None:
    """Whatever is wrong, the caller catches one error, which never shows the secret."""
    with pytest.raises(WebhookVerificationError) as caught:
        verify(body, headers, secret, now=NOW)
    assert "whsec_A" not in str(caught.value)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), None, "300", True])
def test_a_tolerance_that_is_none_is_bad_input_too(tolerance: Any) -> None:
    """A tolerance that would let everything pass, or nothing, is refused."""
    with pytest.raises(WebhookVerificationError, match="tolerance"):
        verify(BODY, signed(), SECRET, tolerance=tolerance, now=NOW)


def test_a_time_without_a_zone_is_bad_input_too() -> None:
    """A naive `now` is refused instead of being taken for some zone's."""
    with pytest.raises(WebhookVerificationError, match="aware"):
        verify(BODY, signed(), SECRET, now=NOW.replace(tzinfo=None))


header_values = st.one_of(
    st.text(max_size=40), st.binary(max_size=10), st.integers(), st.none(), st.just(signed()["webhook-signature"])
)


@given(
    body=st.one_of(st.binary(max_size=50), st.text(max_size=50), st.none(), st.just(BODY)),
    changes=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "Webhook-Id", "other"]), header_values
    ),
    secret=st.one_of(st.text(max_size=50), st.lists(st.text(max_size=9)), st.binary(), st.just(SECRET)),
)
def test_no_input_raises_anything_else(body: object, changes: Mapping[str, object], secret: object) -> None:
    """Whatever comes in is verified or raises the documented error."""
    headers = cast("dict[str, str]", {**signed(), **changes})
    try:
        parsed = verify(cast("bytes", body), headers, cast("str", secret), now=NOW)
    except WebhookVerificationError:
        return
    assert parsed == json.loads(BODY)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=9))
def test_any_signed_json_is_an_object_or_refused(value: object) -> None:
    """What is signed and JSON, but no object, is refused as well."""
    body = json.dumps({"value": value}).encode()
    assert verify(body, signed(body), SECRET, now=NOW) == {"value": value}
    bare = json.dumps(value).encode()
    with pytest.raises(WebhookVerificationError, match="not a JSON object"):
        verify(bare, signed(bare), SECRET, now=NOW)


def test_importing_it_is_light() -> None:
    """A receiver pays for nothing but the standard library."""
    code = (
        "import sys; import chainbell.webhooks; heavy = {'web3', 'asyncpg', 'aiohttp', 'httpx', 'pydantic', 'structlog'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
