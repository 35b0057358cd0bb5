"""Reading raw blocks from one node: each scanned and checked as it comes, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple, TypeAlias

from chainbell.domain.utxo import UtxoBlock
from chainbell.nodes.errors import BadAnswerError, PrunedError, RpcError, answered_by
from chainbell.nodes.pipeline import in_order
from chainbell.nodes.rpc import Request
from chainbell.nodes.utxo.json_data import digest, octets
from chainbell.nodes.utxo.reveal import reveal
from chainbell.nodes.utxo.scan import scan_block

Each: TypeAlias = Callable[[Sequence[Request]], Awaitable[list[Any]]]
"""Asks several things; an ``RpcError`` stands in place of what was answered with an error."""

AT_ONCE = 4
"""Raw blocks asked for at once: 3 MB of hex each when they are full."""
IN_FLIGHT = 2
"""While one such answer is scanned, the node prepares the next one."""
MISSING = {-5, -1}
"""Not found, and "Block not found on disk" or "not available": RPC_INVALID_ADDRESS_OR_KEY, RPC_MISC_ERROR."""
_OUT_OF_RANGE = -8
"""No such height: RPC_INVALID_PARAMETER."""


class Format(NamedTuple):
    """What blocks of a chain may hold beside the usual."""

    auxpow: bool = False
    """The chain is merge-mined."""
    mweb: bool = False
    """The chain has an extension block (LIP-2)."""


class BlockReader:
    """Reads blocks whole; what it gives was checked. A list ends where the node knows no more."""

    def __init__(self, name: str, each: Each, form: Format) -> None:
        """Ask the node ``name`` by ``each``; its blocks are of the form ``form``."""
        self._name = name
        self._each = each
        self._form = form

    async def hashes(self, first: int, last: int) -> list[bytes]:
        """Give the hashes that these heights, both included, have now.

        Raises:
            NodeError: the node did not answer usably.

        """
        answers = await self._each([("getblockhash", [height]) for height in range(first, last + 1)])
        there = [*takewhile(lambda answer: not (isinstance(answer, RpcError) and answer.code == _OUT_OF_RANGE), answers)]
        with answered_by(self._name):
            return [digest(refuse_errors(answer)) for answer in there]

    async def by_height(self, first: int, last: int) -> list[UtxoBlock]:
        """Read the blocks that these heights, both included, have now.

        Raises:
            PrunedError: the node has deleted one of them.
            NodeError: one of them could not be read whole, or does not fit together.

        """
        numbered = [*enumerate(await self.hashes(first, last), first)]
        parts = [numbered[start : start + AT_ONCE] for start in range(0, len(numbered), AT_ONCE)]
        blocks: list[UtxoBlock] = []
        for part, found in zip(
            parts, await in_order([partial(self._some, first, part) for part in parts], IN_FLIGHT), strict=True
        ):
            blocks += found
            if len(found) < len(part):
                break
        return blocks

    async def revealed(self, blocks: Sequence[UtxoBlock]) -> list[UtxoBlock]:
        """Read these blocks again, for the scripts that their inputs reveal.

        Raises:
            PrunedError: the node has deleted one of them.
            NodeError: one of them is not there any more, or could not be read whole.

        """
        parts = [blocks[start : start + AT_ONCE] for start in range(0, len(blocks), AT_ONCE)]
        read = await in_order([partial(self._some_revealed, part) for part in parts], IN_FLIGHT)
        return [block for part in read for block in part]

    async def _some(self, first: int, numbered: Sequence[tuple[int, bytes]]) -> list[UtxoBlock]:
        answers = await self._raw([block_hash for _, block_hash in numbered])
        blocks: list[UtxoBlock] = []
        for (height, block_hash), answer in zip(numbered, answers, strict=True):
            if isinstance(answer, RpcError):
                self._require_only_missing(answer, height, alone=height == first)
                break
            with answered_by(self._name):
                block = scan_block(octets(answer), height, auxpow=self._form.auxpow, mweb=self._form.mweb)
                if block.ref.hash != block_hash:
                    message = f"asked for block {block_hash.hex()}, it gave {block.ref.hash.hex()}"
                    raise BadAnswerError(message)
            blocks.append(block)
            # A full block takes tens of milliseconds: in between, the loop's other tasks have their turn.
            await asyncio.sleep(0)
        return blocks

    async def _some_revealed(self, blocks: Sequence[UtxoBlock]) -> list[UtxoBlock]:
        answers = await self._raw([block.ref.hash for block in blocks])
        revealed: list[UtxoBlock] = []
        for block, answer in zip(blocks, answers, strict=True):
            if isinstance(answer, RpcError):
                self._require_only_missing(answer, block.ref.height, alone=True)
                raise answer
            with answered_by(self._name):
                revealed.append(reveal(octets(answer), block, auxpow=self._form.auxpow, mweb=self._form.mweb))
            await asyncio.sleep(0)
        return revealed

    async def _raw(self, hashes: Sequence[bytes]) -> list[Any]:
        return await self._each([("getblock", [block_hash.hex(), False]) for block_hash in hashes])

    def _require_only_missing(self, error: RpcError, height: int, *, alone: bool) -> None:
        """Let a block be not there yet; but never one that was deleted, nor one that the node's disk lost."""
        if error.code not in MISSING:
            raise error
        if "pruned" in error.reason:
            message = (
                f"node {self._name} has pruned block {height}, which is still to be read: name a node that has it, or let "
                "this one download it again, with a larger prune= or none, by -reindex; nothing is skipped meanwhile"
            )
            raise PrunedError(message)
        if "on disk" in error.reason and alone:
            raise error


def refuse_errors(answer: object) -> object:
    """Give an answer back, unless it is an error."""
    if isinstance(answer, RpcError):
        raise answer
    return answer
