"""Every unspent output of some scripts, from one node's set of them (``scantxoutset``): minutes of work for the node."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError, TooMuchAskedError
from chainbell.domain.utxo import Unspent, UnspentSet
from chainbell.nodes.errors import BadAnswerError, BatchTooLargeError, NodeTimeoutError, RpcError, ScanBusyError, answered_by
from chainbell.nodes.utxo.json_data import digest, entries, members, number, unspent

SCAN_SECONDS = 3600.0
"""How long one scan may take: a slow disk needs many minutes for the main chain."""
MOST_BYTES = 256 * 2**20
"""Largest answer for many scripts: some 600,000 outputs. Where it is larger, fewer can be asked for."""
MOST_BYTES_OF_ONE = 2**30
"""Largest answer for one script, of which there is no half: more than two million outputs."""
_ABORT_SECONDS = 5.0
_AT_ONCE = 10_000
"""Outputs that are read before the loop's other tasks have their turn."""
_OUT_OF_MEMORY = -7
_SIZE = re.compile(
    r"too (much|many|large|big|long)|out of memory|(size|response|result|length).{0,20}(limit|exceed)", re.IGNORECASE
)


class Call(Protocol):
    """Asks one thing that may take ``seconds``, and be as large as ``max_bytes`` (None: as anything else)."""

    async def __call__(
        self, method: str, params: Sequence[object], /, *, seconds: float, max_bytes: int | None = None
    ) -> object:
        """Ask it."""
        ...


class UnspentScanner:
    """Has one node scan its unspent outputs."""

    def __init__(
        self,
        name: str,
        call: Call,
        header: Callable[[bytes], Awaitable[BlockRef | None]],
        *,
        most_bytes: int = MOST_BYTES,
        most_bytes_of_one: int = MOST_BYTES_OF_ONE,
    ) -> None:
        """Ask the node ``name`` by ``call``; ``header`` looks up a block by its hash."""
        self._most_bytes = most_bytes
        self._most_bytes_of_one = most_bytes_of_one
        self._name = name
        self._call = call
        self._header = header

    async def scan(self, scripts: Sequence[bytes]) -> UnspentSet:
        """Give every unspent output of these scripts, as of the block that the node then tells.

        Raises:
            ScanBusyError: the node is in the middle of another scan.
            TooMuchAskedError: it was too much at once, for the node or for us; fewer scripts may be answered.
            NodeError: it did not answer usably.

        """
        wanted = frozenset(scripts)
        try:
            answer = await self._start(wanted)
        except (BatchTooLargeError, NodeTimeoutError) as error:
            raise TooMuchAskedError(str(error)) from error
        return await self._result(answer, wanted)

    async def _start(self, wanted: frozenset[bytes]) -> object:
        try:
            return await self._call(
                "scantxoutset",
                ["start", [f"raw({script.hex()})" for script in sorted(wanted)]],
                seconds=SCAN_SECONDS,
                max_bytes=self._most_bytes if len(wanted) > 1 else self._most_bytes_of_one,
            )
        except RpcError as error:
            if "in progress" in error.reason:
                message = (
                    f"node {self._name} scans its unspent outputs for somebody else, and does one such scan at a time: "
                    'it is asked again; bitcoin-cli scantxoutset abort ends the other one, "status" shows how far it is'
                )
                raise ScanBusyError(message) from error
            if error.code == _OUT_OF_MEMORY or _SIZE.search(error.reason):
                raise TooMuchAskedError(str(error)) from error
            raise
        except (asyncio.CancelledError, NodeTimeoutError):
            # Whoever asks next would find our own scan in the way.
            await self._abort()
            raise

    async def _result(self, answer: object, wanted: frozenset[bytes]) -> UnspentSet:
        with answered_by(self._name):
            said = members(answer)
            if said.get("success") is not True:
                message = "its scan of unspent outputs was aborted by somebody: it is asked again"
                raise BadAnswerError(message)
            block_hash, height = digest(said.get("bestblock")), number(said.get("height"))
            found = await _read(entries(said.get("unspents")))
            _check(found, wanted, height)
        ref = await self._header(block_hash)
        if ref is None or ref.height != height:
            message = f"node {self._name}: it scanned at block {height}, {block_hash.hex()}, and does not know that block"
            raise BadAnswerError(message)
        return UnspentSet(ref, tuple(found))

    async def _abort(self) -> None:
        with suppress(NodeError):
            await self._call("scantxoutset", ["abort"], seconds=_ABORT_SECONDS)


async def _read(told: Sequence[object]) -> list[Unspent]:
    found: list[Unspent] = []
    for start in range(0, len(told), _AT_ONCE):
        found += [unspent(each) for each in told[start : start + _AT_ONCE]]
        await asyncio.sleep(0)
    return found


def _check(found: Sequence[Unspent], wanted: frozenset[bytes], height: int) -> None:
    if len({each.outpoint for each in found}) != len(found):
        message = "it lists an unspent output twice"
        raise BadAnswerError(message)
    if any(each.script not in wanted or each.height > height for each in found):
        message = "it lists an unspent output that was not asked for, or that lies above the block of its scan"
        raise BadAnswerError(message)
