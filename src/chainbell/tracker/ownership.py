"""Who owns what in transactions of the Bitcoin family: everything looked up that `spending` then judges by."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from chainbell.domain.transaction import Status, Transaction
from chainbell.domain.utxo import Lacking, Making, Prevout, UtxoTransaction, outpoint
from chainbell.domain.watch import Watch
from chainbell.tracker.ports import ChainCommit
from chainbell.tracker.spending import Ours, concerns


async def look_up_ours(
    commit: ChainCommit, transactions: Sequence[UtxoTransaction], now: datetime, *, past: bool = False
) -> Ours | Lacking:
    """Look up what of these transactions concerns us; what must be read first where that cannot be told yet.

    In the past, and for addresses whose older outputs are not known yet, spends are found by the scripts that they reveal.
    """
    ordinary = [transaction for transaction in transactions if transaction.making is Making.ORDINARY]
    reveals = all(transaction.revealed is not None for transaction in ordinary)
    if not reveals and (past or await commit.has_unseeded()):
        return Lacking(frozenset(), revealed=True)
    spends = await commit.known_spends({spent for transaction in transactions for spent in transaction.outpoints})
    waiting = await _waiting(commit, transactions, spends.claims)
    told_before = {record.subject.tx_hash for record in waiting}
    spent_before = await commit.spent_by(told_before) if told_before else {}
    watches, owned = await _watched(commit, transactions, {**spent_before, **spends.owned}, now)
    # Asked again: a window that a hit has just widened may have brought addresses whose older outputs nobody knows.
    if not reveals and await commit.has_unseeded():
        return Lacking(frozenset(), revealed=True)
    matched = [one for one in ordinary if one.hash in told_before or concerns(one, watches, owned)]
    if lacking := frozenset(transaction.hash for transaction in matched if _is_unread(transaction, owned)):
        return Lacking(lacking)
    told = await _told(commit, transactions, watches, matched, waiting)
    owing = await commit.unpaid_fees(told_before) if told_before else {}
    return Ours(watches, owned, told, {} if past else await _displaced(commit, ordinary, spends.claims), owing)


async def _waiting(
    commit: ChainCommit, transactions: Sequence[UtxoTransaction], claims: Mapping[bytes, Collection[bytes]]
) -> Sequence[Transaction]:
    """Return the records in no block of these transactions. Of an ordinary one the inputs are claimed while it waits."""
    claimants = {claimant for found in claims.values() for claimant in found}
    hashes = {one.hash for one in transactions if one.hash in claimants or one.making is not Making.ORDINARY}
    return await commit.waiting(hashes) if hashes else ()


def _is_unread(transaction: UtxoTransaction, owned: Mapping[bytes, Prevout]) -> bool:
    """Tell whether a node must be asked what a transaction spends: nobody did, and the ledger does not know all of it."""
    return transaction.prevouts is None and any(spent not in owned for spent in transaction.outpoints)


async def _watched(
    commit: ChainCommit, transactions: Sequence[UtxoTransaction], known: Mapping[bytes, Prevout], now: datetime
) -> tuple[Mapping[bytes, Watch], Mapping[bytes, Prevout]]:
    """Return the watches of all scripts on either side, and the outputs of watched scripts that may be spent.

    A hit may extend the window of a key: then the same transactions are matched again, until nothing is new.
    """
    scripts = {script for transaction in transactions for script in _scripts(transaction)}
    scripts |= {prevout.script for prevout in known.values()}
    while True:
        watches = await commit.watches(scripts)
        if not watches or not await commit.extend_windows(watches.values(), now):
            break
    made = {
        outpoint(transaction.hash, index): Prevout(script, transaction.amounts[index])
        for transaction in transactions
        for index, script in enumerate(transaction.scripts)
        if script in watches
    }
    return watches, {**known, **made}


def _scripts(transaction: UtxoTransaction) -> Iterable[bytes]:
    yield from transaction.scripts
    for candidates in transaction.revealed or ():
        yield from candidates
    for prevout in transaction.prevouts or ():
        if prevout is not None:
            yield prevout.script


async def _told(
    commit: ChainCommit,
    transactions: Sequence[UtxoTransaction],
    watches: Mapping[bytes, Watch],
    matched: Collection[UtxoTransaction],
    waiting: Collection[Transaction],
) -> Mapping[bytes, Sequence[Transaction]]:
    """Return the records of these transactions: of what waits for a block all, watched still or not."""
    concerned = {transaction.hash for transaction in matched}
    concerned |= {
        transaction.hash for transaction in transactions if any(script in watches for script in transaction.scripts)
    }
    records = {record.uid: record for record in waiting}
    records |= {record.uid: record for record in await commit.by_hash(concerned)} if concerned else {}
    found: dict[bytes, list[Transaction]] = defaultdict(list)
    for record in sorted(records.values(), key=lambda record: record.uid):
        found[record.subject.tx_hash].append(record)
    return found


async def _displaced(
    commit: ChainCommit, transactions: Sequence[UtxoTransaction], claims: Mapping[bytes, Collection[bytes]]
) -> Mapping[bytes, Sequence[Transaction]]:
    """Return the records in no block that can be mined no more: their inputs are taken, or those of what they spend."""
    if not claims:
        return {}
    taken: dict[bytes, set[bytes]] = {}
    for transaction in transactions:
        claimants = {claimant for spent in transaction.outpoints for claimant in claims.get(spent, ())}
        if rivals := claimants - {transaction.hash}:
            taken[transaction.hash] = rivals
    return {taker: await _fallen(commit, rivals) for taker, rivals in taken.items()}


async def _fallen(commit: ChainCommit, rivals: set[bytes]) -> Sequence[Transaction]:
    """Return the records that fall with these: their own, then those of what spends their outputs, and so on.

    First come those of what was not replaced before: what replaced them names the first.
    """
    fallen, parents = set(rivals), set(rivals)
    while parents:
        parents = set(await commit.children(parents)) - fallen
        fallen |= parents
    records = await commit.waiting(fallen)
    return sorted(
        records,
        key=lambda record: (record.status is Status.REPLACED, record.subject.tx_hash not in rivals, record.uid),
    )
