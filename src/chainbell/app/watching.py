"""The watcher's role: one follower for each chain that has a node, and the hints that shorten its wait."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from chainbell.app.hearing import HeardNodes
from chainbell.app.node_endpoint import node_endpoint
from chainbell.app.node_reports import NodeReporter
from chainbell.app.services import Services
from chainbell.config.node_url import NodeUrl
from chainbell.domain.chain import Capability, ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.events.catalogue import V1_TYPES
from chainbell.events.publish import publish
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.open_nodes import open_evm_nodes, open_utxo_nodes
from chainbell.nodes.pool import NodePool, Surroundings
from chainbell.nodes.utxo.hints import ZmqHints
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.node_states import NodeStates
from chainbell.storage.scans import ScanStore
from chainbell.storage.seeding import SeedStore
from chainbell.supervisor import Part, supervise
from chainbell.telemetry.clock import now
from chainbell.telemetry.metrics import begin_chain
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.back_scan import BackScanner
from chainbell.watcher.follower import Follower
from chainbell.watcher.leading import Leading
from chainbell.watcher.mempool import MempoolFollower
from chainbell.watcher.seeding import Seeder

N = TypeVar("N", EvmNode, UtxoNode)


def watcher_parts(services: Services) -> dict[str, Part]:
    """Return what runs side by side to follow every chain that has a node."""
    parts: dict[str, Part] = {}
    for name, urls in services.settings.nodes.items():
        hints = _Hints.of(urls)
        parts[f"chain {name}"] = partial(_follow, services, services.chains[name], hints)
        for number, line in enumerate(hints.lines, start=1):
            if line is not None:
                parts[f"chain {name} hints {number}"] = line.run
    return parts


@dataclass(frozen=True, slots=True)
class _Hints:
    """What the nodes of one chain announce, and whom it wakes."""

    wake: asyncio.Event
    mempool_wake: asyncio.Event
    lines: tuple[HeadHints | ZmqHints | None, ...]
    """In the order of the nodes; None: it announces nothing."""

    @classmethod
    def of(cls, urls: Sequence[NodeUrl]) -> Self:
        """Listen where the URLs say so; to be run."""
        wake, mempool_wake = asyncio.Event(), asyncio.Event()

        def line(url: NodeUrl) -> HeadHints | ZmqHints | None:
            if url.zmq:
                return ZmqHints(node_endpoint(url), wake, mempool_wake)
            return None if url.ws is None else HeadHints(node_endpoint(url), wake, random.random)

        return cls(wake, mempool_wake, tuple(line(url) for url in urls))


async def _follow(services: Services, definition: ChainDefinition, hints: _Hints) -> None:
    """Follow one chain, through nodes of its kind."""
    begin_chain(definition.name, (name for name in V1_TYPES if name.startswith("transaction.")))
    if definition.kind is ChainKind.EVM:
        await _follow_through(
            await _evm_pool(services, definition), services, definition, hints, lambda _leading, _tracker: {}
        )
    else:
        pool = await _utxo_pool(services, definition)
        beside = partial(_beside_utxo, pool, services, definition, hints.mempool_wake)
        await _follow_through(pool, services, definition, hints, beside)


def _beside_utxo(  # noqa: PLR0913 - what is joined
    pool: NodePool[UtxoNode],
    services: Services,
    definition: ChainDefinition,
    mempool_wake: asyncio.Event,
    leading: Leading,
    tracker: Tracker,
) -> dict[str, Part]:
    """Return what only a chain of the Bitcoin family needs."""
    seeder = Seeder(definition, pool, SeedStore(services.database), leading=leading, clock=now)
    parts: dict[str, Part] = {f"chain {definition.name} older outputs": seeder.run}
    if Capability.MEMPOOL in definition.capabilities:
        mempool = MempoolFollower(definition, pool, tracker, leading=leading, wake=mempool_wake, clock=now)
        parts[f"chain {definition.name} mempool"] = mempool.run
    return parts


async def _follow_through(
    pool: NodePool[N],
    services: Services,
    definition: ChainDefinition,
    hints: _Hints,
    beside: Callable[[Leading, Tracker], Mapping[str, Part]],
) -> None:
    """Join nodes, watcher and tracker, and what runs `beside` them, until cancelled; the pool is closed then."""
    settings = services.settings
    policy = Policy(definition.required_depth, screening=settings.screening != "off")
    tracker = Tracker(LedgerStore(services.database, publish), definition, policy)
    identity = f"{socket.gethostname()}/{os.getpid()}/{random.getrandbits(32):08x}"
    follower = Follower(definition, pool, services.chain_states, tracker, identity=identity, wake=hints.wake, clock=now)
    scanner = BackScanner(definition, pool, ScanStore(services.database), tracker, leading=follower.leading, clock=now)
    heard = HeardNodes(pool, hints.lines, now)
    reporter = NodeReporter(definition.name, heard, NodeStates(services.database), follower=identity, clock=now)
    # Apart, so that what crashes one of them does not stop the others.
    parts = {
        f"chain {definition.name} tip": follower.run,
        f"chain {definition.name} history": scanner.run,
        f"chain {definition.name} nodes": reporter.run,
        **beside(follower.leading, tracker),
    }
    try:
        await supervise(parts, stop=asyncio.Event())
    finally:
        await pool.close()


async def chain_pool(services: Services, definition: ChainDefinition) -> NodePool[EvmNode] | NodePool[UtxoNode]:
    """Return the nodes of a chain that the settings name; whoever asks closes the pool."""
    if definition.kind is ChainKind.EVM:
        return await _evm_pool(services, definition)
    return await _utxo_pool(services, definition)


async def _evm_pool(services: Services, definition: ChainDefinition) -> NodePool[EvmNode]:
    return await _pool(services, definition, open_evm_nodes)


async def _utxo_pool(services: Services, definition: ChainDefinition) -> NodePool[UtxoNode]:
    return await _pool(services, definition, open_utxo_nodes)


async def _pool(
    services: Services,
    definition: ChainDefinition,
    open_nodes: Callable[[ChainDefinition, Sequence[Endpoint], float], list[N]],
) -> NodePool[N]:
    endpoints = [node_endpoint(url) for url in services.settings.nodes[definition.name]]
    nodes = open_nodes(definition, endpoints, services.settings.node_timeout_seconds)
    genesis_hash = await services.chain_states.genesis(definition.name)
    surroundings = Surroundings(now, time.monotonic, random.random)
    return NodePool(definition, nodes, surroundings, genesis_hash=genesis_hash)
