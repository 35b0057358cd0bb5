"""Chainbell's own reader of a node of the Bitcoin family, opened for a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chainbell.nodes.answers import Dialect
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.utxo.blocks import Format
from chainbell.nodes.utxo.node import UtxoNode


@asynccontextmanager
async def reading(url: str, *, mweb: bool = False) -> AsyncIterator[UtxoNode]:
    node = UtxoNode(Rpc(Endpoint("the node", url), timeout=20, dialect=Dialect.BITCOIN), Format(mweb=mweb))
    try:
        yield node
    finally:
        await node.close()
