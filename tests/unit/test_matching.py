"""What a block makes or touches, as pure functions of the block and what is watched."""

from chainbell.domain.chain import COIN
from chainbell.domain.identity import movement_uid
from chainbell.domain.transaction import Execution, Origin, Subject, TransactionType
from chainbell.tracker import matching
from chainbell.tracker.ports import AssetKey
from tests.builders import (
    CHAIN,
    NOW,
    OURS,
    THEIRS,
    TOKEN,
    address,
    block,
    deposit,
    movement,
    on_chain,
    point,
    subject,
    transfer,
    tx_hash,
    view,
    watch,
)

CAIP2 = CHAIN.caip2
WATCHED = {OURS: watch()}
PAYS = on_chain(1, sender=OURS, nonce=7)
"""A transaction of our own."""
ASSETS = {COIN: matching.AssetFacts("ETH", 18), TOKEN: matching.AssetFacts("USDT", 6)}


def uid(type_: TransactionType, position: int = 0, *, asset: bytes = COIN, number: int = 1) -> str:
    return movement_uid(type_, CAIP2, tx_hash(number), asset, OURS, position)


def test_a_movement_into_a_watched_address_is_a_deposit() -> None:
    """Its recipient, its ordinal there, and its sender beside it."""
    coin = movement(amount=5, incoming_position=4, outgoing_position=9)
    [sighting] = matching.sightings(block(100, [coin]), CAIP2, WATCHED)
    assert sighting.uid == uid(TransactionType.DEPOSIT, 4)
    assert sighting.side == matching.Side(TransactionType.DEPOSIT, OURS, 4, THEIRS)


def test_a_movement_out_of_a_watched_address_is_a_transfer() -> None:
    """Its sender, its ordinal there, and its recipient beside it, also when somebody else's transaction moved it."""
    for mover in (PAYS, on_chain(1)):
        token = movement(mover, asset=TOKEN, sender=OURS, recipient=THEIRS, incoming_position=4, outgoing_position=9)
        [sighting] = matching.sightings(block(100, [token]), CAIP2, WATCHED)
        assert sighting.uid == uid(TransactionType.TRANSFER, 9, asset=TOKEN)
        assert sighting.side == matching.Side(TransactionType.TRANSFER, OURS, 9, THEIRS)


def test_both_sides_are_told() -> None:
    """Between two watched addresses, and from one to itself, there are a transfer and a deposit."""
    for recipient in (address(5), OURS):
        found = matching.sightings(
            block(100, [movement(PAYS, recipient=recipient)]), CAIP2, WATCHED | {address(5): watch(address(5))}
        )
        assert [sighting.side.type for sighting in found] == [TransactionType.TRANSFER, TransactionType.DEPOSIT]
        assert len({sighting.uid for sighting in found}) == 2


def test_nobody_watched_nobody_told() -> None:
    """A movement between strangers is no sighting."""
    assert matching.sightings(block(100, [movement()]), CAIP2, {address(5): watch(address(5))}) == []


def test_a_failed_transaction_is_a_transfer_of_its_sender_and_no_deposit() -> None:
    """Nothing arrived, so nothing is told to the recipient; the sender's attempt is told."""
    failed = on_chain(1, sender=OURS, succeeded=False)
    found = matching.sightings(
        block(100, [movement(failed, recipient=address(5))]), CAIP2, WATCHED | {address(5): watch(address(5))}
    )
    assert [sighting.side.type for sighting in found] == [TransactionType.TRANSFER]


def test_what_the_chain_creates_is_a_deposit_from_nobody() -> None:
    """It has no payer to tell, and arrives also where the transaction failed; that one's own value does not."""
    for succeeded in (True, False):
        mined = on_chain(1, sender=OURS, succeeded=succeeded, may_return=False)
        minted = movement(mined, sender=None, recipient=OURS, amount=9)
        value = movement(mined, sender=OURS, recipient=OURS, amount=5, incoming_position=1)
        mined_block = block(100, [minted, value])
        found = matching.sightings(mined_block, CAIP2, WATCHED)
        arrived = [one for one in found if one.side.type is TransactionType.DEPOSIT]
        assert [one.movement for one in arrived] == ([minted, value] if succeeded else [minted])
        assert arrived[0].side == matching.Side(TransactionType.DEPOSIT, OURS, 0, None)
        left = [one for one in found if one.side.type is TransactionType.TRANSFER]
        assert [(one.movement, one.uid) for one in left] == [(value, uid(TransactionType.TRANSFER))]
        assert matching.addresses([mined_block]) == {OURS}
        seen = matching.inclusion(deposit(), mined_block, minted, None, None, view())
        assert (seen.execution, seen.counterparty, seen.amount) == (Execution.SUCCEEDED, None, 9)
        assert matching.fees(mined_block, CAIP2, WATCHED, (), (), ASSETS)[mined.hash].counted_in == uid(
            TransactionType.TRANSFER
        )


def test_what_is_looked_up() -> None:
    """Both sides of movements and whoever paid a fee; every hash; every nonce but those of what a block created."""
    system = on_chain(3, sender=address(8), may_return=False)
    blocks = [block(100, [movement()], [on_chain(2, sender=address(6)), system]), block(101)]
    assert matching.addresses(blocks) == {THEIRS, OURS, address(6), address(8)}
    assert matching.hashes(blocks) == {tx_hash(1), tx_hash(2), tx_hash(3)}
    assert set(matching.origins(blocks)) == {Origin(THEIRS, 1), Origin(address(6), 2)}


def test_a_newborn_record_takes_account_customer_and_label_of_its_watch() -> None:
    """What it is about is fixed at first sight."""
    owner = watch(account_id="account-b", customer_id="customer-c", label="till 9")
    token = movement(asset=TOKEN, amount=77, log_index=3, incoming_position=2)
    [sighting] = matching.sightings(block(100, [token]), CAIP2, {OURS: owner})
    key = matching.asset_key(sighting, ASSETS)
    record = matching.newborn(sighting, CHAIN, key, "asset-d", NOW)
    assert key == AssetKey("account-b", TOKEN, "USDT", 6)
    assert record.subject == Subject(
        type=TransactionType.DEPOSIT,
        chain=CHAIN,
        tx_hash=tx_hash(1),
        asset=TOKEN,
        symbol="USDT",
        decimals=6,
        address=OURS,
        position=2,
        account_id="account-b",
        asset_id="asset-d",
        customer_id="customer-c",
        label="till 9",
    )
    assert (record.amount, record.counterparty, record.origin) == (77, THEIRS, Origin(THEIRS, 1))
    assert (record.sequence, record.block, record.created_at) == (0, None, NOW)


# Fees -----------------------------------------------------------------------------------------------------------------


def test_a_watched_sender_owes_its_fee_also_when_nothing_moved() -> None:
    """One entry per transaction, counted in no record where there is none."""
    fees = matching.fees(block(100, others=[PAYS, on_chain(2)]), CAIP2, WATCHED, (), (), ASSETS)
    assert list(fees) == [PAYS.hash]
    fee = fees[PAYS.hash]
    assert (fee.payer, fee.amount, fee.block, fee.counted_in) == (OURS, 21_000, point(100), None)


def test_a_fee_is_counted_in_one_record() -> None:
    """The first movement out of the payer has it; the payer's other records name that one, and deposits show none."""
    coin = movement(PAYS, recipient=THEIRS)
    token = movement(PAYS, asset=TOKEN, recipient=OURS, log_index=3)
    mined = block(100, [coin, token])
    fee = matching.fees(mined, CAIP2, WATCHED, (), (), ASSETS)[PAYS.hash]
    first = uid(TransactionType.TRANSFER)
    assert fee.counted_in == first
    for moved in (coin, token):
        seen = matching.inclusion(transfer(), mined, moved, fee, None, view())
        assert (seen.fee, seen.fee_of) == (21_000, first)
    seen = matching.inclusion(deposit(), mined, token, fee, None, view())
    assert (seen.fee, seen.fee_of) == (None, None)


def test_a_transfer_that_somebody_else_paid_for_shows_no_fee() -> None:
    """Moved by another's transaction, it cost its address nothing, also when that other is watched."""
    other = on_chain(1, sender=address(6))
    taken = movement(other, asset=TOKEN, sender=OURS, recipient=THEIRS)
    mined = block(100, [taken])
    fee = matching.fees(mined, CAIP2, WATCHED | {address(6): watch(address(6))}, (), (), ASSETS)[other.hash]
    assert fee.counted_in is None
    seen = matching.inclusion(transfer(), mined, taken, fee, None, view())
    assert (seen.fee, seen.fee_of) == (None, None)


def test_a_fee_is_paid_again_although_its_sender_is_watched_no_more() -> None:
    """An entry whose block was orphaned is completed by the block that includes it again; no account is needed."""
    told = transfer(uid=uid(TransactionType.TRANSFER), origin=Origin(OURS, 7))
    mined = block(101, [movement(PAYS, recipient=THEIRS)])
    fee = matching.fees(mined, CAIP2, {}, {PAYS.hash}, [told], ASSETS)[PAYS.hash]
    assert (fee.account_id, fee.block, fee.counted_in) == (None, point(101), told.uid)


def test_a_fee_is_never_counted_in_a_record_that_is_not_there() -> None:
    """A sender watched no more gets no new record, so its fee cannot be counted in one."""
    mined = block(101, [movement(PAYS, recipient=THEIRS)])
    for told in ([], [deposit(uid="trx_other_side")]):
        assert matching.fees(mined, CAIP2, {}, {PAYS.hash}, told, ASSETS)[PAYS.hash].counted_in is None


def test_a_told_transfer_keeps_its_fee_when_it_comes_back_without_its_value() -> None:
    """The transaction was paid for, and the record that told it is where the fee shows."""
    told = transfer(uid="trx_told", subject=subject(TransactionType.TRANSFER), origin=Origin(OURS, 7))
    failed = on_chain(1, sender=OURS, nonce=7, succeeded=False)
    mined = block(101, others=[failed])
    fee = matching.fees(mined, CAIP2, WATCHED, (), [told], ASSETS)[failed.hash]
    seen = matching.absence(told, mined, failed, fee, None, view())
    assert (seen.fee, seen.fee_of) == (21_000, "trx_told")


# Inclusions -----------------------------------------------------------------------------------------------------------


def test_an_inclusion_has_the_attributes_of_its_block() -> None:
    """Amount, counterparty and log index are those of the movement there."""
    moved = movement(asset=TOKEN, amount=99, sender=address(6), log_index=12)
    seen = matching.inclusion(deposit(), block(101, [moved]), moved, None, tx_hash(4), view(105))
    assert (seen.block, seen.amount, seen.counterparty, seen.log_index) == (point(101), 99, address(6), 12)
    assert (seen.execution, seen.replaces, seen.view) == (Execution.SUCCEEDED, tx_hash(4), view(105))


def test_a_movement_that_did_not_happen_is_reverted() -> None:
    """The transaction failed in this block."""
    failed = movement(on_chain(1, sender=OURS, succeeded=False), recipient=THEIRS)
    seen = matching.inclusion(transfer(), block(101, [failed]), failed, None, None, view())
    assert (seen.execution, seen.counterparty) == (Execution.REVERTED, THEIRS)


def test_what_a_transaction_moves_no_more_is_absent() -> None:
    """The record keeps its amount and counterparty; whether the transaction failed is told apart."""
    for succeeded, execution in ((True, Execution.ABSENT), (False, Execution.REVERTED)):
        mined = on_chain(1, succeeded=succeeded)
        seen = matching.absence(deposit(), block(101, others=[mined]), mined, None, None, view())
        assert (seen.execution, seen.amount, seen.counterparty) == (execution, 12_500_000, THEIRS)
        assert (seen.block, seen.log_index, seen.fee) == (point(101), None, None)
