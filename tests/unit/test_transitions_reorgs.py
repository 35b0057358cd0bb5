"""Reorgs, conflicts and mempools: what is taken back, and what another transaction decides."""

import pytest

from chainbell.domain.errors import ChainHaltedError
from chainbell.domain.transaction import Execution, Status, Transaction
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.observations import Observation, Outbid, Sighted, Vanished
from chainbell.tracker.transitions import transition
from tests.builders import (
    NOW,
    OFF,
    block_hash,
    conflicted,
    deepened,
    deposit,
    failing,
    included,
    names,
    orphaned,
    transfer,
    tx_hash,
    walk,
)

BOTH = pytest.mark.parametrize("newborn", [deposit(), transfer()], ids=["deposit", "transfer"])
SEEN = Sighted(generation=0)
GONE = Vanished(generation=0)


def no_block(record: Transaction) -> Status:
    return Status.PENDING if record.uid == "trx_deposit" else Status.PROCESSING


def fell(record: Transaction, *observations: Observation, policy: Policy = OFF) -> list[tuple[str, tuple[bytes, ...]]]:
    """Return name and occasion of each event told on the way."""
    return [(event.name, event.occasion) for event in walk(record, observations, policy)[1]]


# Reorgs ---------------------------------------------------------------------------------------------------------------


@BOTH
def test_an_orphaned_block_takes_the_transaction_back(newborn: Transaction) -> None:
    """It is told as in no block, for the hash of the block taken back, and nothing of that block stays in it."""
    record, told = walk(newborn, [included(100, fee=5, fee_of="trx_x", replaces=tx_hash(4)), orphaned(100)])
    assert (told[-1].name, told[-1].occasion) == (no_block(newborn).lower(), (block_hash(100),))
    assert (told[-1].confirmations, told[-1].transaction.final) == (0, False)
    kept = (record.block, record.log_index, record.fee, record.fee_of, record.replaces, record.told_depth)
    assert kept == (None, None, None, None, None, 0)


@BOTH
def test_a_success_taken_back_is_reverted(newborn: Transaction) -> None:
    """A reorg deeper than required is told as `reverted`, and is not final: it may return."""
    record, told = walk(newborn, [included(100), deepened(102), orphaned(100)])
    assert (told[-1].name, told[-1].occasion) == ("reverted", (block_hash(100),))
    assert told[-1].previous_status is Status.SUCCESS
    assert (record.status, record.final, record.block) == (Status.REVERTED, False, None)
    record, told = walk(record, [included(101, 1), deepened(103)])
    assert names(told)[0] == "awaiting_confirmation"
    assert record.status is Status.SUCCESS


def test_a_failure_taken_back_may_still_succeed() -> None:
    """An orphaned block takes back whatever it decided, also a `failed`."""
    record, told = walk(transfer(), [failing(100), deepened(102), orphaned(100)])
    assert (names(told)[-1], record.execution, record.final) == ("processing", Execution.SUCCEEDED, False)
    assert names(walk(record, [included(100, 1), deepened(102)])[1]) == ["awaiting_confirmation", "success"]


@pytest.mark.parametrize(
    ("before", "becomes"),
    [
        ([included(100)], Status.DROPPED),
        ([failing(100), deepened(102)], Status.DROPPED),
        ([included(100), deepened(102)], Status.REVERTED),
    ],
)
def test_what_a_block_created_does_not_return(before: list[Observation], becomes: Status) -> None:
    """Orphaning it tells `dropped` or `reverted` at once, finally, for the hash of its block."""
    record, told = walk(deposit(may_return=False), [*before, orphaned(100)])
    assert (told[-1].name, told[-1].occasion) == (becomes.lower(), (block_hash(100),))
    assert (record.status, record.final, record.block) == (becomes, True, None)
    assert walk(record, [conflicted(101), deepened(150), GONE, SEEN, Outbid(tx_hash(5))]) == (record, [])


def test_what_a_block_created_returns_with_that_block() -> None:
    """When the chain goes back to the very block that was orphaned, its content is told again, not lost."""
    record, told = walk(deposit(may_return=False), [included(100), orphaned(100), included(100), deepened(102)])
    assert names(told)[2:] == ["dropped", "awaiting_confirmation", "confirmation", "success"]
    assert record.final


@BOTH
def test_another_orphan_changes_nothing(newborn: Transaction) -> None:
    """Only its own block, or that of its conflict, matters."""
    histories: list[list[Observation]] = [[included(100)], [SEEN], [SEEN, conflicted(99)]]
    for before in histories:
        record, _ = walk(newborn, before)
        assert walk(record, [orphaned(101), orphaned(100, 7)]) == (record, [])


def test_flapping_between_two_blocks_tells_every_step() -> None:
    """A-B-A: each return and each inclusion is told, and the depths of each inclusion."""
    one, other = (included(100), orphaned(100)), (included(100, 1), orphaned(100, 1))
    assert [occasion for _, occasion in fell(deposit(), *one, *other, included(100), deepened(102))] == [
        (),
        (block_hash(100),),
        (block_hash(100),),
        (block_hash(100, 1),),
        (block_hash(100, 1),),
        (block_hash(100),),
        (block_hash(100), b"3"),
        (block_hash(100),),
    ]


@BOTH
def test_two_blocks_of_one_chain_halt_it(newborn: Transaction) -> None:
    """A second inclusion without a reorg means that the ledger is damaged: nothing is told, an operator must look."""
    record, _ = walk(newborn, [included(100)])
    with pytest.raises(ChainHaltedError, match="ledger of ethereum is damaged"):
        transition(record, included(101), OFF, NOW)


# Conflicts ------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("before", [[SEEN], [SEEN, GONE], [SEEN, Outbid(tx_hash(9))]])
def test_a_mined_conflict_replaces_at_depth(newborn: Transaction, before: list[Observation]) -> None:
    """Until its block is deep enough the status stays and the conflict is carried; then `replaced` is told, finally."""
    waiting, _ = walk(newborn, before)
    carried, told = walk(waiting, [conflicted(100), deepened(101), GONE, SEEN, Outbid(tx_hash(8))])
    assert told == []
    assert (carried.status, carried.conflict) == (waiting.status, conflicted(100).conflict)
    replaced, told = walk(carried, [deepened(102)])
    assert [(event.name, event.occasion) for event in told] == [("replaced", (block_hash(100),))]
    assert (replaced.status, replaced.final, replaced.replaced_by) == (Status.REPLACED, True, tx_hash(9))


@BOTH
def test_a_reverted_success_can_be_replaced(newborn: Transaction) -> None:
    """The new branch spends the nonce otherwise: at depth that is final."""
    told = walk(newborn, [included(100), deepened(102), orphaned(100), conflicted(100, 1), deepened(102)])[1]
    assert names(told)[-2:] == ["reverted", "replaced"]
    assert told[-1].transaction.final


@BOTH
def test_an_orphaned_conflict_takes_replaced_back(newborn: Transaction) -> None:
    """What the conflict's block decided is told back, for its hash; what it had not decided is forgotten silently."""
    carried, _ = walk(newborn, [SEEN, conflicted(100)])
    lifted, told = walk(carried, [orphaned(100)])
    assert (told, lifted.conflict, lifted.status) == ([], None, no_block(newborn))
    replaced, _ = walk(carried, [deepened(102)])
    back, told = walk(replaced, [orphaned(100)])
    assert [(event.name, event.occasion) for event in told] == [(no_block(newborn).lower(), (block_hash(100),))]
    assert (back.conflict, back.replaced_by, back.final) == (None, None, False)


def test_the_first_conflict_stands() -> None:
    """A second conflict above the first changes nothing, so that orphaning it does not lift the first."""
    record, _ = walk(deposit(), [SEEN, conflicted(100), conflicted(101, by=8), orphaned(101)])
    assert record.conflict == conflicted(100).conflict


def test_inclusion_ends_a_conflict() -> None:
    """Once it is in a block of our chain, no other transaction can have its nonce."""
    record, _ = walk(deposit(), [SEEN, Outbid(tx_hash(9)), conflicted(100), orphaned(100), included(100, 1)])
    assert (record.conflict, record.replaced_by) == (None, None)
    assert transition(record, conflicted(101), OFF, NOW).transaction == record


# Mempools -------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_sighting_never_moves_what_is_in_a_block(newborn: Transaction) -> None:
    """Neither a sighting, nor an absence, nor a rival in a mempool counts against a block of our chain."""
    histories: list[list[Observation]] = [[included(100)], [included(100), deepened(102)], [failing(100), deepened(102)]]
    for before in histories:
        record, _ = walk(newborn, before)
        assert walk(record, [SEEN, GONE, Outbid(tx_hash(9))]) == (record, [])


@BOTH
def test_dropped_is_not_final(newborn: Transaction) -> None:
    """It left the mempool; it may come back, by mempool or by block."""
    dropped, told = walk(newborn, [SEEN, Vanished(generation=2)])
    assert (told[-1].name, told[-1].occasion, told[-1].transaction.final) == ("dropped", (b"2",), False)
    assert names(walk(dropped, [SEEN])[1]) == [no_block(newborn).lower()]
    assert names(walk(dropped, [included(100)])[1]) == ["awaiting_confirmation"]


@BOTH
def test_replaced_in_a_mempool_is_not_final(newborn: Transaction) -> None:
    """A rival decides at once, under its hash; it is told finally when it is mined and deep."""
    outbid, told = walk(newborn, [SEEN, Outbid(tx_hash(9))])
    assert (told[-1].name, told[-1].occasion, told[-1].transaction.final) == ("replaced", (tx_hash(9),), False)
    assert outbid.replaced_by == tx_hash(9)
    assert names(walk(outbid, [SEEN])[1]) == [no_block(newborn).lower()]
    final, told = walk(outbid, [conflicted(100), deepened(102)])
    assert [(event.name, event.previous_status) for event in told] == [("replaced", Status.REPLACED)]
    assert final.final
