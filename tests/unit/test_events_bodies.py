"""Bodies on the wire, byte by byte: what was released once is never changed, only added to in a new version."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chainbell.domain.identity import event_id
from chainbell.domain.transaction import TransactionEvent
from chainbell.events import v1, v2
from chainbell.events.catalogue import V1_TYPES
from tests.builders import OURS, THEIRS
from tests.told import TOLD

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EVERY = pytest.mark.parametrize("event", TOLD.values(), ids=TOLD.keys())
HAVE_V1 = [event for event in TOLD.values() if V1_TYPES[event.type]]

ENVELOPE = ["id", "type", "event", "timestamp", "version", "mode", "generation", "sequence", "data"]
DATA = [
    *("uid", "ref", "reference", "type", "status", "previousStatus", "final"),
    *("chain", "assetId", "assetType", "contract"),
    *("amount", "amountBaseUnits", "decimals", "fee", "feeOf"),
    *("address", "senderAddress", "hash", "position", "logIndex", "blockHash", "blockHeight"),
    *("confirmation", "requiredConfirmation", "label", "accountId", "customerId"),
    *("screening", "createdAt", "updatedAt"),
]
"""Members of the example in DESIGN section 7, in its order."""
FURTHER = {"execution", "conflictedBy", "replacedBy", "replaces", "historical"}
V1_DATA = [
    *("ref", "status", "amount", "assetId", "assetType", "chain", "subAccountId", "address", "senderAddress"),
    *("hash", "type"),
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def body_v2(event: TransactionEvent) -> bytes:
    return v2.render(event, event_id(event.transaction.uid, event.type, event.occasion, 0), 0)


def members(event: TransactionEvent) -> dict[str, Any]:
    data = json.loads(body_v2(event))["data"]
    assert isinstance(data, dict)
    return data


@EVERY
def test_the_v2_body_is_frozen(event: TransactionEvent) -> None:
    """Each event of the tracker renders to the very bytes of its golden file."""
    assert body_v2(event) == (GOLDEN / f"{event.type}.v2.json").read_bytes()


@pytest.mark.parametrize("event", HAVE_V1, ids=[event.type for event in HAVE_V1])
def test_the_v1_body_is_frozen(event: TransactionEvent) -> None:
    """The same for the legacy format, where it has the event."""
    assert v1.render(event) == (GOLDEN / f"{event.type}.v1.json").read_bytes()


def test_every_golden_file_is_compared() -> None:
    """No file lies there that no test reads."""
    expected = {f"{type_}.v2.json" for type_ in TOLD} | {f"{event.type}.v1.json" for event in HAVE_V1}
    assert {path.name for path in GOLDEN.iterdir() if path.is_file()} == expected


def test_where_v1_has_no_event_there_is_no_body() -> None:
    """A depth is told in version 2 only."""
    assert v1.render(TOLD["transaction.deposit.confirmation"]) is None


@EVERY
def test_v2_has_all_members_of_the_design(event: TransactionEvent) -> None:
    """All of them, null where nothing stands behind them yet, in the order of the example; others come after."""
    body = json.loads(body_v2(event))
    assert list(body) == ENVELOPE
    data = list(body["data"])
    assert data[: len(DATA)] == DATA
    assert set(data[len(DATA) :]) <= FURTHER
    assert list(body["data"]["screening"]) == ["status", "provider", "listVersion"]


@EVERY
def test_v2_members_mean_what_they_say(event: TransactionEvent) -> None:
    """Type twice, times with microseconds and Z, amounts as text, and what the event says of itself."""
    body = json.loads(body_v2(event))
    data, record = body["data"], event.transaction
    assert body["type"] == body["event"] == event.type
    assert (body["version"], body["mode"], body["generation"], body["sequence"]) == (2, "live", 0, record.sequence)
    assert all(TIME.fullmatch(text) for text in (body["timestamp"], data["createdAt"], data["updatedAt"]))
    assert (data["uid"], data["ref"], data["reference"]) == (record.uid, record.uid, None)
    assert (data["status"], data["final"]) == (record.status.value, record.final)
    assert data["amountBaseUnits"] == str(record.amount)
    assert isinstance(data["amount"], str)
    assert data["requiredConfirmation"] == event.required_confirmations
    assert (data["blockHash"] is None) == (data["blockHeight"] is None) == (record.block is None)


@pytest.mark.parametrize("event", HAVE_V1, ids=[event.type for event in HAVE_V1])
def test_v1_has_exactly_its_members(event: TransactionEvent) -> None:
    """`ref` equals the v2 `uid`, and both versions agree on every member that they share."""
    body, data = json.loads(v1.render(event) or b""), members(event)
    assert list(body) == ["event", "data"]
    assert body["event"] == V1_TYPES[event.type]
    assert list(body["data"]) == V1_DATA
    shared = set(V1_DATA) - {"status", "subAccountId"}
    assert {name: body["data"][name] for name in shared} == {name: data[name] for name in shared}
    assert body["data"]["subAccountId"] == data["accountId"]


def test_v1_statuses() -> None:
    """What did not succeed is FAILED, whatever the reason; the rest keeps its name."""
    told = {type_.removeprefix("transaction."): json.loads(v1.render(e) or b"{}") for type_, e in TOLD.items()}
    statuses = {type_: body["data"]["status"] for type_, body in told.items() if body}
    assert statuses == {
        "deposit.created": "AWAITING_CONFIRMATION",
        "deposit.pending": "PENDING",
        "deposit.awaiting_confirmation": "AWAITING_CONFIRMATION",
        "deposit.success": "SUCCESS",
        "deposit.dropped": "FAILED",
        "deposit.replaced": "FAILED",
        "deposit.failed": "FAILED",
        "deposit.reverted": "FAILED",
        "transfer.created": "AWAITING_CONFIRMATION",
        "transfer.processing": "PROCESSING",
        "transfer.awaiting_confirmation": "AWAITING_CONFIRMATION",
        "transfer.success": "SUCCESS",
        "transfer.failed": "FAILED",
        "transfer.dropped": "FAILED",
        "transfer.replaced": "FAILED",
        "transfer.reverted": "FAILED",
    }


def test_addresses_are_those_of_the_movement() -> None:
    """`address` receives and `senderAddress` sends, whichever of them is ours."""
    arrived, left = members(TOLD["transaction.deposit.success"]), members(TOLD["transaction.transfer.success"])
    assert arrived["address"].lower() == left["senderAddress"].lower() == f"0x{OURS.hex()}"
    assert arrived["senderAddress"].lower() == left["address"].lower() == f"0x{THEIRS.hex()}"


def test_the_coin_has_no_contract() -> None:
    """A token names its contract, the coin none."""
    assert members(TOLD["transaction.transfer.success"])["contract"] is None
    assert members(TOLD["transaction.deposit.success"])["contract"] == "0xdAC17F958D2ee523a2206206994597C13D831ec7"


def test_members_where_they_apply() -> None:
    """Execution, conflict and replacement are told by the events that they explain, and are absent elsewhere."""
    further = {
        type_.removeprefix("transaction."): {name: members(event)[name] for name in FURTHER & set(members(event))}
        for type_, event in TOLD.items()
    }
    rival, victim = ("0x" + "aa" * 28 + number for number in ("00000009", "00000004"))
    assert {type_: found for type_, found in further.items() if found} == {
        "deposit.awaiting_confirmation": {"replaces": victim},
        "deposit.failed": {"execution": "ABSENT"},
        "deposit.replaced": {"conflictedBy": rival, "replacedBy": rival},
        "transfer.awaiting_confirmation": {"execution": "REVERTED"},
        "transfer.failed": {"execution": "REVERTED"},
        "transfer.replaced": {"replacedBy": rival},
    }


def test_history_says_so() -> None:
    """What a scan of the past found is marked; elsewhere the member is absent."""
    event = TOLD["transaction.deposit.success"]
    found = replace(event, transaction=replace(event.transaction, historical_until=10**6))
    assert members(found) == {**members(event), "historical": True}
    assert v1.render(found) == v1.render(event)


def test_final() -> None:
    """Final is what a block decided at depth, and what cannot return; a sighting or an absence never is."""
    final = {type_.removeprefix("transaction.") for type_, event in TOLD.items() if members(event)["final"]}
    assert final == {
        "deposit.success",
        "deposit.failed",
        "deposit.replaced",
        "deposit.dropped",
        "transfer.success",
        "transfer.failed",
    }
