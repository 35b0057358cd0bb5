"""What waits in a mempool falls with what it comes from: the inputs of ancestors are claimed too, whoever they belong to."""

from collections.abc import Collection, Iterable

from chainbell.domain.utxo import Lacking, MempoolView, UtxoTransaction, created_by
from chainbell.tracker.ports import ChainCommit
from chainbell.tracker.spending import SpentOutput


async def look_up_ancestors(
    commit: ChainCommit, tracked: Collection[bytes], view: MempoolView
) -> tuple[SpentOutput, ...] | Lacking:
    """Return what the ancestors of tracked transactions of a view spend, as far as it is not in the ledger of inputs yet.

    `Lacking` where some of them, in the mempool too, must be read first.
    """
    near = {transaction.hash: transaction for transaction in (*view.beside, *view.arrived)}
    found: dict[bytes, UtxoTransaction] = {}
    parents = _parents(near[tx_hash] for tx_hash in tracked)
    passed = set(tracked)
    while parents := {parent for parent in parents if parent in view.present} - passed:
        passed |= parents
        known = await commit.claimed_by(parents)
        new = parents - known.keys()
        if missing := frozenset(new - near.keys()):
            return Lacking(frozenset(), ancestors=missing)
        found |= {parent: near[parent] for parent in new}
        # What is known already may come from what was in a block when it became known.
        parents = _parents(near[parent] for parent in new) | {created_by(spent) for some in known.values() for spent in some}
    return tuple(
        SpentOutput(spent, transaction.hash, None) for transaction in found.values() for spent in transaction.outpoints
    )


def _parents(transactions: Iterable[UtxoTransaction]) -> set[bytes]:
    return {created_by(spent) for transaction in transactions for spent in transaction.outpoints}
