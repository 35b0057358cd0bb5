"""The nodes of one chain: use the first that is healthy and of the right chain."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from chainbell.domain.chain import BlockRef, Capability, ChainDefinition
from chainbell.domain.errors import NodeBehindError, NodeError
from chainbell.domain.node import NodeState, NodeStatus, Tip
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.errors import LacksCapabilityError, NoUsableNodeError, WrongChainError
from chainbell.nodes.health import Health
from chainbell.nodes.identity import NodeIdentity, complaint
from chainbell.nodes.lag import behind, tolerated_lag
from chainbell.telemetry.metrics import NODE_FAILURES

log: FilteringBoundLogger = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0
"""How often all healthy nodes of a chain are compared: none is used for longer while it is too far behind another."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance, as the composition root hands them in."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    """Seconds of a steady clock."""
    chance: Callable[[], float]
    """A random number in [0, 1)."""


class PooledNode(Protocol):
    """What a pool asks of a node of any kind; whatever is awaited raises ``NodeError`` when it does not answer."""

    @property
    def name(self) -> str:
        """What to call it, without its secrets."""
        ...

    def tell_tips(self, heard: Callable[[Tip], None]) -> None:
        """Call ``heard`` with each tip that is read from now on."""
        ...

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Read the transfers of these token contracts from now on, and of no others."""
        ...

    async def identify(self) -> NodeIdentity:
        """Ask which chain it is of."""
        ...

    def accept(self, identity: NodeIdentity) -> None:
        """Take ``identity``, as just read, as what it must go on to be."""
        ...

    async def prove(self, promised: Collection[Capability]) -> None:
        """Have it show what is ``promised`` of it."""
        ...

    async def tip(self) -> BlockRef:
        """Give its newest block."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


N = TypeVar("N", bound=PooledNode)


@dataclass(slots=True, eq=False)
class _Slot(Generic[N]):
    node: N
    health: Health
    probe: "asyncio.Task[None] | None" = None
    tip: Tip | None = None

    def saw(self, tip: Tip) -> None:
        """Keep the newest tip that the node showed."""
        self.tip = tip

    @property
    def status(self) -> NodeStatus:
        """Say how it is."""
        last = self.health.last
        return NodeStatus(
            name=self.node.name,
            state=self.health.state,
            reason=self.health.reason,
            since=self.health.since,
            tip=self.tip,
            last_failure=None if last is None else last.reason,
            failed_at=None if last is None else last.noticed,
        )


class NodePool(Generic[N]):
    """Several nodes of one chain, in order of preference.

    None is read before it said of which chain it is and showed what is promised of it, nor after it failed before it did so
    again. Two that are healthy are compared every `LOOK_SECONDS`: one that is too far behind the other rests.
    """

    def __init__(
        self,
        definition: ChainDefinition,
        nodes: Sequence[N],
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
        for slot in self._slots:
            slot.node.tell_tips(slot.saw)
        self._looking: asyncio.Task[None] | None = None
        self._look_again = surroundings.monotonic() + LOOK_SECONDS

    @property
    def genesis_hash(self) -> bytes | None:
        """The genesis that every node must have; None until a first one has been identified. To be stored."""
        return self._genesis

    def list_tokens(self, contracts: Collection[bytes]) -> None:
        """Read the transfers of these token contracts from now on, and of no others."""
        for slot in self._slots:
            slot.node.list_tokens(contracts)

    async def current(self) -> N:
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
                self._look_when_due()
                return node
        raise self._none_usable()

    def usable(self) -> list[N]:
        """Give every node that is healthy, and of the right chain, in order of preference."""
        return [slot.node for slot in self._healthy()]

    def report_failure(self, node: N, error: NodeError) -> None:
        """Leave a node alone for a while after it failed with ``error``; several reports of one failure count once."""
        for slot in self._slots:
            if slot.node is node and slot.health.state is NodeState.HEALTHY:
                self._failed(slot, error)

    def has_another(self, node: N) -> bool:
        """Tell whether there is another node than this one."""
        return any(slot.node is not node for slot in self._slots)

    def statuses(self) -> list[NodeStatus]:
        """Say how each node is, in order of preference."""
        return [slot.status for slot in self._slots]

    async def close(self) -> None:
        """Stop asking, and close all connections."""
        tasks = [task for task in (*(slot.probe for slot in self._slots), self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self._slots:
            await slot.node.close()

    def _first_healthy(self) -> N | None:
        return next(iter(self.usable()), None)

    def _probe(self, slot: _Slot[N]) -> "asyncio.Task[None]":
        if slot.probe is None or slot.probe.done():
            slot.probe = asyncio.create_task(self._examine(slot))
        return slot.probe

    async def _examine(self, slot: _Slot[N]) -> None:
        """Let a node show that it can be used, or note why not."""
        try:
            await self._identify(slot.node)
            await slot.node.prove(self._definition.capabilities)
            if slot.health.state is NodeState.LAGGING:
                self._require_caught_up(slot)
        except NodeError as error:
            self._failed(slot, error)
            return
        slot.health = slot.health.recovered(self._around.now())
        log.info("node.healthy", chain=self._definition.name, node=slot.node.name)

    async def _identify(self, node: N) -> None:
        identity = await node.identify()
        if reason := complaint(identity, self._definition, self._genesis):
            message = f"node {node.name} is of another chain: {reason}; point it at a node of {self._definition.name}"
            raise WrongChainError(message)
        self._genesis = identity.genesis_hash
        node.accept(identity)

    def _look_when_due(self) -> None:
        at = self._around.monotonic()
        idle = self._looking is None or self._looking.done()
        if idle and at >= self._look_again and len(self._healthy()) > 1:
            self._look_again = at + LOOK_SECONDS
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Read the tips of all healthy nodes at the same time, and let those rest that are behind."""
        await asyncio.gather(*(self._look_at(slot) for slot in self._healthy()))
        for slot in self._healthy():
            if reason := self._lag_of(slot, tolerated_lag(self._definition, catching_up=False)):
                self._failed(slot, NodeBehindError(reason))

    async def _look_at(self, slot: _Slot[N]) -> None:
        try:
            await slot.node.tip()
        except NodeError as error:
            self.report_failure(slot.node, error)

    def _require_caught_up(self, slot: _Slot[N]) -> None:
        if reason := self._lag_of(slot, tolerated_lag(self._definition, catching_up=True)):
            raise NodeBehindError(reason)

    def _lag_of(self, slot: _Slot[N], tolerated: int) -> str | None:
        others = [(other.node.name, other.tip.height) for other in self._healthy() if other is not slot and other.tip]
        reason = None if slot.tip is None else behind(slot.tip.height, others, tolerated)
        return None if reason is None else f"node {slot.node.name}: {reason}"

    def _healthy(self) -> list[_Slot[N]]:
        return [slot for slot in self._slots if slot.health.state is NodeState.HEALTHY]

    def _failed(self, slot: _Slot[N], error: NodeError) -> None:
        NODE_FAILURES.labels(self._definition.name, str(self._slots.index(slot) + 1)).inc()
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
        elif isinstance(error, LacksCapabilityError) and before.state is not NodeState.LACKING:
            log.error("node.lacks_capability", chain=self._definition.name, node=slot.node.name, reason=str(error))
        elif before.reason != slot.health.reason and slot.health.state is not NodeState.LACKING:
            log.warning("node.failing", chain=self._definition.name, node=slot.node.name, reason=str(error))

    def _none_usable(self) -> NoUsableNodeError:
        if not self._slots:
            message = f"chain {self._definition.name} has no node: set CHAINBELL_NODES__..."
            return NoUsableNodeError(message, self._backoff.cap)
        wait = max(0.0, min(slot.health.retry_at for slot in self._slots) - self._around.monotonic())
        reasons = "; ".join(str(slot.health.reason) for slot in self._slots)
        message = f"chain {self._definition.name} has no usable node: {reasons}"
        return NoUsableNodeError(message, wait)
