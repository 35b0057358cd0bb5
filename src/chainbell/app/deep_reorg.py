"""``chainbell chain accept-reorg``: follow a node's chain that left ours deeper than any reorg followed by itself."""

import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from chainbell.app.services import Services
from chainbell.app.watching import chain_pool
from chainbell.domain.address import format_hash
from chainbell.domain.chain import BlockRef, ChainDefinition
from chainbell.domain.errors import ConflictError, InputError
from chainbell.domain.following import Stale
from chainbell.domain.transaction import BlockPoint
from chainbell.events.publish import publish
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.storage.audit import Deed
from chainbell.storage.chains import ChainStates
from chainbell.storage.deep_reorg import AcceptedReorg, AcceptedReorgStore, DeepReorgs, Standing, TakenBack
from chainbell.telemetry.clock import now
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.local_chain import LocalChain, check_linked

_LEASE = timedelta(seconds=8)
"""Long enough for the commit to begin, and no longer than a follower's is taken to be."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What accepting would do."""

    chain: ChainDefinition
    node: str
    """Whose chain it is: the URL without secrets."""
    tip: BlockRef
    cursor: BlockRef
    ledger: Sequence[BlockRef]
    """Linked blocks of both chains; the last is the highest that we know to be in both."""
    taken_back: Sequence[TakenBack]
    uids: Sequence[str]

    @property
    def ancestor(self) -> BlockRef:
        """The highest block that we know to be in both chains."""
        return self.ledger[-1]

    @property
    def depth(self) -> int:
        """How many blocks are taken back."""
        return self.cursor.height - self.ancestor.height


def actor() -> str:
    """Return who runs this command, for the audit."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


async def propose(services: Services, definition: ChainDefinition) -> Proposal:
    """Find the common ancestor of our chain and the node's, and what would be taken back.

    Raises `InputError` where there is nothing to accept, and says why; `NodeError` when no node can be read.
    """
    if definition.name not in services.settings.nodes:
        message = f"{definition.name} has no node: set CHAINBELL_NODES__{definition.name.upper().replace('-', '_')}"
        raise InputError(message)
    reorgs = DeepReorgs(services.database)
    standing = await reorgs.standing(definition.name)
    async with _node_of(services, definition) as node:
        tip = await node.tip()
        await _refuse_what_is_no_deep_reorg(reorgs, node, tip, standing, definition)
        ancestor = await _ancestor(reorgs, node, definition.name, standing.cursor.height)
        if ancestor is None:
            raise _nothing_in_common(definition, node)
        followed_from = await _lowest_followed(services, standing, definition)
        if ancestor.height >= followed_from:
            message = (
                f"the chain of {node.name} left ours above block {ancestor.height}, no deeper than reorg_limit "
                f"({standing.reorg_limit}): `chainbell run` follows it by itself down to block {followed_from}, there is "
                "nothing to accept"
            )
            raise InputError(message)
        ledger = await _ledger(node, ancestor, standing.reorg_limit)
        taken_back, uids = await reorgs.taken_back(definition.name, ancestor.height)
        return Proposal(definition, node.name, tip, standing.cursor, ledger, taken_back, uids)


async def accept(services: Services, proposal: Proposal) -> int:
    """Take back what was shown, in one commit, and return how many events tell it.

    Raises `ConflictError` when the chain, ours or the node's, is not any more as it was shown.
    """
    definition, ancestor = proposal.chain, proposal.ancestor
    await _refuse_a_node_that_moved(services, proposal)
    reorgs = DeepReorgs(services.database)
    fence = await reorgs.take_over(definition.name, proposal.cursor, f"accept-reorg/{actor()}", _LEASE)
    if fence is None:
        moved = f"our cursor is not at block {proposal.cursor.height} any more"
        raise _moved(moved)
    deed = Deed(actor(), now(), _details(proposal))
    store = AcceptedReorgStore(services.database, publish, AcceptedReorg(fence, proposal.cursor, proposal.ledger, deed))
    policy = Policy(definition.required_depth, screening=services.settings.screening != "off")
    try:
        outcome = await Tracker(store, definition, policy).retract(fence, proposal.cursor, ancestor, deed.at)
        if isinstance(outcome, Stale):
            raise _moved(outcome.reason)
    finally:
        await reorgs.give_back(definition.name, fence)
    return outcome.events


@asynccontextmanager
async def _node_of(services: Services, definition: ChainDefinition) -> AsyncIterator[EvmNode | UtxoNode]:
    pool = await chain_pool(services, definition)
    try:
        yield await pool.current()
    finally:
        await pool.close()


async def _refuse_what_is_no_deep_reorg(
    reorgs: DeepReorgs, node: EvmNode | UtxoNode, tip: BlockRef, standing: Standing, definition: ChainDefinition
) -> None:
    cursor = standing.cursor
    if tip.height < cursor.height - standing.reorg_limit:
        message = (
            f"the tip {tip.height} of {node.name} lies more than reorg_limit ({standing.reorg_limit}) below our cursor "
            f"{cursor.height}: it is behind, or still syncing. Wait until it has caught up, or name another node of "
            f"{definition.name}"
        )
        raise InputError(message)
    ours = await reorgs.newest_known(definition.name, min(tip.height, cursor.height))
    if ours is None or not await _has(node, ours):
        return
    if tip.height < cursor.height:
        message = (
            f"the tip {tip.height} of {node.name} is a block of ours below our cursor {cursor.height}: it is behind, and "
            "there is no reorg to accept. Wait until it has caught up"
        )
    else:
        message = (
            f"our cursor {cursor.height} is on the chain of {node.name}: there is no reorg to accept. If the chain does "
            "not go on, see in `chainbell status` what keeps it"
        )
    raise InputError(message)


async def _lowest_followed(services: Services, standing: Standing, definition: ChainDefinition) -> int:
    """Return the height of the lowest ancestor to which `run` follows a reorg by itself.

    Fewer linked blocks than reorg_limit may be kept: after it was raised, or after several reorgs in a row.
    """
    kept = await ChainStates(services.database).kept(definition)
    return LocalChain(kept, standing.reorg_limit).floor


async def _has(node: EvmNode | UtxoNode, block: BlockPoint) -> bool:
    """Tell whether a block is on the node's best chain."""
    theirs = await node.headers(block.height, block.height)
    return bool(theirs) and theirs[0].hash == block.hash


async def _ancestor(reorgs: DeepReorgs, node: EvmNode | UtxoNode, chain: str, height: int) -> BlockRef | None:
    """Return the highest block of our chain, among those whose hash is known, that the node's chain has too.

    Where a node has one block of ours it has all below it: so half of what is left is ruled out by each question.
    """
    found, low, high = None, 0, height
    while low <= high:
        middle = (low + high) // 2
        ours = await reorgs.newest_known(chain, middle)
        if ours is None or ours.height < low:
            low = middle + 1
            continue
        theirs = await node.headers(ours.height, ours.height)
        if theirs and theirs[0].hash == ours.hash:
            found, low = theirs[0], middle + 1
        else:
            high = ours.height - 1
    return found


async def _ledger(node: EvmNode | UtxoNode, ancestor: BlockRef, reorg_limit: int) -> list[BlockRef]:
    """Read the blocks below the ancestor, so that a reorg of its own is followed again from there on."""
    refs = await node.headers(max(ancestor.height - reorg_limit, 0), ancestor.height)
    check_linked(max(ancestor.height - reorg_limit, 0), refs)
    if not refs or refs[-1] != ancestor:
        moved = "the node's chain moved while it was read"
        raise _moved(moved)
    return refs


async def _refuse_a_node_that_moved(services: Services, proposal: Proposal) -> None:
    """The operator may have thought about it for long: what was shown must still hold."""
    again = await propose(services, proposal.chain)
    if again.ancestor.hash != proposal.ancestor.hash or again.cursor != proposal.cursor:
        moved = "the node's chain joins ours elsewhere by now"
        raise _moved(moved)


def _details(proposal: Proposal) -> dict[str, object]:
    kind = proposal.chain.kind
    return {
        "node": proposal.node,
        "tip": {"height": proposal.tip.height, "hash": format_hash(kind, proposal.tip.hash)},
        "cursor": {"height": proposal.cursor.height, "hash": format_hash(kind, proposal.cursor.hash)},
        "ancestorHash": format_hash(kind, proposal.ancestor.hash),
        "blocks": proposal.depth,
        "transactions": len(proposal.uids),
    }


def _moved(what: str) -> ConflictError:
    return ConflictError(f"{what}: nothing was taken back. Run the command again and look at what it shows then")


def _nothing_in_common(definition: ChainDefinition, node: EvmNode | UtxoNode) -> InputError:
    return InputError(
        f"{node.name} has no block of ours, not even the oldest that we know: it serves another chain than the one that "
        f"{definition.name} was started on, or a pruned part of it. Nothing was taken back. Ask another node; if this one "
        "is right, restore a backup from before the split, or start with a new database"
    )
