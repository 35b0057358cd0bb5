"""The watcher's role: one follower for each chain that has a node, and the hints that shorten its wait."""

import asyncio
import os
import random
import socket
import time
from functools import partial

from chainbell.app.node_reports import NodeReporter
from chainbell.app.services import Services
from chainbell.config.node_url import NodeUrl
from chainbell.domain.chain import ChainDefinition
from chainbell.events.catalogue import V1_TYPES
from chainbell.events.publish import publish
from chainbell.nodes.endpoint import Endpoint as NodeEndpoint
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.pool import NodePool, Surroundings, open_pool
from chainbell.nodes.utxo.hints import ZmqHints
from chainbell.storage.ledger import LedgerStore
from chainbell.storage.node_states import NodeStates
from chainbell.storage.scans import ScanStore
from chainbell.supervisor import Part, supervise
from chainbell.telemetry.clock import now
from chainbell.telemetry.metrics import begin_chain
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.service import Tracker
from chainbell.watcher.back_scan import BackScanner
from chainbell.watcher.follower import Follower


def watcher_parts(services: Services) -> dict[str, Part]:
    """Return what runs side by side to follow every chain that has a node."""
    parts: dict[str, Part] = {}
    for name, urls in services.settings.nodes.items():
        wake, mempool_wake = asyncio.Event(), asyncio.Event()
        parts[f"chain {name}"] = partial(_follow, services, services.chains[name], wake)
        for number, url in enumerate(urls, start=1):
            if url.ws is not None:
                parts[f"chain {name} hints {number}"] = HeadHints(_node(url), wake, random.random).run
            if url.zmq:
                parts[f"chain {name} hints {number}"] = ZmqHints(_node(url), wake, mempool_wake).run
    return parts


async def _follow(services: Services, definition: ChainDefinition, wake: asyncio.Event) -> None:
    """Follow one chain: nodes, watcher and tracker joined."""
    settings = services.settings
    begin_chain(definition.name, (name for name in V1_TYPES if name.startswith("transaction.")))
    pool = await chain_pool(services, definition)
    policy = Policy(definition.required_depth, screening=settings.screening != "off")
    tracker = Tracker(LedgerStore(services.database, publish), definition, policy)
    identity = f"{socket.gethostname()}/{os.getpid()}/{random.getrandbits(32):08x}"
    follower = Follower(definition, pool, services.chain_states, tracker, identity=identity, wake=wake, clock=now)
    scanner = BackScanner(definition, pool, ScanStore(services.database), tracker, leading=follower.leading, clock=now)
    reporter = NodeReporter(definition.name, pool, NodeStates(services.database), follower=identity, clock=now)
    # Apart, so that what crashes one of them does not stop the others.
    parts = {
        f"chain {definition.name} tip": follower.run,
        f"chain {definition.name} history": scanner.run,
        f"chain {definition.name} nodes": reporter.run,
    }
    try:
        await supervise(parts, stop=asyncio.Event())
    finally:
        await pool.close()


async def chain_pool(services: Services, definition: ChainDefinition) -> NodePool:
    """Return the nodes of a chain that the settings name; whoever asks closes the pool."""
    return open_pool(
        definition,
        [_node(url) for url in services.settings.nodes[definition.name]],
        Surroundings(now, time.monotonic, random.random),
        genesis_hash=await services.chain_states.genesis(definition.name),
        timeout=services.settings.node_timeout_seconds,
    )


def _node(url: NodeUrl) -> NodeEndpoint:
    return NodeEndpoint(name=url.masked, url=url.url, websocket=url.ws, rps=url.rps, cookie=url.cookie, zmq=url.zmq)
