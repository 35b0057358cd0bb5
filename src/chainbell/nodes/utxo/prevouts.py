"""What transactions spend, from one node: by whichever of its ways works.

In a block: from its undo data (``getrawtransaction`` 2 with the block's hash, Bitcoin Core 24 and later), or from the
transactions spent themselves, of which a transaction index has all. In the mempool: from the set of unspent outputs, in
which everything is that was not made in the mempool too.
"""

from collections.abc import Iterable, Mapping, Sequence

from chainbell.domain.utxo import Prevout, Prevouts, UtxoBlock, UtxoTransaction
from chainbell.nodes.errors import BadAnswerError, ForbiddenError, NodeStartingError, RpcError, answered_by
from chainbell.nodes.utxo.blocks import Each, Format, refuse_errors
from chainbell.nodes.utxo.json_data import members, octets, output, prevouts
from chainbell.nodes.utxo.scan import scan_transaction

_NOT_FOUND = -5
_NOT_TOLD = {_NOT_FOUND, -1, -3, -8, -32602}
"""Not there or deleted; or it does not take what is asked: RPC_MISC_ERROR (its help text), RPC_TYPE_ERROR,
RPC_INVALID_PARAMETER, RPC_INVALID_PARAMS."""
_NO_METHOD = -32601
_ROUNDS = 3
"""How often a mempool is looked into again that moves while it is read."""


class PrevoutReader:
    """Resolves what transactions spend, through one node."""

    def __init__(self, name: str, each: Each, form: Format) -> None:
        """Ask the node ``name`` by ``each``; what it gives is of the form ``form``."""
        self._name = name
        self._each = each
        self._form = form
        self._tells = False
        """Whether it last told what transactions in a block spend: then all are asked for at once."""
        self._index = False
        """Whether it had an index of all transactions when it was last asked, finished or not."""

    async def of_blocks(self, blocks: Sequence[UtxoBlock], wanted: Iterable[bytes]) -> Prevouts:
        """Give what the ``wanted`` transactions among these blocks spend; None for an input where that cannot be had.

        Raises:
            NodeError: the node did not answer usably, or can tell only later.

        """
        hashes = frozenset(wanted)
        homes = [(block, each) for block in blocks for each in block.transactions if each.hash in hashes]
        found: dict[bytes, Prevout] = {}
        self._take(found, homes, {each.hash: each for block in blocks for each in block.transactions})
        homes_lacking = [(block, each) for block, each in homes if _missing(found, [each])]
        if homes_lacking:
            await self._from_undo(found, homes_lacking)
        if lacking := _missing(found, [each for _, each in homes_lacking]):
            await self._look_for_index()
            if self._index:
                await self._from_transactions(found, lacking)
        return {each.hash: self._collected(found, each) for _, each in homes}

    async def of_mempool(self, transactions: Sequence[UtxoTransaction], beside: Sequence[UtxoTransaction]) -> Prevouts:
        """Give what these transactions of the mempool spend; ``beside`` are others in it whose outputs they may spend.

        One that left the mempool meanwhile is not in the answer.

        Raises:
            NodeError: the node did not answer usably.

        """
        found: dict[bytes, Prevout] = {}
        self._take(found, [(None, each) for each in transactions], {each.hash: each for each in (*beside, *transactions)})
        for _ in range(_ROUNDS):
            if not (lacking := _missing(found, transactions)):
                break
            await self._from_unspents(found, lacking)
            await self._from_transactions(found, _missing(found, transactions))
        return {each.hash: self._collected(found, each) for each in transactions if not _missing(found, [each])}

    def _collected(self, found: Mapping[bytes, Prevout], transaction: UtxoTransaction) -> tuple[Prevout | None, ...]:
        """Give what a transaction spends, once the amounts are possible: those of prevouts are the node's mere word.

        No chain of the family takes a transaction that makes more than it spends; where an input is not known, it may be
        worth anything.
        """
        spent = tuple([found.get(point) for point in transaction.outpoints])
        known = [each.amount for each in spent if each is not None]
        if spent and len(known) == len(spent) and (lacking := sum(transaction.amounts) - sum(known)) > 0:
            message = (
                f"node {self._name}: by what it says of its inputs, transaction {transaction.hash.hex()} makes {lacking} "
                "more in base units than it spends"
            )
            raise BadAnswerError(message)
        return spent

    def _take(
        self,
        found: dict[bytes, Prevout],
        homes: Sequence[tuple[UtxoBlock | None, UtxoTransaction]],
        near: Mapping[bytes, UtxoTransaction],
    ) -> None:
        """Find what was made near by, without asking."""
        for _, transaction in homes:
            for point in transaction.outpoints:
                if (parent := near.get(_txid(point))) is not None and (made := _output_of(parent, point)) is not None:
                    found[point] = made

    async def _from_undo(self, found: dict[bytes, Prevout], homes: Sequence[tuple[UtxoBlock, UtxoTransaction]]) -> None:
        """Read undo data. A block can lack it that lies between others that have it: what one shows holds for no other.

        So a "no" is never kept. It only has one transaction of each block asked for first the next time.
        """
        first = homes if self._tells else [*{block.ref.hash: (block, each) for block, each in reversed(homes)}.values()]
        telling = await self._ask_undo(found, first)
        self._tells = bool(telling)
        asked = {each.hash for _, each in first}
        if rest := [(block, each) for block, each in homes if each.hash not in asked and block.ref.hash in telling]:
            await self._ask_undo(found, rest)

    async def _ask_undo(
        self, found: dict[bytes, Prevout], homes: Sequence[tuple[UtxoBlock, UtxoTransaction]]
    ) -> frozenset[bytes]:
        """Ask for these transactions in their blocks; give the hashes of the blocks of which it tells what is spent."""
        answers = await self._each(
            [("getrawtransaction", [each.hash.hex(), 2, block.ref.hash.hex()]) for block, each in homes]
        )
        telling = set()
        for (block, transaction), answer in zip(homes, answers, strict=True):
            if isinstance(answer, RpcError) and answer.code in _NOT_TOLD:
                continue
            with answered_by(self._name):
                told = prevouts(refuse_errors(answer), transaction.outpoints)
            found |= {point: each for point, each in zip(transaction.outpoints, told, strict=True) if each is not None}
            if None not in told:
                telling.add(block.ref.hash)
        return frozenset(telling)

    async def _look_for_index(self) -> None:
        """Look whether to ask for transactions by their txid alone. A node that cannot say is taken to have an index.

        That is asked each time: a node that was started anew may have one now.
        """
        try:
            (answer,) = await self._each([("getindexinfo", [])])
        except ForbiddenError:
            answer = {"txindex": None}
        if isinstance(answer, RpcError) and answer.code == _NO_METHOD:
            answer = {"txindex": None}
        with answered_by(self._name):
            self._index = "txindex" in members(refuse_errors(answer))

    async def _from_transactions(self, found: dict[bytes, Prevout], lacking: Sequence[bytes]) -> None:
        """Read the transactions that made the outputs, where the node has them in its index or in its mempool."""
        txids = [*dict.fromkeys(map(_txid, lacking))]
        parents: dict[bytes, UtxoTransaction] = {}
        for txid, answer in zip(txids, await self._each(_reading(txids)), strict=True):
            if isinstance(answer, RpcError) and answer.code == _NOT_FOUND:
                self._require_index_is_whole(answer)
                continue
            with answered_by(self._name):
                parents[txid] = scan_transaction(octets(refuse_errors(answer)), txid, mweb=self._form.mweb)
        for point in lacking:
            parent = parents.get(_txid(point))
            if parent is not None and (made := _output_of(parent, point)) is not None:
                found[point] = made

    def _require_index_is_whole(self, error: RpcError) -> None:
        if "being indexed" in error.reason and self._index:
            message = (
                f"node {self._name} still builds its index of transactions, and cannot say yet what a transaction spends: "
                "wait until it is done (getindexinfo shows how far it is), or set txindex=0 and do without senders"
            )
            raise NodeStartingError(message)

    async def _from_unspents(self, found: dict[bytes, Prevout], lacking: Sequence[bytes]) -> None:
        asked = [("gettxout", [_txid(point).hex(), _index(point), False]) for point in lacking]
        for point, answer in zip(lacking, await self._each(asked), strict=True):
            with answered_by(self._name):
                if refuse_errors(answer) is not None:
                    found[point] = output(answer)


def _reading(txids: Sequence[bytes]) -> list[tuple[str, list[object]]]:
    return [("getrawtransaction", [txid.hex(), False]) for txid in txids]


def _missing(found: Mapping[bytes, Prevout], transactions: Iterable[UtxoTransaction]) -> list[bytes]:
    return [point for transaction in transactions for point in transaction.outpoints if point not in found]


def _txid(point: bytes) -> bytes:
    return point[31::-1]


def _index(point: bytes) -> int:
    return int.from_bytes(point[32:], "little")


def _output_of(transaction: UtxoTransaction, point: bytes) -> Prevout | None:
    index = _index(point)
    if index >= len(transaction.scripts):
        return None
    return Prevout(transaction.scripts[index], transaction.amounts[index])
