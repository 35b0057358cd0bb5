"""Examine every configured node, all at once, without the database and beside whatever else runs."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from chainbell.app.doctor.ask_evm import ask_evm
from chainbell.app.doctor.ask_utxo import ask_utxo
from chainbell.app.doctor.asking import outcome
from chainbell.app.doctor.finding import Diagnosis, Finding, Grade, judge_identity, judge_proof
from chainbell.app.doctor.judge_evm import judge_evm
from chainbell.app.doctor.judge_utxo import judge_utxo
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
"""Seconds for all questions to one node."""
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
        async with asyncio.timeout(PATIENCE), _node(definition, endpoint, timeout) as (rpc, node):
            await _ask_all(definition, rpc, node, found)
    except TimeoutError:
        loses = "what is not listed was not asked"
        found.append(Finding("patience", Grade.UNKNOWN, f"it did not answer everything within {PATIENCE:g} s", loses))
    return Diagnosis(definition.name, endpoint.name, tuple(_without_name(found, endpoint.name)))


async def _ask_all(definition: ChainDefinition, rpc: Rpc, node: EvmNode | UtxoNode, found: list[Finding]) -> None:
    """Add one finding after the other, so that those made before the patience ends are there."""
    identity = await outcome(node.identify())
    found.append(judge_identity(identity, definition))
    if found[0].grade is Grade.BAD:
        return
    proof = await outcome(node.prove(definition.capabilities))
    found.append(judge_proof(proof if isinstance(proof, NodeError) else None))
    if definition.kind is ChainKind.EVM:
        found += judge_evm(await ask_evm(rpc), definition, now())
    else:
        found += judge_utxo(await ask_utxo(rpc), definition, now())


@asynccontextmanager
async def _node(
    definition: ChainDefinition,
    endpoint: Endpoint,
    timeout: float,  # noqa: ASYNC109 - of one request
) -> AsyncIterator[tuple[Rpc, EvmNode | UtxoNode]]:
    """Give the node as the follower has it, and a way to ask it more; connected to at the first question."""
    node: EvmNode | UtxoNode
    if definition.kind is ChainKind.EVM:
        rpc = Rpc(endpoint, timeout=timeout)
        node = EvmNode(rpc, checks=definition.checks, contracts=[token.contract for token in definition.tokens])
    else:
        rpc = Rpc(endpoint, timeout=timeout, dialect=Dialect.BITCOIN)
        node = UtxoNode(rpc, Format(auxpow=definition.auxpow, mweb=definition.mweb))
    try:
        yield rpc, node
    finally:
        await node.close()


def _without_name(findings: Iterable[Finding], name: str) -> list[Finding]:
    """Take out what every error says first, and the diagnosis says already."""
    return [replace(finding, found=finding.found.replace(f"node {name}: ", "")) for finding in findings]
