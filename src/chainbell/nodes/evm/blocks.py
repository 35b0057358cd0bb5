"""Reading full blocks from one node: bodies and receipts together, checked, several at a time."""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import BlockCheck, BlockRef
from chainbell.nodes.errors import BadAnswerError, answered_by
from chainbell.nodes.evm.decode import block_ref, scan_block
from chainbell.nodes.evm.hexdata import to_hex
from chainbell.nodes.evm.receipts import Ask, ReceiptReader, complete
from chainbell.nodes.pipeline import in_order

AT_ONCE = 8
"""Full blocks asked for at once: an answer of 1-10 MB, decoded before the loop's other tasks would notice."""
IN_FLIGHT = 3
"""While one such answer is decoded, the node prepares the next ones."""


class BlockReader:
    """Reads full blocks; what it gives was checked. A list ends where the node knows no more."""

    def __init__(self, name: str, ask: Ask, checks: Collection[BlockCheck]) -> None:
        """Ask the node ``name`` by ``ask``, and hold its blocks to ``checks``."""
        self._name = name
        self._ask = ask
        self._checks = frozenset(checks)
        self._receipts = ReceiptReader(ask)
        self.listed: dict[str, bytes] = {}
        """Token contracts that count, by their lower-case hex."""

    async def by_hash(self, hashes: Sequence[bytes]) -> list[ScannedBlock]:
        """Read these blocks, in this order.

        Raises:
            NodeError: one of them could not be read whole, or does not fit together.

        """
        parts = [hashes[start : start + AT_ONCE] for start in range(0, len(hashes), AT_ONCE)]
        return _joined(parts, await in_order([partial(self._some_by_hash, part) for part in parts], IN_FLIGHT))

    async def by_height(self, first: int, last: int) -> list[ScannedBlock]:
        """Read the blocks that these heights (both included) have now.

        Raises:
            NodeError: one of them could not be read whole, or does not fit together.

        """
        parts = [range(start, min(start + AT_ONCE, last + 1)) for start in range(first, last + 1, AT_ONCE)]
        return _joined(parts, await in_order([partial(self._some_by_height, part) for part in parts], IN_FLIGHT))

    async def _some_by_hash(self, hashes: Sequence[bytes]) -> list[ScannedBlock]:
        """Ask for bodies and receipts at the same time where both go by hash."""
        bodies, receipts = await in_order([partial(self._bodies, hashes), partial(self._receipts.by_hash, hashes)], 2)
        bodies = known(bodies or [])
        with answered_by(self._name):
            refs = [ref_of_hash(body, block_hash) for body, block_hash in zip(bodies, hashes, strict=False)]
            found = None if receipts is None else complete(refs, receipts[: len(bodies)])
        return await self._scanned(bodies, found)

    async def _some_by_height(self, heights: Sequence[int]) -> list[ScannedBlock]:
        bodies = known(await self._ask([("eth_getBlockByNumber", [hex(height), True]) for height in heights]))
        with answered_by(self._name):
            for body, height in zip(bodies, heights, strict=False):
                ref_of_height(body, height)
        return await self._scanned(bodies, None)

    async def _bodies(self, hashes: Sequence[bytes]) -> list[Any] | None:
        return await self._ask([("eth_getBlockByHash", [to_hex(block_hash), True]) for block_hash in hashes])

    async def _scanned(self, bodies: Sequence[Any], receipts: Sequence[Any] | None) -> list[ScannedBlock]:
        blocks: list[ScannedBlock] = []
        with answered_by(self._name):
            answers = await self._receipts.of(bodies) if receipts is None else receipts
            for body, answer in zip(bodies, answers, strict=True):
                blocks.append(scan_block(body, answer, self.listed, self._checks))
                # A block takes milliseconds: in between, the loop's other tasks have their turn.
                await asyncio.sleep(0)
        return blocks


def known(blocks: Sequence[Any]) -> list[Any]:
    """Give what comes before the first block that the node does not know."""
    return list(takewhile(lambda block: block is not None, blocks))


def ref_of_hash(block: object, block_hash: bytes) -> BlockRef:
    """Read the reference of a block that was asked for by its hash.

    Raises:
        BadAnswerError: it is another one.

    """
    ref = block_ref(block)
    if ref.hash != block_hash:
        message = f"asked for block {to_hex(block_hash)}, it gave {to_hex(ref.hash)}"
        raise BadAnswerError(message)
    return ref


def ref_of_height(block: object, height: int) -> BlockRef:
    """Read the reference of a block that was asked for by its height.

    Raises:
        BadAnswerError: it is another one.

    """
    ref = block_ref(block)
    if ref.height != height:
        message = f"asked for height {height}, it gave {ref.height}"
        raise BadAnswerError(message)
    return ref


def _joined(parts: Sequence[Sequence[object]], read: Sequence[list[ScannedBlock]]) -> list[ScannedBlock]:
    """Give all blocks up to the first part that is not complete, that one included."""
    blocks: list[ScannedBlock] = []
    for part, found in zip(parts, read, strict=True):
        blocks += found
        if len(found) < len(part):
            break
    return blocks
