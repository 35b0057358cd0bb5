"""One node's mempool: what is in it, between two looks at its tip, and what arrived in it."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from graphlib import TopologicalSorter

from chainbell.domain.errors import NodeError
from chainbell.domain.utxo import Lacking, MempoolView, UtxoTransaction, with_prevouts
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import RpcError, answered_by
from chainbell.nodes.pipeline import in_order
from chainbell.nodes.utxo.blocks import Each, Format, refuse_errors
from chainbell.nodes.utxo.json_data import digest, digests, members, octets
from chainbell.nodes.utxo.prevouts import PrevoutReader
from chainbell.nodes.utxo.reveal import reveal_transaction
from chainbell.nodes.utxo.scan import scan_transaction

AT_ONCE = 100
"""Transactions asked for at once."""
IN_FLIGHT = 2
_LOOKS = 3
"""How often it is looked again when a block came in between."""
_NOT_FOUND = -5


class MempoolReader:
    """Reads the mempool of one node."""

    def __init__(self, endpoint: Endpoint, each: Each, form: Format, prevouts: PrevoutReader) -> None:
        """Ask the node of ``endpoint`` by ``each``; ``prevouts`` finds what transactions spend."""
        self._name = endpoint.name
        self._place = endpoint.place
        self._each = each
        self._form = form
        self._prevouts = prevouts

    async def view(self, known: Collection[bytes]) -> MempoolView:
        """Look at it; what is not ``known`` and there is read.

        What leaves it while we read was present, and is not among what arrived.

        Raises:
            NodeError: the node did not answer usably, or blocks came faster than we could look.

        """
        for _ in range(_LOOKS):
            look = [("getbestblockhash", []), ("getmempoolinfo", []), ("getrawmempool", [False]), ("getbestblockhash", [])]
            before, info, listed, after = [refuse_errors(answer) for answer in await self._each(look)]
            with answered_by(self._name):
                tip, moved = digest(before), before != after
                loaded = members(info).get("loaded") is True
                present = digests(listed)
            if not moved:
                arrived, _ = await self._read([txid for txid in present if txid not in known])
                return MempoolView(self._place, tip, arrived, frozenset(present), loaded)
        message = f"node {self._name}: its tip moved each time that its mempool was read: it is looked at again"
        raise NodeError(message)

    async def completed(self, view: MempoolView, lacking: Lacking) -> MempoolView:
        """Give the view with what its arrived transactions lack, without those of them that left the mempool meanwhile.

        An ancestor that left is not present any more.

        Raises:
            NodeError: the node did not answer usably.

        """
        wanted = [each for each in view.arrived if each.hash in lacking.prevouts and each.prevouts is None]
        found = await self._prevouts.of_mempool(wanted, view.arrived)
        gone = {each.hash for each in wanted} - found.keys()
        arrived = with_prevouts([each for each in view.arrived if each.hash not in gone], found)
        if lacking.revealed:
            arrived = await self._revealed(arrived)
        beside, unread = await self._read([*lacking.ancestors])
        return replace(view, arrived=arrived, beside=(*view.beside, *beside), present=frozenset(view.present) - unread)

    async def _read(self, txids: Sequence[bytes]) -> tuple[tuple[UtxoTransaction, ...], set[bytes]]:
        """Read these transactions, parents before children; and those that are gone."""
        raw = await self._raw(txids)
        transactions: dict[bytes, UtxoTransaction] = {}
        for start in range(0, len(txids), AT_ONCE):
            for txid in txids[start : start + AT_ONCE]:
                if txid in raw:
                    with answered_by(self._name):
                        transactions[txid] = scan_transaction(raw.pop(txid), txid, mweb=self._form.mweb)
            await asyncio.sleep(0)
        return parents_first(transactions), set(txids) - transactions.keys()

    async def _revealed(self, transactions: Sequence[UtxoTransaction]) -> tuple[UtxoTransaction, ...]:
        raw = await self._raw([each.hash for each in transactions])
        revealed: list[UtxoTransaction] = []
        for transaction in transactions:
            if transaction.hash in raw:
                with answered_by(self._name):
                    revealed.append(reveal_transaction(raw[transaction.hash], transaction, mweb=self._form.mweb))
        return tuple(revealed)

    async def _raw(self, txids: Sequence[bytes]) -> dict[bytes, bytes]:
        parts = [txids[start : start + AT_ONCE] for start in range(0, len(txids), AT_ONCE)]
        read = await in_order([partial(self._some_raw, part) for part in parts], IN_FLIGHT)
        return {txid: raw for part in read for txid, raw in part.items()}

    async def _some_raw(self, txids: Sequence[bytes]) -> dict[bytes, bytes]:
        answers = await self._each([("getrawtransaction", [txid.hex(), False]) for txid in txids])
        raw: dict[bytes, bytes] = {}
        for txid, answer in zip(txids, answers, strict=True):
            if isinstance(answer, RpcError) and answer.code == _NOT_FOUND:
                continue
            with answered_by(self._name):
                raw[txid] = octets(refuse_errors(answer))
        return raw


def parents_first(transactions: dict[bytes, UtxoTransaction]) -> tuple[UtxoTransaction, ...]:
    """Put transactions, given by txid, in an order in which each comes after those that it spends."""
    parents = {
        txid: [parent for point in each.outpoints if (parent := point[31::-1]) in transactions]
        for txid, each in transactions.items()
    }
    return tuple([transactions[txid] for txid in TopologicalSorter(parents).static_order()])
