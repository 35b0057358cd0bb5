"""An RPC endpoint that is held to be the same node for as long as it is asked."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chainbell.nodes.errors import WrongChainError
from chainbell.nodes.identity import NodeIdentity
from chainbell.nodes.rpc import Request, Rpc


class SteadyRpc:
    """Asks a node, and after ``accept`` gives nothing that came over a new connection before the node proved itself again.

    Behind one URL there may be another server by then.
    """

    def __init__(self, rpc: Rpc, identify: Callable[[], Awaitable[NodeIdentity]]) -> None:
        """Ask through ``rpc``; ``identify`` asks which chain it is of."""
        self._rpc = rpc
        self._identify = identify
        self._accepted: NodeIdentity | None = None
        self._confirmed_connections = 0

    def accept(self, identity: NodeIdentity) -> None:
        """Take ``identity``, as just read, as what this node must go on to be."""
        self._accepted = identity
        self._confirmed_connections = self._rpc.connections

    async def confirm(self) -> None:
        """Make the node prove again that it is the one that was accepted; nothing to do before.

        Raises:
            WrongChainError: it is of another chain by now.
            NodeError: it did not say.

        """
        self._confirmed_connections = -1
        await self._confirm()

    async def ask(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several things, as ``Rpc.batch`` does."""
        results = await self._rpc.batch(requests)
        await self._confirm()
        return results

    async def each(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several things, as ``Rpc.each`` does: an ``RpcError`` stands in place of what was answered with an error."""
        results = await self._rpc.each(requests)
        await self._confirm()
        return results

    async def call(
        self, method: str, params: Sequence[Any], *, seconds: float, max_bytes: int | None = None, once: bool = False
    ) -> object:
        """Ask one thing that may take as long as ``seconds``, and be as large as ``max_bytes``, as ``Rpc.call`` does."""
        result = await self._rpc.call(method, params, seconds=seconds, max_bytes=max_bytes, once=once)
        await self._confirm()
        return result

    async def _confirm(self) -> None:
        """Make sure that what was just read came from the node that was accepted."""
        connections = self._rpc.connections
        if self._accepted is None or connections == self._confirmed_connections:
            return
        found = await self._identify()
        if found != self._accepted:
            message = f"node {self._rpc.name} has become another one: it was {self._accepted}, and is {found}"
            raise WrongChainError(message)
        self._confirmed_connections = connections
