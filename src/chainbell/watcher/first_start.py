"""A chain's first cursor, given once: just below ``start_height``, or the tip of that moment."""

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.following import KeptLedger
from chainbell.watcher.local_chain import check_linked
from chainbell.watcher.ports import Node


async def first_ledger(definition: ChainDefinition, node: Node) -> KeptLedger | None:
    """Read the first cursor and what lies below it: its own block, too, may be reorganised away.

    None while the node has not got so far. Raises `NodeError`.
    """
    height = (await node.tip()).height if definition.start_height is None else max(definition.start_height - 1, 0)
    refs = await node.headers(max(height - definition.reorg_limit, 0), height)
    if not refs or refs[-1].height < height:
        return None
    check_linked(refs[0].height, refs)
    return KeptLedger(tuple(refs))
