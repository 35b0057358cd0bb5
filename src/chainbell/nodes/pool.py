"""The nodes of one chain: use the first that is healthy and of the right chain."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from structlog.typing import FilteringBoundLogger

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import NodeError
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import NoUsableNodeError, WrongChainError
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.health import Health, NodeState, NodeStatus
from chainbell.nodes.identity import complaint
from chainbell.nodes.rpc import TIMEOUT, Rpc

log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance, as the composition root hands them in."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    """Seconds of a steady clock."""
    chance: Callable[[], float]
    """A random number in [0, 1)."""


@dataclass(slots=True, eq=False)
class _Slot:
    node: EvmNode
    health: Health
    probe: "asyncio.Task[None] | None" = None


class NodePool:
    """Several nodes of one chain, in order of preference.

    None is read before it said of which chain it is, nor after it failed before it said so again.
    """

    def __init__(
        self,
        definition: ChainDefinition,
        nodes: Sequence[EvmNode],
        surroundings: Surroundings,
        *,
        genesis_hash: bytes | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Take ``nodes`` of the chain ``definition``; ``genesis_hash`` is the one stored at first start, if any."""
        self._definition = definition
        self._around = surroundings
        self._backoff = backoff or Backoff()
        self._genesis = genesis_hash
        self._slots = [_Slot(node, Health(NodeState.UNTRIED, surroundings.now())) for node in nodes]

    @property
    def genesis_hash(self) -> bytes | None:
        """The genesis that every node must have; None until a first one has been identified. To be stored."""
        return self._genesis

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Read the transfers of these token contracts from now on, and of no others."""
        for slot in self._slots:
            slot.node.list_tokens(contracts)

    async def current(self) -> EvmNode:
        """Give the node to use now: the first healthy one. Ask again for each batch of blocks.

        One that may be tried again is, beside the work of a healthy one, or while we wait when there is none.

        Raises:
            NoUsableNodeError: none can be used; it says of each why, and when one will be tried again.

        """
        probes = [self._probe(slot) for slot in self._slots if slot.health.is_due(self._around.monotonic())]
        for probe in [None, *probes]:
            if probe is not None:
                await asyncio.shield(probe)
            if node := self._first_healthy():
                return node
        raise self._none_usable()

    def report_failure(self, node: EvmNode, error: NodeError) -> None:
        """Leave a node alone for a while after it failed with ``error``; several reports of one failure count once."""
        for slot in self._slots:
            if slot.node is node and slot.health.state is NodeState.HEALTHY:
                self._failed(slot, error)

    def has_another(self, node: EvmNode) -> bool:
        """Tell whether there is another node than this one."""
        return any(slot.node is not node for slot in self._slots)

    def statuses(self) -> list[NodeStatus]:
        """Say how each node is, in order of preference."""
        return [NodeStatus(slot.node.name, slot.health.state, slot.health.reason, slot.health.since) for slot in self._slots]

    async def close(self) -> None:
        """Stop asking, and close all connections."""
        probes = [slot.probe for slot in self._slots if slot.probe is not None]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for slot in self._slots:
            await slot.node.close()

    def _first_healthy(self) -> EvmNode | None:
        return next((slot.node for slot in self._slots if slot.health.state is NodeState.HEALTHY), None)

    def _probe(self, slot: _Slot) -> "asyncio.Task[None]":
        if slot.probe is None or slot.probe.done():
            slot.probe = asyncio.create_task(self._identify(slot))
        return slot.probe

    async def _identify(self, slot: _Slot) -> None:
        try:
            identity = await slot.node.identify()
        except NodeError as error:
            self._failed(slot, error)
            return
        if reason := complaint(identity, self._definition, self._genesis):
            message = f"node {slot.node.name} is of another chain: {reason}; point it at a node of {self._definition.name}"
            self._failed(slot, WrongChainError(message))
            return
        self._genesis = identity.genesis_hash
        slot.node.accept(identity)
        slot.health = slot.health.recovered(self._around.now())
        log.info("node.healthy", chain=self._definition.name, node=slot.node.name)

    def _failed(self, slot: _Slot, error: NodeError) -> None:
        before = slot.health
        slot.health = before.failed(
            error,
            at=self._around.monotonic(),
            now=self._around.now(),
            backoff=self._backoff,
            chance=self._around.chance(),
        )
        if isinstance(error, WrongChainError):
            log.error("node.wrong_chain", chain=self._definition.name, node=slot.node.name, reason=str(error))
        elif before.reason != slot.health.reason:
            log.warning("node.failing", chain=self._definition.name, node=slot.node.name, reason=str(error))

    def _none_usable(self) -> NoUsableNodeError:
        if not self._slots:
            message = f"chain {self._definition.name} has no node: set CHAINBELL_NODES__..."
            return NoUsableNodeError(message, self._backoff.cap)
        wait = max(0.0, min(slot.health.retry_at for slot in self._slots) - self._around.monotonic())
        reasons = "; ".join(str(slot.health.reason) for slot in self._slots)
        message = f"chain {self._definition.name} has no usable node: {reasons}"
        return NoUsableNodeError(message, wait)


def open_pool(
    definition: ChainDefinition,
    endpoints: Sequence[Endpoint],
    surroundings: Surroundings,
    *,
    genesis_hash: bytes | None = None,
    timeout: float = TIMEOUT,
) -> NodePool:
    """Make the pool of a chain's nodes, with all tokens of its definition listed; connects to none of them yet.

    ``timeout`` is in seconds, for one whole answer.
    """
    contracts = [token.contract for token in definition.tokens]
    nodes = [
        EvmNode(Rpc(endpoint, timeout=timeout), checks=definition.checks, contracts=contracts) for endpoint in endpoints
    ]
    return NodePool(definition, nodes, surroundings, genesis_hash=genesis_hash)
