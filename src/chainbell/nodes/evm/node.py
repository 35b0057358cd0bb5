"""One node of an EVM chain: its tip, its blocks read whole and checked, and what its contracts say of themselves."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from chainbell.domain.block import Block, ScannedBlock
from chainbell.domain.chain import BlockCheck, BlockRef, Capability
from chainbell.domain.node import Tip
from chainbell.domain.utxo import Lacking
from chainbell.nodes.errors import (
    BadAnswerError,
    BadLogsError,
    LacksCapabilityError,
    RpcError,
    answered_by,
)
from chainbell.nodes.evm.blocks import BlockReader, known, ref_of_hash, ref_of_height
from chainbell.nodes.evm.decode import block_ref, block_time
from chainbell.nodes.evm.hexdata import octets, quantity, to_hex
from chainbell.nodes.evm.token import DECIMALS_CALL, SYMBOL_CALL, TokenFacts, decimals_of, symbol_of
from chainbell.nodes.identity import NodeIdentity
from chainbell.nodes.pipeline import in_order
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.steady import SteadyRpc

PROOF_BLOCKS = 8
"""How far below an empty tip a block with transactions is looked for, that receipts can be proved on."""
_NO_FINALITY = {-39001, -32602, -32601, -32000}
"""Errors that say "nothing is final": unknown block (execution-apis), no such tag, or none yet (go-ethereum)."""
_REVERTED = 3
"""Code of a reverted ``eth_call`` (execution-apis); some clients say it only in words."""
_REVERT_WORDS = ("revert", "invalid opcode", "out of gas", "stack underflow", "jump destination")


class EvmNode:
    """One node. What it gives was checked; every failure is a ``NodeError`` that names the node.

    After ``accept`` nothing is given that came over a new connection until the node proved again that it is the same:
    behind one URL there may be another server by then.
    """

    def __init__(self, rpc: Rpc, *, checks: Collection[BlockCheck], contracts: Collection[bytes] = ()) -> None:
        """Read through ``rpc``; ``checks`` are those that the chain's definition promises, ``contracts`` its tokens."""
        self._rpc = rpc
        self._steady = SteadyRpc(rpc, self.identify)
        self._ask = self._steady.ask
        self._blocks = BlockReader(rpc.name, self._ask, checks)
        self._heard: Callable[[Tip], None] | None = None
        self.list_tokens(contracts)

    @property
    def name(self) -> str:
        """What to call this node: its URL without secrets."""
        return self._rpc.name

    @property
    def place(self) -> str:
        """Which node this is, whatever it is called."""
        return self._rpc.endpoint.place

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Read the transfers of these token contracts from now on, and of no others."""
        self._blocks.listed = {to_hex(contract): contract for contract in contracts}

    async def identify(self) -> NodeIdentity:
        """Ask which chain this is.

        Raises:
            NodeError: it did not say.

        """
        chain_id, genesis = await self._rpc.batch([("eth_chainId", []), ("eth_getBlockByNumber", ["0x0", False])])
        with answered_by(self.name):
            return NodeIdentity(quantity(chain_id), ref_of_height(genesis, 0).hash)

    def accept(self, identity: NodeIdentity) -> None:
        """Take ``identity``, as just read, as what this node must go on to be."""
        self._steady.accept(identity)

    def tell_tips(self, heard: Callable[[Tip], None]) -> None:
        """Call ``heard`` with each tip that is read from now on."""
        self._heard = heard

    async def confirm(self) -> None:
        """Make the node prove again that it is the one that was accepted; nothing to do before.

        Raises:
            WrongChainError: it is of another chain by now.
            NodeError: it did not say.

        """
        await self._steady.confirm()

    async def prove(self, promised: Collection[Capability]) -> None:
        """Make the node show that it can do what is ``promised`` of it: read its tip whole, checks included.

        Where the tip has no transactions, the few blocks below it are read too: nothing is proved on an empty block.

        Raises:
            LacksCapabilityError: it gives the block not whole, or not at all; the message says what it lacks.
            NodeError: it did not answer.

        """
        try:
            await self._read_tip_whole()
        except (BadAnswerError, RpcError):
            await self._read_last_proof(promised)

    async def _read_last_proof(self, promised: Collection[Capability]) -> None:
        """Look a second time: a reorg between two answers looks like a node that lacks something."""
        try:
            await self._read_tip_whole()
        except (BadAnswerError, RpcError) as error:
            lacking = [Capability.LOGS] if isinstance(error, BadLogsError) else sorted(promised)
            message = f"{error}. So it lacks what this chain's nodes are promised to show: {', '.join(lacking)}"
            raise LacksCapabilityError(message) from error

    async def tip(self) -> BlockRef:
        """Give the newest block.

        Raises:
            NodeError: the node has none, or did not answer usably.

        """
        (block,) = await self._ask([("eth_getBlockByNumber", ["latest", False])])
        with answered_by(self.name):
            ref, mined_at = block_ref(block), block_time(block)
        if self._heard is not None:
            self._heard(Tip(ref.height, mined_at))
        return ref

    async def finalized(self) -> BlockRef | None:
        """Give the block that the node calls finalized; None when it has none, or does not know the tag.

        Raises:
            NodeError: the node did not answer usably.

        """
        try:
            (block,) = await self._ask([("eth_getBlockByNumber", ["finalized", False])])
        except RpcError as error:
            if error.code in _NO_FINALITY:
                return None
            raise
        with answered_by(self.name):
            return None if block is None else block_ref(block)

    async def header(self, block_hash: bytes) -> BlockRef | None:
        """Give the reference of a block by its hash; None when the node does not know it.

        Raises:
            NodeError: the node did not answer usably.

        """
        (block,) = await self._ask([("eth_getBlockByHash", [to_hex(block_hash), False])])
        with answered_by(self.name):
            return None if block is None else ref_of_hash(block, block_hash)

    async def headers(self, first: int, last: int) -> list[BlockRef]:
        """Give the references of the node's chain from height ``first`` to ``last``, both included.

        The list ends before the first height that the node does not have. Whether they are linked is not checked.

        Raises:
            NodeError: the node did not answer usably.

        """
        blocks = await self._ask([("eth_getBlockByNumber", [hex(height), False]) for height in range(first, last + 1)])
        with answered_by(self.name):
            return [ref_of_height(block, height) for height, block in enumerate(known(blocks), first)]

    async def blocks(self, refs: Sequence[BlockRef]) -> list[ScannedBlock]:
        """Read these blocks whole, by hash, in the order given.

        The list ends before the first block that the node does not know any more: the chain moved, look again.

        Raises:
            NodeError: one could not be read whole, or does not fit together; nothing is given then.

        """
        return await self._blocks.by_hash([ref.hash for ref in refs])

    async def blocks_from(self, first: int, last: int) -> list[ScannedBlock]:
        """Read the blocks of the node's chain from height ``first`` to ``last``, both included: the way to catch up.

        Receipts are read by the hash that each height had a moment before. The list ends before the first height that
        the node does not have. Whether the blocks are linked is not checked: the chain may have moved in between.

        Raises:
            NodeError: one could not be read whole, or does not fit together; nothing is given then.

        """
        return await self._blocks.by_height(first, last)

    async def complete(self, blocks: Sequence[Block], lacking: Lacking) -> list[Block]:
        """Give the same blocks: as they are read here, they lack nothing."""
        del lacking
        return list(blocks)

    async def token_facts(self, contract: bytes) -> TokenFacts:
        """Ask a token contract for its symbol and decimals, at the tip.

        Raises:
            NodeError: the node did not answer. That the contract did not is no error: see ``TokenFacts``.

        """
        symbol, decimals, code = await in_order(
            [
                partial(self._view, contract, SYMBOL_CALL),
                partial(self._view, contract, DECIMALS_CALL),
                partial(self._bytes, "eth_getCode", [to_hex(contract), "latest"]),
            ],
            depth=3,
        )
        return TokenFacts(symbol_of(symbol), decimals_of(decimals), has_code=bool(code))

    async def close(self) -> None:
        """Close the connections."""
        await self._rpc.close()

    async def _read_tip_whole(self) -> None:
        tip = await self.tip()
        blocks = await self.blocks([tip])
        if not blocks:
            message = f"node {self.name}: it announces block {tip.height}, and does not give it"
            raise BadAnswerError(message)
        if not blocks[0].transactions:
            await self.blocks_from(max(tip.height - PROOF_BLOCKS, 1), tip.height - 1)

    async def _view(self, contract: bytes, selector: str) -> bytes:
        """Call a view function; nothing when the contract refuses the call."""
        try:
            return await self._bytes("eth_call", [{"to": to_hex(contract), "data": selector}, "latest"])
        except RpcError as error:
            reason = error.reason.lower()
            if error.code == _REVERTED or any(word in reason for word in _REVERT_WORDS):
                return b""
            raise

    async def _bytes(self, method: str, params: list[Any]) -> bytes:
        (answer,) = await self._ask([(method, params)])
        with answered_by(self.name):
            return octets(answer)
