"""What unlocking data shows of the outputs that it unlocked: a second look at the bytes of what was scanned. Pure."""

from dataclasses import replace

from chainbell.domain.utxo import UtxoBlock, UtxoTransaction
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.block_bytes import read_block, refusing
from chainbell.nodes.utxo.scan import read_alone
from chainbell.nodes.utxo.transaction_bytes import RawTransaction, read_unlocking, read_witnesses
from chainbell.nodes.utxo.unlocking import fitting_scripts


def reveal(raw: bytes, block: UtxoBlock, *, auxpow: bool = False, mweb: bool = False) -> UtxoBlock:
    """Return a block that was scanned with ``revealed`` of every transaction; ``raw`` is the same block, read again.

    Witnesses are not under the merkle root: what they show is the node's word.

    Raises:
        BadAnswerError: it is malformed, or another block.

    """
    with refusing(f"block {block.ref.height}"):
        again = read_block(raw, auxpow=auxpow, mweb=mweb)
        if again.hash != block.ref.hash or len(again.transactions) != len(block.transactions):
            message = f"it is not block {block.ref.hash.hex()}, which was read before"
            raise BadAnswerError(message)
        pairs = zip(again.transactions, block.transactions, strict=True)
        return replace(block, transactions=tuple([_revealed(raw, one, transaction) for one, transaction in pairs]))


def reveal_transaction(raw: bytes, transaction: UtxoTransaction, *, mweb: bool = False) -> UtxoTransaction:
    """Return a transaction that was scanned with ``revealed``; ``raw`` is the same one, read again.

    Raises:
        BadAnswerError: it is malformed, or another transaction.

    """
    with refusing(f"transaction {transaction.hash.hex()}"):
        return _revealed(raw, read_alone(raw, mweb=mweb), transaction)


def _revealed(raw: bytes, again: RawTransaction, transaction: UtxoTransaction) -> UtxoTransaction:
    if not transaction.outpoints:
        return transaction._replace(revealed=())
    if again.digest[::-1] != transaction.hash:
        message = f"it is not what was read before: transaction {transaction.hash.hex()} is now another"
        raise BadAnswerError(message)
    unlocking, witnesses = read_unlocking(raw, again), read_witnesses(raw, again)
    return transaction._replace(revealed=(*map(fitting_scripts, unlocking, witnesses),))
