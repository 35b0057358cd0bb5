"""Every unspent output of some scripts, from one node's set of them (``scantxoutset``): minutes of work for the node."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import NodeError, TooMuchAskedError
from chainbell.domain.utxo import Unspent, UnspentSet
from chainbell.nodes.errors import (
    BadAnswerError,
    BatchTooLargeError,
    CutOffError,
    NodeStartingError,
    NodeTimeoutError,
    RateLimitedError,
    RpcError,
    ScanBusyError,
    answered_by,
)
from chainbell.nodes.utxo.json_data import digest, entries, height, members, unspent

SCAN_SECONDS = 3600.0
"""How long one scan may take: a slow disk needs many minutes for the main chain."""
MOST_BYTES = 256 * 2**20
"""Largest answer for many scripts: some 600,000 outputs. Where it is larger, fewer can be asked for."""
MOST_BYTES_OF_ONE = 2**30
"""Largest answer for one script, of which there is no half: more than two million outputs."""
_ABORT_SECONDS = 5.0
_AT_ONCE = 10_000
"""Outputs that are read before the loop's other tasks have their turn."""
_ACCIDENTS = 2
"""Scans in a row that end with their connection, from which on it is said why that may be."""
_OUT_OF_MEMORY = -7
_NO_METHOD = -32601
_SIZE = re.compile(
    r"too (much|many|large|big|long)|out of memory|(size|response|result|length).{0,20}(limit|exceed)", re.IGNORECASE
)


class Call(Protocol):
    """Asks one thing that may take ``seconds``, and be as large as ``max_bytes`` (None: as anything else).

    ``once``: it is never sent a second time of our own accord.
    """

    async def __call__(
        self, method: str, params: Sequence[object], /, *, seconds: float, max_bytes: int | None = None, once: bool = False
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
        self._cut_off = 0
        """How many scans in a row ended with their connection."""

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
        except CutOffError as error:
            raise self._after_cut(error) from error
        self._cut_off = 0
        return await self._result(answer, wanted)

    async def _start(self, wanted: frozenset[bytes]) -> object:
        """Have it scan; whatever ends that early ends the scan too: whoever asks next would find it in the way."""
        try:
            # Sent again by itself, it would find the first one in the way, and be taken for somebody else's.
            return await self._call(
                "scantxoutset",
                ["start", [f"raw({script.hex()})" for script in sorted(wanted)]],
                seconds=SCAN_SECONDS,
                max_bytes=self._most_bytes if len(wanted) > 1 else self._most_bytes_of_one,
                once=True,
            )
        except (RateLimitedError, NodeStartingError):
            # It never began; another one, if there is one, is not ours to end.
            raise
        except RpcError as error:
            raise await self._refusal(error) from error
        except (asyncio.CancelledError, NodeError):
            await self._abort()
            raise

    async def _refusal(self, error: RpcError) -> NodeError:
        """Say what an error means that was answered; a gateway can have made it up while the scan goes on."""
        if "in progress" in error.reason:
            message = (
                f"node {self._name} scans its unspent outputs for somebody else, and does one such scan at a time: "
                'it is asked again; bitcoin-cli scantxoutset abort ends the other one, "status" shows how far it is'
            )
            return ScanBusyError(message)
        if error.code != _NO_METHOD:
            await self._abort()
        if error.code == _OUT_OF_MEMORY or _SIZE.search(error.reason):
            return TooMuchAskedError(str(error))
        return error

    def _after_cut(self, error: CutOffError) -> NodeError:
        """Count a scan that ended with its connection, and say what may be done where that is no accident."""
        self._cut_off += 1
        if self._cut_off < _ACCIDENTS:
            return error
        message = (
            f"{error}; its scan of unspent outputs has ended so {self._cut_off} times in a row: something between us and "
            "the node, such as a proxy, may cut requests that take minutes. Let that wait for an answer for up to "
            f"{SCAN_SECONDS:g} s (nginx: proxy_read_timeout; HAProxy: timeout server), or name the node's own address"
        )
        return CutOffError(message)

    async def _result(self, answer: object, wanted: frozenset[bytes]) -> UnspentSet:
        with answered_by(self._name):
            said = members(answer)
            if said.get("success") is not True:
                message = "its scan of unspent outputs was aborted by somebody: it is asked again"
                raise BadAnswerError(message)
            block_hash, at = digest(said.get("bestblock")), height(said.get("height"))
            found = await _read(entries(said.get("unspents")))
            _check(found, wanted, at)
        ref = await self._header(block_hash)
        if ref is None or ref.height != at:
            message = f"node {self._name}: it scanned at block {at}, {block_hash.hex()}, and does not know that block"
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


def _check(found: Sequence[Unspent], wanted: frozenset[bytes], at: int) -> None:
    if len({each.outpoint for each in found}) != len(found):
        message = "it lists an unspent output twice"
        raise BadAnswerError(message)
    if any(each.script not in wanted or each.height > at for each in found):
        message = "it lists an unspent output that was not asked for, or that lies above the block of its scan"
        raise BadAnswerError(message)
