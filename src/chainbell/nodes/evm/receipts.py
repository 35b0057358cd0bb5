"""How a node gives the receipts of blocks: all of a block at once by hash, by number, or one by one."""

import re
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Any

from chainbell.domain.chain import BlockRef
from chainbell.nodes.errors import BadAnswerError, RpcError
from chainbell.nodes.evm.decode import block_ref, block_transactions
from chainbell.nodes.evm.hexdata import to_hex
from chainbell.nodes.rpc import Request

Ask = Callable[[Sequence[Request]], Awaitable[list[Any]]]

_NO_SUCH_METHOD = {-32601, -32004}
"""JSON-RPC "method not found", EIP-1474 "method not supported"."""
_WRONG_PARAMETERS = -32602
_NO_METHOD = re.compile(
    r"method.{0,60}(not (found|exist|support|allow|available|whitelisted)|does not exist)", re.IGNORECASE
)


class Way(Enum):
    """A way to receipts."""

    BY_HASH = auto()
    """``eth_getBlockReceipts`` with a block hash, as execution-apis has it: go-ethereum, reth, Erigon, anvil."""
    BY_NUMBER = auto()
    """... with a number, where the node takes only those: the check of each receipt's block hash makes it as good."""
    ONE_BY_ONE = auto()
    """``eth_getTransactionReceipt``, where the node has nothing else."""


class ReceiptReader:
    """Reads receipts in the best way that its node has, and remembers which that is."""

    def __init__(self, ask: Ask) -> None:
        """Ask the node by ``ask``."""
        self._ask = ask
        self.way = Way.BY_HASH

    async def by_hash(self, hashes: Sequence[bytes]) -> list[Any] | None:
        """Receipts of these blocks, null for one that the node does not know; None when it has not this way.

        Raises:
            NodeError: they were not all answered.

        """
        if self.way is not Way.BY_HASH:
            return None
        try:
            return await self._ask([("eth_getBlockReceipts", [to_hex(block_hash)]) for block_hash in hashes])
        except RpcError as error:
            self._learn(error)
            return None

    async def of(self, bodies: Sequence[object]) -> list[Any]:
        """Receipts of these full blocks, one list for each; unchecked.

        Raises:
            BadAnswerError: the node has none for one of them.
            NodeError: they were not all answered.

        """
        refs = [block_ref(body) for body in bodies]
        if (found := await self.by_hash([ref.hash for ref in refs])) is not None:
            return complete(refs, found)
        if self.way is Way.BY_NUMBER:
            try:
                return complete(refs, await self._ask([("eth_getBlockReceipts", [hex(ref.height)]) for ref in refs]))
            except RpcError as error:
                self._learn(error)
        return await self._one_by_one(bodies)

    async def _one_by_one(self, bodies: Sequence[object]) -> list[Any]:
        hashes = [block_transactions(body) for body in bodies]
        found = iter(await self._ask([("eth_getTransactionReceipt", [to_hex(one)]) for block in hashes for one in block]))
        return [[next(found) for _ in block] for block in hashes]

    def _learn(self, error: RpcError) -> None:
        """Take the next way if the error says that there is not this one; else raise it."""
        if error.code in _NO_SUCH_METHOD or _NO_METHOD.search(error.reason):
            self.way = Way.ONE_BY_ONE
        elif error.code == _WRONG_PARAMETERS:
            self.way = Way.BY_NUMBER if self.way is Way.BY_HASH else Way.ONE_BY_ONE
        else:
            raise error


def complete(refs: Sequence[BlockRef], found: Sequence[Any]) -> list[Any]:
    """Give the receipts found if there are some for each of these blocks.

    Raises:
        BadAnswerError: the node has the block, but not (yet, or not any more) its receipts.

    """
    for ref, receipts in zip(refs, found, strict=True):
        if receipts is None:
            message = f"it has block {ref.height} ({to_hex(ref.hash)}), but no receipts for it"
            raise BadAnswerError(message)
    return list(found)
