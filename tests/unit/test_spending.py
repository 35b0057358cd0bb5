"""What a transaction of the Bitcoin family moves: change, deposits, transfers, senders, fees, and the ledger."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.block import Movement
from chainbell.domain.transaction import SPEND, Transaction, TransactionType
from chainbell.domain.utxo import Making, Prevout, UtxoTransaction, outpoint
from chainbell.domain.watch import Purpose, Watch
from chainbell.tracker.spending import MAX_SENDERS, Interpreted, Maturities, Ours, concerns, interpret
from tests.builders import deposit, subject, transfer, tx_hash, watch

MATURITIES = Maturities(coinbase=100, peg_out=6)
ACCOUNT, OTHER = "account-a", "account-b"


def script(number: int) -> bytes:
    return b"\x00\x14" + number.to_bytes(20, "big")


A1, A2, A_CHANGE, B1, STRANGER, SHOP = (script(number) for number in range(1, 7))
OP_RETURN = b"\x6a\x02hi"


def watched(address: bytes, account: str = ACCOUNT, purpose: Purpose = Purpose.DEPOSIT) -> Watch:
    return replace(watch(address), account_id=account, purpose=purpose)


WATCHES = {
    A1: watched(A1),
    A2: watched(A2),
    A_CHANGE: watched(A_CHANGE, purpose=Purpose.CHANGE),
    B1: watched(B1, OTHER),
}


def spent(number: int) -> bytes:
    return outpoint(tx_hash(1000 + number), number)


def transaction(
    inputs: Sequence[tuple[bytes, int] | None], outputs: Sequence[tuple[bytes, int]], **changes: Any
) -> UtxoTransaction:
    """Return a transaction that spends these scripts and amounts (None: cannot be had) and pays these."""
    plain = UtxoTransaction(
        hash=tx_hash(1),
        outpoints=tuple(spent(number) for number in range(len(inputs))),
        scripts=tuple(one for one, _ in outputs),
        amounts=tuple(amount for _, amount in outputs),
        prevouts=tuple(None if known is None else Prevout(*known) for known in inputs),
    )
    return plain._replace(**changes)


def read(one: UtxoTransaction, told: Sequence[Transaction] = (), owned: dict[bytes, Prevout] | None = None) -> Interpreted:
    found = interpret(one, Ours(WATCHES, owned or {}, {one.hash: told} if told else {}, {}), MATURITIES)
    assert found is not None
    return found


def deposits(found: Interpreted) -> list[tuple[bytes | None, int | None, int]]:
    return [(m.recipient, m.incoming_position, m.amount) for m in found.movements if m.incoming_position is not None]


def transfers(found: Interpreted) -> list[tuple[bytes | None, int | None, bytes | None, int]]:
    leaving = [m for m in found.movements if m.outgoing_position is not None]
    return [(m.sender, m.outgoing_position, m.recipient, m.amount) for m in leaving]


def test_two_outputs_to_one_address_are_two_deposits() -> None:
    """Each output is a deposit of its own, at its index."""
    found = read(transaction([(STRANGER, 100)], [(A1, 30), (STRANGER, 10), (A1, 40)]))
    assert deposits(found) == [(A1, 0, 30), (A1, 2, 40)]
    assert transfers(found) == []
    assert found.transaction.sender is None


def test_one_transfer_for_each_output_that_leaves() -> None:
    """A batch payout is as many transfers as recipients; change to its own script or for change is neither side's."""
    found = read(transaction([(A1, 60), (A2, 60)], [(SHOP, 20), (STRANGER, 30), (A_CHANGE, 40), (A2, 25)]))
    assert transfers(found) == [(A1, 0, SHOP, 20), (A1, 1, STRANGER, 30)]
    assert deposits(found) == []
    assert (found.transaction.sender, found.transaction.fee) == (A1, 5)


def test_what_a_stranger_pays_to_a_change_address_is_a_deposit() -> None:
    """Change stays with who pays: to an address for change, anybody else's payment arrives."""
    assert deposits(read(transaction([(STRANGER, 50)], [(A_CHANGE, 49)]))) == [(A_CHANGE, 0, 49)]
    assert deposits(read(transaction([(B1, 50)], [(A_CHANGE, 49)]))) == [(A_CHANGE, 0, 49)]


def test_a_payment_between_two_watched_addresses_is_told_on_both_sides() -> None:
    """Also within one account."""
    within = read(transaction([(A1, 50)], [(A2, 30), (A1, 19)]))
    assert (deposits(within), transfers(within)) == ([(A2, 0, 30)], [(A1, 0, A2, 30)])
    across = read(transaction([(A1, 50)], [(B1, 30), (A_CHANGE, 19)]))
    assert (deposits(across), transfers(across)) == ([(B1, 0, 30)], [(A1, 0, B1, 30)])


def test_where_nothing_leaves_the_spend_itself_is_told() -> None:
    """A consolidation is one transfer of nothing, which owes the fee."""
    found = read(transaction([(A1, 30), (A2, 30)], [(A_CHANGE, 58)]))
    assert transfers(found) == [(A1, SPEND, None, 0)]
    assert (found.transaction.sender, found.transaction.fee) == (A1, 2)


def test_inputs_of_several_owners_give_one_net_record_for_each_account() -> None:
    """Nobody owes the fee alone then; what arrives is still a deposit."""
    found = read(transaction([(A1, 60), (STRANGER, 50), (B1, 10)], [(SHOP, 70), (A_CHANGE, 20), (A2, 5), (B1, 9)]))
    assert transfers(found) == [(A1, SPEND, None, 40), (B1, SPEND, None, 1)]
    assert deposits(found) == [(A2, 2, 5)]
    assert found.transaction.sender is None


def test_an_input_that_cannot_be_known_is_somebody_elses() -> None:
    """Then no output can be said to leave whole, no fee is known, and the sender is named as unknown."""
    found = read(transaction([(A1, 60), None], [(SHOP, 70)]))
    assert transfers(found) == [(A1, SPEND, None, 60)]
    assert found.transaction.sender is None
    assert found.movements[0].senders == (A1, None)
    arrived = read(transaction([None], [(A1, 70)]))
    assert (arrived.movements[0].sender, arrived.movements[0].senders) == (None, (None,))


def test_senders_are_named_once_each_in_input_order_and_are_limited() -> None:
    """The ledger has all of them."""
    found = read(transaction([(SHOP, 1), (STRANGER, 1), (SHOP, 1)], [(A1, 2)]))
    assert found.movements[0].senders == (SHOP, STRANGER)
    many = read(transaction([(script(100 + n), 1) for n in range(MAX_SENDERS + 5)], [(A1, 2)]))
    assert len(many.movements[0].senders) == MAX_SENDERS
    assert len(many.inputs) == MAX_SENDERS + 5


def test_an_own_output_is_known_without_the_node() -> None:
    """What a node cannot tell of an input, our own ledger may."""
    one = transaction([None], [(SHOP, 9)])
    found = read(one, owned={spent(0): Prevout(A1, 10)})
    assert transfers(found) == [(A1, 0, SHOP, 9)]
    assert (found.transaction.sender, found.transaction.fee) == (A1, 1)


def test_a_revealed_script_makes_a_spend_ours_without_its_amount() -> None:
    """An output older than the watch is found by the key that its spend reveals; the fee stays unknown."""
    one = transaction([None], [(SHOP, 9)], revealed=((A1, STRANGER),))
    assert concerns(one, WATCHES, {})
    found = read(one)
    assert transfers(found) == [(A1, 0, SHOP, 9)]
    assert found.transaction.sender is None


def test_a_known_prevout_outweighs_what_is_revealed() -> None:
    """Unlocking data fits several scripts: it counts only where the output itself is not known."""
    one = transaction([(STRANGER, 10)], [(SHOP, 9)], revealed=((A1,),))
    assert not concerns(one, WATCHES, {})


def test_what_a_block_creates_matures_and_does_not_return() -> None:
    """A coinbase and a peg-out have no sender, wait for their maturity, and exist in one block alone."""
    coinbase = read(transaction([], [(A1, 50), (A1, 1)], making=Making.COINBASE))
    assert deposits(coinbase) == [(A1, 0, 50), (A1, 1, 1)]
    assert (coinbase.transaction.may_return, coinbase.transaction.maturity) == (False, 100)
    assert (coinbase.movements[0].sender, coinbase.movements[0].senders, coinbase.inputs) == (None, (), ())
    peg_out = read(transaction([(STRANGER, 9)], [(STRANGER, 4), (A1, 5)], making=Making.PEG_OUT))
    assert deposits(peg_out) == [(A1, 1, 5)]
    assert (peg_out.transaction.may_return, peg_out.transaction.maturity, peg_out.inputs) == (False, 6, ())


def test_what_left_is_decided_at_first_sight() -> None:
    """An address registered later turns no transfer into change, and no told deposit away."""
    one = transaction([(A1, 60)], [(SHOP, 20), (A_CHANGE, 39)])
    subject_ = replace(subject(TransactionType.TRANSFER), tx_hash=one.hash, address=A1, account_id=ACCOUNT, asset=b"")
    told = [
        replace(transfer(), uid="t0", subject=replace(subject_, position=0), counterparty=SHOP, amount=20),
        replace(transfer(), uid="t1", subject=replace(subject_, position=1), counterparty=A_CHANGE, amount=39),
    ]
    found = read(one, told)
    assert transfers(found) == [(A1, 0, SHOP, 20), (A1, 1, A_CHANGE, 39)]
    assert (found.transaction.sender, found.transaction.fee) == (A1, 1)


def test_a_watch_that_moved_to_another_account_makes_no_second_transfer() -> None:
    """Where single outputs left, one account owned all that was spent: who watches its scripts later has no share."""
    one = transaction([(B1, 60), (STRANGER, 10)], [(SHOP, 69)])
    subject_ = replace(subject(TransactionType.TRANSFER), tx_hash=one.hash, address=A1, account_id=ACCOUNT, asset=b"")
    told = [replace(transfer(), subject=replace(subject_, position=0), counterparty=SHOP, amount=69)]
    assert transfers(read(one, told)) == [(A1, 0, SHOP, 69)]


def test_a_net_amount_holds_its_share_of_the_fee_for_good() -> None:
    """Told as one of several owners, an account owes no fee beside it, though it owns the other inputs by now."""
    one = transaction([(A1, 60), (A2, 10)], [(SHOP, 69)])
    subject_ = replace(subject(TransactionType.TRANSFER), tx_hash=one.hash, address=A1, account_id=ACCOUNT, asset=b"")
    told = [replace(transfer(), subject=replace(subject_, position=SPEND), counterparty=None, amount=60)]
    found = read(one, told)
    assert (transfers(found), found.transaction.sender) == ([(A1, SPEND, None, 60)], None)


def told_transfer(one: UtxoTransaction, position: int, counterparty: bytes | None, amount: int) -> list[Transaction]:
    subject_ = replace(subject(TransactionType.TRANSFER), tx_hash=one.hash, address=A1, account_id=ACCOUNT, asset=b"")
    return [replace(transfer(), subject=replace(subject_, position=position), counterparty=counterparty, amount=amount)]


def reread(one: UtxoTransaction, told: Sequence[Transaction], watches: dict[bytes, Watch]) -> Interpreted:
    found = interpret(one, Ours(watches, {}, {one.hash: told}, {}), MATURITIES)
    assert found is not None
    return found


def test_change_stays_change_when_the_watch_of_the_payer_ends() -> None:
    """Who was told to pay goes on to have paid: its change is no deposit."""
    one = transaction([(A1, 60)], [(SHOP, 20), (A_CHANGE, 39)])
    left = {script: watch for script, watch in WATCHES.items() if script != A1}
    found = reread(one, told_transfer(one, 0, SHOP, 20), left)
    assert (transfers(found), deposits(found)) == ([(A1, 0, SHOP, 20)], [])


def test_a_consolidation_stays_with_the_account_that_made_it() -> None:
    """Whoever watches the script by now made no transfer of their own, and got no deposit."""
    one = transaction([(A1, 60)], [(A_CHANGE, 59)])
    found = reread(one, told_transfer(one, SPEND, None, 0), {**WATCHES, A1: watched(A1, OTHER)})
    assert (transfers(found), deposits(found)) == ([(A1, SPEND, None, 0)], [])


def test_a_consolidation_owes_its_fee_when_the_watch_has_ended() -> None:
    """It is the one transfer of who owned all that was spent."""
    one = transaction([(A1, 60)], [(A1, 59)])
    found = reread(one, told_transfer(one, SPEND, None, 0), {script: w for script, w in WATCHES.items() if script != A1})
    assert (found.transaction.sender, found.transaction.fee) == (A1, 1)


def test_our_own_ledger_outweighs_the_word_of_a_node() -> None:
    """What a checked block paid us is ours, whatever a node says of it when it is spent."""
    one = transaction([(STRANGER, 600), (STRANGER, 5)], [(SHOP, 50)])
    found = read(one, owned={spent(0): Prevout(A1, 60)})
    assert transfers(found) == [(A1, SPEND, None, 60)]


def test_a_transfer_names_all_that_its_account_spends() -> None:
    """Whoever looks for one of these looks for the transfer, which bears the first of them."""
    one = transaction([(STRANGER, 5), (A2, 60), (B1, 7), (A1, 10), (A2, 1)], [(SHOP, 82)])
    named = {movement.sender: movement.spent for movement in read(one).movements}
    assert named == {A2: (A2, A1), B1: (B1,)}


def test_what_was_told_is_told_again_though_nobody_watches_any_more() -> None:
    """A removed watch stops new matches; its records are included again as they are."""
    one = transaction([(STRANGER, 60)], [(SHOP, 20)])
    told = [replace(deposit(), subject=replace(subject(), tx_hash=one.hash, address=SHOP, position=0, asset=b""))]
    assert deposits(read(one, told)) == [(SHOP, 0, 20)]


def test_data_outputs_of_no_value_are_no_transfer() -> None:
    """An OP_RETURN moves nothing, unless it burns something."""
    found = read(transaction([(A1, 10)], [(OP_RETURN, 0), (SHOP, 9)]))
    assert transfers(found) == [(A1, 1, SHOP, 9)]
    assert transfers(read(transaction([(A1, 10)], [(OP_RETURN, 9)]))) == [(A1, 0, OP_RETURN, 9)]


def test_what_only_takes_inputs_of_ours_is_passed_on_without_movements() -> None:
    """A replacement that pays elsewhere touches no address of ours."""
    one = transaction([(STRANGER, 10)], [(SHOP, 9)])
    ours = Ours(WATCHES, {}, {}, {one.hash: [deposit()]})
    found = interpret(one, ours, MATURITIES)
    assert found is not None
    assert (found.transaction.hash, found.movements, found.inputs) == (one.hash, (), ())
    assert interpret(one, Ours(WATCHES, {}, {}, {}), MATURITIES) is None


SCRIPTS = st.sampled_from([A1, A2, A_CHANGE, B1, STRANGER, SHOP, OP_RETURN])
AMOUNTS = st.integers(min_value=0, max_value=21_000_000 * 10**8)
KNOWN = st.tuples(SCRIPTS, AMOUNTS)


@given(inputs=st.lists(st.none() | KNOWN, min_size=1, max_size=6), outputs=st.lists(KNOWN, min_size=1, max_size=6))
def test_every_watched_output_is_a_deposit_or_change_and_nothing_is_told_twice(
    inputs: list[tuple[bytes, int] | None], outputs: list[tuple[bytes, int]]
) -> None:
    """Whatever owns what: no arrival is lost, no position is told twice, and the ledger has every input and output."""
    one = transaction(inputs, outputs)
    found = interpret(one, Ours(WATCHES, {}, {}, {}), MATURITIES)
    if found is None:
        assert not any(place in WATCHES for place, _ in outputs)
        return
    paying = {WATCHES[known[0]].account_id for known in inputs if known is not None and known[0] in WATCHES}
    spends = {known[0] for known in inputs if known is not None}
    arrived = {position for _, position, _ in deposits(found)}
    for index, (place, amount) in enumerate(outputs):
        of_payer = place in WATCHES and WATCHES[place].account_id in paying
        change = of_payer and (place in spends or WATCHES[place].purpose is Purpose.CHANGE)
        assert (index in arrived) == (place in WATCHES and amount > 0 and not change)
    keys = [(m.sender, m.outgoing_position) for m in found.movements if m.outgoing_position is not None]
    assert len(set(keys)) == len(keys)
    assert len(arrived) == len(deposits(found))
    assert paying == {WATCHES[sender].account_id for sender, *_ in transfers(found) if sender}
    assert [entry.outpoint for entry in found.inputs] == list(one.outpoints)
    assert len(found.outputs) == sum(place in WATCHES for place, _ in outputs)


@given(inputs=st.lists(KNOWN, min_size=1, max_size=5), outputs=st.lists(KNOWN, min_size=1, max_size=6))
def test_transfers_and_fee_account_for_what_a_sole_owner_spends(
    inputs: list[tuple[bytes, int]], outputs: list[tuple[bytes, int]]
) -> None:
    """What one account spends is what leaves, what stays as change, and the fee."""
    mine = [(A1 if place != A2 else A2, amount) for place, amount in inputs]
    found = read(transaction(mine, outputs))
    spends = {place for place, _ in mine}
    stays = sum(amount for place, amount in outputs if place in spends or place == A_CHANGE)
    leaves = sum(movement.amount for movement in _leaving(found))
    assert sum(amount for _, amount in mine) == leaves + stays + found.transaction.fee


def _leaving(found: Interpreted) -> list[Movement]:
    return [movement for movement in found.movements if movement.outgoing_position is not None]
