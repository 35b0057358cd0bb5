"""Examine every configured node, all at once, without the database and beside whatever else runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from chainbell.app.doctor.ask_evm import ask_evm
from chainbell.app.doctor.ask_utxo import ask_utxo
from chainbell.app.doctor.asking import outcome
from chainbell.app.doctor.finding import BLOCKS, Diagnosis, Finding, Grade, judge_identity, judge_proof
from chainbell.app.doctor.judge_evm import EvmAnswers, judge_evm
from chainbell.app.doctor.judge_utxo import UtxoAnswers, judge_utxo
from chainbell.app.node_endpoint import node_endpoint
from chainbell.config.settings import Settings
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import Dialect
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.utxo.blocks import Format
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.telemetry.clock import now

PATIENCE = 60.0
"""Seconds for all questions to one node, without those that our own limit of its rate takes."""
_ONE_ANSWER = 10.0


async def examine_nodes(settings: Settings, chains: Mapping[str, ChainDefinition]) -> list[Diagnosis]:
    """Examine every node that the settings name, in their order; one that is bad keeps no other waiting."""
    timeout = min(settings.node_timeout_seconds, _ONE_ANSWER)
    return await asyncio.gather(
        *(_examine(chains[name], node_endpoint(url), timeout) for name, urls in settings.nodes.items() for url in urls)
    )


async def _examine(definition: ChainDefinition, endpoint: Endpoint, timeout: float) -> Diagnosis:  # noqa: ASYNC109 - of one request
    found: list[Finding] = []
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            throttled = partial(_prolong, patience)
            async with _node(definition, endpoint, timeout, throttled) as (rpc, node):
                await _ask_all(definition, rpc, node, found)
    except TimeoutError:
        found += _impatient(found)
    return Diagnosis(definition.name, endpoint.name, tuple(_without_name(found, endpoint.name)))


def _prolong(patience: asyncio.Timeout, seconds: float) -> None:
    """Leave out what we wait ourselves, so that the node does not get more requests than its rate allows."""
    until = patience.when()
    if until is not None and not patience.expired():
        patience.reschedule(until + seconds)


def _impatient(found: Sequence[Finding]) -> Iterator[Finding]:
    """Say of a node that did not answer in time what is not known of it."""
    slow = f"it did not answer everything within {PATIENCE:g} s"
    if all(finding.aspect != BLOCKS for finding in found):
        yield Finding(BLOCKS, Grade.UNKNOWN, slow, "whether the chain can be followed through this node is not known")
    yield Finding("patience", Grade.UNKNOWN, slow, "what is not listed was not asked")


async def _ask_all(definition: ChainDefinition, rpc: Rpc, node: EvmNode | UtxoNode, found: list[Finding]) -> None:
    """Add one finding after the other, so that what was learnt before the patience ends is there."""
    identity = await outcome(node.identify())
    found.append(judge_identity(identity, definition))
    if found[0].grade is Grade.BAD:
        return
    proof = await outcome(node.prove(definition.capabilities))
    found.append(judge_proof(proof if isinstance(proof, NodeError) else None))
    if definition.kind is ChainKind.EVM:
        await _learn_evm(definition, rpc, found)
    else:
        await _learn_utxo(definition, rpc, found)


async def _learn_evm(definition: ChainDefinition, rpc: Rpc, found: list[Finding]) -> None:
    learnt = EvmAnswers()
    try:
        await ask_evm(rpc, learnt)
    finally:
        found += judge_evm(learnt, definition, now())


async def _learn_utxo(definition: ChainDefinition, rpc: Rpc, found: list[Finding]) -> None:
    learnt = UtxoAnswers()
    try:
        await ask_utxo(rpc, learnt)
    finally:
        found += judge_utxo(learnt, definition, now())


@asynccontextmanager
async def _node(
    definition: ChainDefinition,
    endpoint: Endpoint,
    timeout: float,  # noqa: ASYNC109 - of one request
    throttled: Callable[[float], None],
) -> AsyncIterator[tuple[Rpc, EvmNode | UtxoNode]]:
    """Give the node as the follower has it, and a way to ask it more; connected to at the first question."""
    node: EvmNode | UtxoNode
    if definition.kind is ChainKind.EVM:
        rpc = Rpc(endpoint, timeout=timeout, throttled=throttled)
        node = EvmNode(rpc, checks=definition.checks, contracts=[token.contract for token in definition.tokens])
    else:
        rpc = Rpc(endpoint, timeout=timeout, throttled=throttled, dialect=Dialect.BITCOIN)
        node = UtxoNode(rpc, Format(auxpow=definition.auxpow, mweb=definition.mweb))
    try:
        yield rpc, node
    finally:
        await node.close()


def _without_name(findings: Iterable[Finding], name: str) -> list[Finding]:
    """Take out what every error says first, and the diagnosis says already."""
    return [replace(finding, found=finding.found.replace(f"node {name}: ", "")) for finding in findings]
