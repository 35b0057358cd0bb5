"""Every unspent output of some scripts, from one node's set of them (``scantxoutset``): minutes of work for the node."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError
from chainbell.domain.utxo import Unspent, UnspentSet
from chainbell.nodes.errors import BadAnswerError, NodeTimeoutError, RpcError, ScanBusyError, answered_by
from chainbell.nodes.utxo.json_data import digest, entries, members, number, unspent

SCAN_SECONDS = 3600.0
"""How long one scan may take: a slow disk needs many minutes for the main chain."""
_ABORT_SECONDS = 5.0


class Call(Protocol):
    """Asks one thing that may take ``seconds``."""

    async def __call__(self, method: str, params: Sequence[object], /, *, seconds: float) -> object:
        """Ask it."""
        ...


class UnspentScanner:
    """Has one node scan its unspent outputs."""

    def __init__(self, name: str, call: Call, header: Callable[[bytes], Awaitable[BlockRef | None]]) -> None:
        """Ask the node ``name`` by ``call``; ``header`` looks up a block by its hash."""
        self._name = name
        self._call = call
        self._header = header

    async def scan(self, scripts: Sequence[bytes]) -> UnspentSet:
        """Give every unspent output of these scripts, as of the block that the node then tells.

        Raises:
            ScanBusyError: the node is in the middle of another scan.
            NodeError: it did not answer usably.

        """
        wanted = frozenset(scripts)
        try:
            answer = await self._call(
                "scantxoutset", ["start", [f"raw({script.hex()})" for script in sorted(wanted)]], seconds=SCAN_SECONDS
            )
        except RpcError as error:
            if "in progress" in error.reason:
                message = (
                    f"node {self._name} scans its unspent outputs for somebody else, and does one such scan at a time: "
                    'it is asked again; bitcoin-cli scantxoutset abort ends the other one, "status" shows how far it is'
                )
                raise ScanBusyError(message) from error
            raise
        except (asyncio.CancelledError, NodeTimeoutError):
            # Whoever asks next would find our own scan in the way.
            await self._abort()
            raise
        return await self._result(answer, wanted)

    async def _result(self, answer: object, wanted: frozenset[bytes]) -> UnspentSet:
        with answered_by(self._name):
            said = members(answer)
            if said.get("success") is not True:
                message = "its scan of unspent outputs was aborted by somebody: it is asked again"
                raise BadAnswerError(message)
            block_hash, height = digest(said.get("bestblock")), number(said.get("height"))
            found = tuple([unspent(each) for each in entries(said.get("unspents"))])
            _check(found, wanted, height)
        ref = await self._header(block_hash)
        if ref is None or ref.height != height:
            message = f"node {self._name}: it scanned at block {height}, {block_hash.hex()}, and does not know that block"
            raise BadAnswerError(message)
        return UnspentSet(ref, found)

    async def _abort(self) -> None:
        with suppress(NodeError):
            await self._call("scantxoutset", ["abort"], seconds=_ABORT_SECONDS)


def _check(found: Sequence[Unspent], wanted: frozenset[bytes], height: int) -> None:
    if len({each.outpoint for each in found}) != len(found):
        message = "it lists an unspent output twice"
        raise BadAnswerError(message)
    if any(each.script not in wanted or each.height > height for each in found):
        message = "it lists an unspent output that was not asked for, or that lies above the block of its scan"
        raise BadAnswerError(message)
