"""The judge of `chainbell demo --once`: what it acquits, and each fault that it must name."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chainbell.demo.expected import Expected
from chainbell.demo.script import BUMPED, CHEAP, COIN, DEPOSITS, REORGANISED, SCRIPT, TOKEN, Deposit, Network, Ring, rings
from chainbell.demo.stage import Standing
from chainbell.demo.verdict import judge
from chainbell.demo.webhook import Webhook, read_webhook, to_line

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HASHES = {deposit: f"0x{number:064x}" for number, deposit in enumerate(DEPOSITS, start=1)}
ADDRESSES = {Network.ANVIL: "0x5FbDB2315678afecb367f032d93F642f64180aa3", Network.BITCOIN: "bcrt1qwatched"}
BLOCKS = {deposit: [f"{tx}01", f"{tx}02"] for deposit, tx in HASHES.items()}
STANDINGS = {
    COIN: Standing(BLOCKS[COIN][0], 9),
    TOKEN: Standing(BLOCKS[TOKEN][0], 8),
    REORGANISED: Standing(BLOCKS[REORGANISED][1], 3),
    CHEAP: Standing(None, 0, HASHES[BUMPED], 3),
    BUMPED: Standing(BLOCKS[BUMPED][1], 3),
}
EXPECTED = Expected(rings(SCRIPT), HASHES, ADDRESSES, BLOCKS, STANDINGS)


def hash_of(deposit: Deposit | None) -> str | None:
    """Return the transaction of a deposit, of none for none."""
    return None if deposit is None else HASHES[deposit]


def block_of(ring: Ring) -> str | None:
    """Return the block that an event tells."""
    return BLOCKS[ring.deposit][ring.inclusion - 1] if ring.inclusion else None


def perfect() -> list[Webhook]:
    """Return what a faultless Chainbell sends for the whole script."""
    sequences: Counter[Deposit] = Counter()
    sent = []
    for number, ring in enumerate(rings(SCRIPT)):
        sequences[ring.deposit] += 1
        event_id = f"evt_{number}"
        common = Webhook(
            version=2,
            webhook_id=event_id,
            received_at=START + timedelta(seconds=number),
            problem=None,
            event=ring.v2,
            ref=f"trx_{ring.deposit.title}",
            event_id=event_id,
            sequence=sequences[ring.deposit],
            status=ring.status,
            confirmations=ring.confirmations,
            required=3,
            amount=ring.deposit.wire_amount,
            asset_type=ring.deposit.asset_type,
            address=ADDRESSES[ring.deposit.network],
            tx_hash=HASHES[ring.deposit],
            block_hash=block_of(ring),
            final=ring.final,
            replaced_by=hash_of(ring.replaced_by),
            replaces=hash_of(ring.replaces),
        )
        sent.append(common)
        if ring.v1 is not None:
            legacy = replace(common, version=1, webhook_id=f"{event_id}_v1", event=ring.v1, status=ring.v1_status)
            legacy = replace(legacy, event_id=None, sequence=None, confirmations=None, required=None)
            sent.append(replace(legacy, block_hash=None, final=None, replaced_by=None, replaces=None))
    return sent


def index(received: list[Webhook], event: str, deposit: Deposit = COIN) -> int:
    """Return where a webhook stands."""
    return next(place for place, hook in enumerate(received) if hook.event == event and hook.tx_hash == HASHES[deposit])


def test_a_perfect_run_is_acquitted() -> None:
    """Exactly the expected webhooks bring no complaint."""
    assert judge(EXPECTED, perfect()) == []


def test_nothing_received_is_a_complaint_for_each_event_of_each_version() -> None:
    """Silence is never a success."""
    complaints = judge(replace(EXPECTED, standings={}), [])
    assert len(complaints) == len(perfect())
    assert all("missing" in complaint for complaint in complaints)


@pytest.mark.parametrize("place", range(len(perfect())))
def test_any_single_withheld_webhook_is_noticed(place: int) -> None:
    """Whichever webhook is left out, v2 or v1, the verdict says that it is missing."""
    received = perfect()
    gone = received.pop(place)
    assert any(f"v{gone.version}," in line and f"missing {gone.event}" in line for line in judge(EXPECTED, received))


@pytest.mark.parametrize("place", range(len(perfect())))
def test_any_single_doubled_webhook_is_noticed(place: int) -> None:
    """The same webhook twice is a complaint, and the only one."""
    received = perfect()
    received.append(received[place])
    (complaint,) = judge(EXPECTED, received)
    assert "arrived 2 times" in complaint
    assert received[place].webhook_id in complaint


def test_an_event_told_again_under_another_id_is_unexpected() -> None:
    """A doubled fact does not hide behind a fresh webhook id."""
    received = perfect()
    success = received[index(received, "transaction.deposit.success")]
    received.append(replace(success, webhook_id="evt_other", event_id="evt_other", sequence=6))
    complaints = judge(EXPECTED, received)
    assert any("v2, coin deposit: unexpected transaction.deposit.success #6" in line for line in complaints)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("transaction.deposit.created", "transaction.deposit.awaiting_confirmation"),
        ("transaction.incoming", "transaction.awaiting_confirmation"),
        ("transaction.awaiting_confirmation", "transaction.success"),
    ],
)
def test_webhooks_out_of_order_are_noticed(earlier: str, later: str) -> None:
    """Two events of one deposit in the wrong order are a complaint in both versions."""
    received = perfect()
    one, other = index(received, earlier), index(received, later)
    received[one], received[other] = received[other], received[one]
    assert any("coin deposit: out of order" in line for line in judge(EXPECTED, received))


def test_deposits_may_interleave_in_any_order() -> None:
    """Order holds per transaction, never across."""
    by_deposit = sorted(perfect(), key=lambda hook: (HASHES[REORGANISED] == hook.tx_hash, hook.tx_hash), reverse=True)
    assert judge(EXPECTED, by_deposit) == []


def test_versions_may_run_apart() -> None:
    """A legacy endpoint may be told long before or after the other one."""
    assert judge(EXPECTED, sorted(perfect(), key=lambda hook: hook.version)) == []


def test_a_bad_signature_is_noticed_and_its_webhook_does_not_count() -> None:
    """A forged webhook is a complaint of its own, and what it tells is still missing."""
    received = perfect()
    place = index(received, "transaction.deposit.success", TOKEN)
    received[place] = replace(received[place], problem="standardwebhooks says: No matching signature found")
    complaints = judge(EXPECTED, received)
    assert any("bad signature: standardwebhooks says" in line for line in complaints)
    assert any("v2, token deposit: missing transaction.deposit.success #5" in line for line in complaints)


def test_a_bad_signature_is_noticed_even_when_the_webhook_came_again_well_signed() -> None:
    """A retry that is good does not undo a forgery."""
    received = perfect()
    received.insert(0, replace(received[0], problem="standardwebhooks says: No matching signature found"))
    (complaint,) = judge(EXPECTED, received)
    assert "bad signature" in complaint


def test_a_gap_in_the_sequence_is_noticed() -> None:
    """Sequences of version 2 count from 1 without a gap."""
    received = perfect()
    place = index(received, "transaction.deposit.success")
    received[place] = replace(received[place], sequence=6)
    assert "v2, coin deposit: the sequence has a gap: 1, 2, 3, 4, 6" in judge(EXPECTED, received)


def test_a_transaction_that_nobody_made_is_noticed() -> None:
    """A webhook about an unknown transaction is a complaint."""
    stranger = replace(perfect()[0], webhook_id="evt_x", event_id="evt_x", tx_hash="0x" + "9" * 64)
    assert any("which nobody made" in line for line in judge(EXPECTED, [*perfect(), stranger]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": "15"}, "amount is 15, must be 1.5"),
        ({"asset_type": "WETH_ANVIL"}, "assetType is WETH_ANVIL"),
        ({"address": "0x1"}, "address is 0x1"),
        ({"ref": "trx_other"}, "more than one ref"),
        ({"status": "PENDING"}, "unexpected transaction.deposit.success #5 (PENDING"),
        ({"required": 1}, "requiredConfirmation is 1, must be 3"),
        ({"event_id": "evt_other"}, "id is evt_other"),
        ({"block_hash": "0x0"}, "blockHash is 0x0, must be"),
        ({"block_hash": None}, "blockHash is None, must be"),
        ({"final": False}, "final is False, must be True"),
        ({"replaced_by": "0x0"}, "replacedBy is 0x0, must be None"),
        ({"confirmations": 2}, "unexpected transaction.deposit.success #5 (SUCCESS, 2 confirmations)"),
    ],
)
def test_wrong_facts_are_noticed(change: dict[str, str | int | None], words: str) -> None:
    """Every member that the demo can know from the chain is compared."""
    received = perfect()
    place = index(received, "transaction.deposit.success")
    received[place] = replace(received[place], **change)  # type: ignore[arg-type]  # one value of the right type each
    assert any(words in line for line in judge(EXPECTED, received))


@pytest.mark.parametrize(
    ("deposit", "event", "change", "words"),
    [
        (CHEAP, "replaced", {"replaced_by": None}, f"replacedBy is None, must be {HASHES[BUMPED]}"),
        (CHEAP, "replaced", {"final": True}, "final is True, must be False"),
        (CHEAP, "replaced", {"status": "DROPPED"}, "missing transaction.deposit.replaced #3 (REPLACED"),
        (BUMPED, "pending", {"replaces": None}, f"replaces is None, must be {HASHES[CHEAP]}"),
        (BUMPED, "pending", {"block_hash": BLOCKS[BUMPED][0]}, "must be None"),
        (BUMPED, "reverted", {"block_hash": BLOCKS[BUMPED][0]}, "must be None"),
        (BUMPED, "reverted", {"status": "PENDING"}, "missing transaction.deposit.reverted #7 (REVERTED"),
    ],
)
def test_wrong_facts_of_a_fee_bump_are_noticed(
    deposit: Deposit, event: str, change: dict[str, str | bool | None], words: str
) -> None:
    """The two payments must name each other, and what is taken back names no block."""
    received = perfect()
    place = index(received, f"transaction.deposit.{event}", deposit)
    received[place] = replace(received[place], **change)  # type: ignore[arg-type]  # one value of the right type each
    assert any(words in line for line in judge(EXPECTED, received))


def test_a_second_success_must_name_the_block_of_the_new_chain() -> None:
    """After the reorg the block that was given up is told no more."""
    received = perfect()
    place = max(place for place, hook in enumerate(received) if hook.status == "SUCCESS" and hook.version > 1)
    received[place] = replace(received[place], block_hash=BLOCKS[BUMPED][0])
    complaints = judge(EXPECTED, received)
    assert (
        f"v2, fee bump deposit: the last blockHash told is {BLOCKS[BUMPED][0]}, its node says {BLOCKS[BUMPED][1]}"
        in complaints
    )


@pytest.mark.parametrize(
    ("deposit", "standing", "words"),
    [
        (COIN, Standing(None), "v2, coin deposit: the last status told is SUCCESS, its node says PENDING"),
        (COIN, Standing(None), "v1, coin deposit: the last status told is SUCCESS, its node says PENDING"),
        (TOKEN, Standing(BLOCKS[TOKEN][0], 2), "its node says AWAITING_CONFIRMATION"),
        (REORGANISED, Standing(BLOCKS[REORGANISED][0], 3), "the last blockHash told is"),
        (CHEAP, Standing(None), "v2, low fee deposit: the last status told is REPLACED, its node says PENDING"),
        (CHEAP, Standing(None, 0, HASHES[BUMPED], 0), "the last final told is True, its node says False"),
        (CHEAP, Standing(None, 0, HASHES[COIN], 3), f"the last replacedBy told is {HASHES[BUMPED]}, its node says"),
        (
            BUMPED,
            Standing(None, 0, HASHES[CHEAP], 3),
            "v1, fee bump deposit: the last status told is SUCCESS, its node says FAILED",
        ),
    ],
)
def test_what_a_node_says_otherwise_is_noticed(deposit: Deposit, standing: Standing, words: str) -> None:
    """A run that follows the script is not acquitted when the chain is not as it was told."""
    expected = replace(EXPECTED, standings={**STANDINGS, deposit: standing})
    assert any(words in line for line in judge(expected, perfect()))


@pytest.mark.parametrize("change", [{"webhook_id": "evt_77_v1"}, {"webhook_id": "evt_0"}, {"ref": "trx_token"}])
def test_legacy_webhooks_must_tell_what_version_2_told(change: dict[str, str]) -> None:
    """A legacy webhook without its twin in version 2 is a complaint."""
    received = perfect()
    place = index(received, "transaction.incoming")
    received[place] = replace(received[place], **change)  # type: ignore[arg-type]  # all of these are strings
    assert any("version 2" in line for line in judge(EXPECTED, received))


def test_only_what_was_played_is_expected() -> None:
    """In the middle of the script nothing of the rest is missing."""
    played = rings(SCRIPT[:1])
    assert judge(Expected(played, {COIN: HASHES[COIN]}, ADDRESSES, BLOCKS), perfect()[: 2 * len(played)]) == []


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"data": 1}', b'{"event": 5, "sequence": true}', b"null"])
def test_any_body_can_be_read(body: bytes) -> None:
    """A receiver takes whatever comes: what is no webhook has nothing in it."""
    webhook = read_webhook(2, "evt_1", body, START, "forged")
    assert (webhook.event, webhook.ref, webhook.sequence) == (None, None, None)


def test_a_line_of_output_is_one_json_object() -> None:
    """The report of a webhook stays on one line, in UTC."""
    line = to_line(perfect()[0])
    assert "\n" not in line
    assert '"receivedAt": "2026-11-22T10:00:00.000000Z"' in line
