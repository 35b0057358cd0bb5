"""One node of a chain of the Bitcoin family: its tip, its blocks scanned and checked, its mempool, its unspent outputs."""

from collections.abc import Callable, Collection, Sequence

from chainbell.domain.block import Block
from chainbell.domain.chain import BlockRef, Capability
from chainbell.domain.errors import NodeBehindError
from chainbell.domain.node import Tip
from chainbell.domain.utxo import Lacking, MempoolView, UnspentSet, UtxoBlock, with_prevouts
from chainbell.nodes.errors import BadAnswerError, ForbiddenError, LacksCapabilityError, RpcError, answered_by
from chainbell.nodes.evm.token import TokenFacts
from chainbell.nodes.identity import NodeIdentity
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.steady import SteadyRpc
from chainbell.nodes.utxo.blocks import BlockReader, Format, refuse_errors
from chainbell.nodes.utxo.json_data import digest, digests, header_ref, header_tip, members, sync_problem
from chainbell.nodes.utxo.mempool import MempoolReader
from chainbell.nodes.utxo.prevouts import PrevoutReader
from chainbell.nodes.utxo.unspents import UnspentScanner

_NOT_FOUND = -5
_NO_TXID = "00" * 32
"""Of no transaction."""
_UNUSABLE = (BadAnswerError, RpcError, ForbiddenError)
"""What a node answers that lacks something."""


class UtxoNode:
    """One node. What it gives was checked; every failure is a ``NodeError`` that names the node.

    After ``accept`` nothing is given that came over a new connection until the node proved again that it is the same:
    behind one URL there may be another server by then.
    """

    def __init__(self, rpc: Rpc, form: Format) -> None:
        """Read through ``rpc``, which must speak the dialect of bitcoind; ``form`` is that of the chain's blocks."""
        self._rpc = rpc
        steady = self._steady = SteadyRpc(rpc, self.identify)
        self._blocks = BlockReader(rpc.name, steady.each, form)
        self._prevouts = PrevoutReader(rpc.name, steady.each, form)
        self._mempool = MempoolReader(rpc.endpoint, steady.each, form, self._prevouts)
        self._unspents = UnspentScanner(rpc.name, steady.call, self.header)
        self._heard: Callable[[Tip], None] | None = None
        self._last: tuple[BlockRef, Tip] | None = None

    @property
    def name(self) -> str:
        """What to call this node: its URL without secrets."""
        return self._rpc.name

    @property
    def place(self) -> str:
        """Which node this is, whatever it is called."""
        return self._rpc.endpoint.place

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Do nothing: there are no tokens."""

    async def identify(self) -> NodeIdentity:
        """Ask which chain this is.

        Raises:
            NodeError: it did not say.

        """
        genesis = await self._rpc.call("getblockhash", [0])
        with answered_by(self.name):
            return NodeIdentity(None, digest(genesis))

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
        """Make the node show that it has caught up, and can do what is ``promised`` of it: read its tip whole.

        Raises:
            NodeBehindError: it is still syncing; the message says how far it is.
            LacksCapabilityError: it gives no whole block, or does not show its mempool; the message says what it lacks.
            NodeError: it did not answer.

        """
        (info,) = await self._steady.ask([("getblockchaininfo", [])])
        with answered_by(self.name):
            problem = sync_problem(info)
        if problem is not None:
            message = f"node {self.name}: {problem}"
            raise NodeBehindError(message)
        try:
            await self._read_tip_whole()
        except _UNUSABLE:
            await self._read_last_proof()
        if Capability.MEMPOOL in promised:
            await self._prove_mempool()

    async def _read_last_proof(self) -> None:
        """Look a second time: a reorg between two answers looks like a node that lacks something."""
        try:
            await self._read_tip_whole()
        except _UNUSABLE as error:
            message = f"{error}. So it lacks what this chain's nodes are promised to show: {Capability.COIN}"
            raise LacksCapabilityError(message) from error

    async def _read_tip_whole(self) -> None:
        tip = await self.tip()
        if not await self.blocks_from(tip.height, tip.height):
            message = f"node {self.name}: it announces block {tip.height}, and does not give it"
            raise BadAnswerError(message)

    async def _prove_mempool(self) -> None:
        """Have it take whatever a look at its mempool may ask, one by one, so that what it refuses has its name."""
        try:
            (info,) = await self._steady.ask([("getmempoolinfo", [])])
            (listed,) = await self._steady.ask([("getrawmempool", [False])])
            with answered_by(self.name):
                members(info)
                digests(listed)
            await self._steady.ask([("gettxout", [_NO_TXID, 0, False])])
            (answer,) = await self._steady.each([("getrawtransaction", [_NO_TXID, False])])
            if isinstance(answer, RpcError) and answer.code != _NOT_FOUND:
                raise answer
        except _UNUSABLE as error:
            message = f"{error}. So it lacks what this chain's nodes are promised to show: {Capability.MEMPOOL}"
            raise LacksCapabilityError(message) from error

    async def tip(self) -> BlockRef:
        """Give the newest block.

        Raises:
            NodeError: the node did not answer usably.

        """
        (best,) = await self._steady.ask([("getbestblockhash", [])])
        with answered_by(self.name):
            best_hash = digest(best)
        if self._last is None or self._last[0].hash != best_hash:
            (header,) = await self._steady.ask([("getblockheader", [best_hash.hex()])])
            with answered_by(self.name):
                self._last = header_ref(header, best_hash), header_tip(header)
        ref, tip = self._last
        if self._heard is not None:
            self._heard(tip)
        return ref

    async def finalized(self) -> BlockRef | None:
        """Give nothing: these chains call no block final."""
        return None

    async def header(self, block_hash: bytes) -> BlockRef | None:
        """Give the reference of a block by its hash; None when the node does not know it.

        Raises:
            NodeError: the node did not answer usably.

        """
        (header,) = await self._steady.each([("getblockheader", [block_hash.hex()])])
        if isinstance(header, RpcError) and header.code == _NOT_FOUND:
            return None
        with answered_by(self.name):
            return header_ref(refuse_errors(header), block_hash)

    async def headers(self, first: int, last: int) -> list[BlockRef]:
        """Give the references of the node's chain from height ``first`` to ``last``, both included.

        The list ends before the first height that the node does not have. Whether they are linked is not checked.

        Raises:
            NodeError: the node did not answer usably.

        """
        hashes = await self._blocks.hashes(first, last)
        headers = await self._steady.ask([("getblockheader", [block_hash.hex()]) for block_hash in hashes])
        with answered_by(self.name):
            refs = [header_ref(header, block_hash) for header, block_hash in zip(headers, hashes, strict=True)]
            for height, ref in enumerate(refs, first):
                if ref.height != height:
                    message = f"asked for height {height}, it gave {ref.height}"
                    raise BadAnswerError(message)
        return refs

    async def blocks_from(self, first: int, last: int) -> list[UtxoBlock]:
        """Read the blocks of the node's chain from height ``first`` to ``last``, both included.

        The list ends before the first height that the node does not have. Whether the blocks are linked is not checked:
        the chain may have moved in between.

        Raises:
            PrunedError: the node has deleted one of them.
            NodeError: one could not be read whole, or does not fit together; nothing is given then.

        """
        return await self._blocks.by_height(first, last)

    async def complete(self, blocks: Sequence[Block], lacking: Lacking) -> list[Block]:
        """Give the same blocks with what they lack; None for what an input spends where that cannot be had.

        Raises:
            NodeError: the node did not answer usably, or can tell only later.

        """
        known = [block for block in blocks if isinstance(block, UtxoBlock)]
        found = await self._prevouts.of_blocks(known, lacking.prevouts)
        if lacking.revealed:
            known = await self._blocks.revealed(known)
        return [UtxoBlock(each.ref, each.timestamp, with_prevouts(each.transactions, found)) for each in known]

    async def mempool(self, known: Collection[bytes]) -> MempoolView:
        """Look at the mempool; of what is there, transactions that are not ``known`` (by txid) are read.

        Raises:
            NodeError: the node did not answer usably, or blocks came faster than we could look.

        """
        return await self._mempool.view(known)

    async def complete_view(self, view: MempoolView, lacking: Lacking) -> MempoolView:
        """Give the view with what its arrived transactions lack; what left the mempool meanwhile is not in it any more.

        Raises:
            NodeError: the node did not answer usably.

        """
        return await self._mempool.completed(view, lacking)

    async def unspents(self, scripts: Sequence[bytes]) -> UnspentSet:
        """Give every unspent output of these scripts, as of one block of the node's chain. It may take long.

        Raises:
            ScanBusyError: the node is in the middle of another scan.
            TooMuchAskedError: fewer scripts at once may be answered.
            NodeError: the node did not answer usably.

        """
        return await self._unspents.scan(scripts)

    async def token_facts(self, contract: bytes) -> TokenFacts:
        """Say that there is no such contract."""
        del contract
        return TokenFacts(None, None, has_code=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._rpc.close()
