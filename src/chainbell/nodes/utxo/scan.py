"""What the bytes of a block or transaction say, in domain types, once they fit together. Pure, strict, and lean.

Whatever is malformed raises ``BadAnswerError``, and nothing else does. What a block spends and pays is under its merkle
root; witnesses are not, and nothing here comes from them.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from chainbell.domain.chain import BlockRef
from chainbell.domain.utxo import Making, UtxoBlock, UtxoTransaction
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.block_bytes import RawBlock, read_block, refusing
from chainbell.nodes.utxo.merkle import merkle_root
from chainbell.nodes.utxo.transaction_bytes import Extension, RawTransaction, read_transaction

_NOTHING: Final = bytes(32) + b"\xff" * 4
"""The outpoint of a coinbase's only input."""
_HOGEX_SCRIPT = bytes.fromhex("5820")
"""How the first output of a HogEx begins: witness version 8 and 32 bytes (LIP-2)."""
_HOGEX_SCRIPT_BYTES = 34


def scan_block(raw: bytes, height: int, *, auxpow: bool = False, mweb: bool = False) -> UtxoBlock:
    """Read a whole block as it is serialised on the wire; its height is what the node said of its hash.

    ``auxpow``: the chain is merge-mined (Dogecoin). ``mweb``: it has an extension block (Litecoin, LIP-2): of that one
    only what leaves it is read, from the HogEx that the block ends with; its first output is the extension block's balance.

    Raises:
        BadAnswerError: it is malformed, or its parts do not fit together; the message says what, and of which block.

    """
    with refusing(f"block {height}"):
        block = read_block(raw, auxpow=auxpow, mweb=mweb)
        _check(block)
        return UtxoBlock(
            ref=BlockRef(height, block.hash, block.parent_hash),
            timestamp=block.timestamp,
            transactions=_in_domain(block, mweb=mweb),
        )


def scan_transaction(raw: bytes, txid: bytes | None = None, *, mweb: bool = False) -> UtxoTransaction:
    """Read one transaction as it is serialised on the wire, also a coinbase or HogEx.

    ``txid`` is that of the transaction that was asked for. One that is in the extension block alone (``mweb``) spends and
    pays nothing here, and its id, which is not told by the bytes that are read, is the given one.

    Raises:
        BadAnswerError: it is malformed, or another one than was asked for.

    """
    with refusing("a transaction" if txid is None else f"transaction {txid.hex()}"):
        transaction = read_alone(raw, mweb=mweb)
        if not transaction.outpoints:
            if txid is None:
                message = "it is of the extension block alone, and without its txid not to be named"
                raise BadAnswerError(message)
            return UtxoTransaction(txid, (), (), ())
        if txid not in {None, transaction.digest[::-1]}:
            message = f"the txid of its bytes is {transaction.digest[::-1].hex()}"
            raise BadAnswerError(message)
        scanned = UtxoTransaction(transaction.digest[::-1], transaction.outpoints, transaction.scripts, transaction.amounts)
        if scanned.outpoints == (_NOTHING,):
            return scanned._replace(outpoints=(), making=Making.COINBASE)
        _check_outpoints(scanned.outpoints)
        return scanned._replace(making=Making.PEG_OUT) if transaction.extension is Extension.HOGEX else scanned


def read_alone(raw: bytes, *, mweb: bool) -> RawTransaction:
    """Read the one transaction that ``raw`` is.

    Raises:
        BadAnswerError: it is malformed, or not all there is.
        IndexError: the bytes end too early.
        struct.error: the same.

    """
    transaction = read_transaction(raw, 0, mweb=mweb)
    if transaction.end != len(raw):
        message = f"{len(raw) - transaction.end} bytes after it are no part of it"
        raise BadAnswerError(message)
    return transaction


def _check(block: RawBlock) -> None:
    """Demand what every block of every chain of the family holds, so that nothing later has to ask."""
    first, *others = block.transactions
    if first.outpoints != (_NOTHING,):
        message = "its first transaction is no coinbase"
        raise BadAnswerError(message)
    _check_outpoints([*chain.from_iterable([transaction.outpoints for transaction in others])])
    if merkle_root([transaction.digest for transaction in block.transactions]) != block.root:
        message = "its transactions do not give the merkle root of its header"
        raise BadAnswerError(message)


def _check_outpoints(outpoints: Sequence[bytes]) -> None:
    distinct = set(outpoints)
    if _NOTHING in distinct:
        message = "a transaction other than its first spends what only a coinbase can"
        raise BadAnswerError(message)
    if len(distinct) != len(outpoints):
        message = "it spends an output twice"
        raise BadAnswerError(message)


def _in_domain(block: RawBlock, *, mweb: bool) -> tuple[UtxoTransaction, ...]:
    transactions = [UtxoTransaction(one.digest[::-1], one.outpoints, one.scripts, one.amounts) for one in block.transactions]
    transactions[0] = transactions[0]._replace(outpoints=(), making=Making.COINBASE)
    if mweb and len(transactions) > 1 and _is_hogex(block.transactions[-1]):
        transactions[-1] = transactions[-1]._replace(making=Making.PEG_OUT)
    return tuple(transactions)


def _is_hogex(last: RawTransaction) -> bool:
    """Whether a block's last transaction is its HogEx, also where the node leaves its flag out (``-rpcserialversion=1``)."""
    script = last.scripts[0]
    flagged = last.extension is Extension.HOGEX
    return flagged or (script.startswith(_HOGEX_SCRIPT) and len(script) == _HOGEX_SCRIPT_BYTES)
