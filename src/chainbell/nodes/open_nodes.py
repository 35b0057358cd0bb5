"""Nodes of either kind, as a chain's definition and the settings describe them; none is connected to yet."""

from collections.abc import Sequence

from chainbell.domain.chain import ChainDefinition
from chainbell.nodes.answers import Dialect
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.rpc import TIMEOUT, Rpc
from chainbell.nodes.utxo.blocks import Format
from chainbell.nodes.utxo.node import UtxoNode
from chainbell.telemetry.metrics import NODE_REQUESTS


def open_evm_nodes(definition: ChainDefinition, endpoints: Sequence[Endpoint], timeout: float = TIMEOUT) -> list[EvmNode]:
    """Return the nodes of an EVM chain, with all tokens of its definition listed.

    ``timeout`` is in seconds, for one whole answer.
    """
    contracts = [token.contract for token in definition.tokens]
    rpcs = _rpcs(definition, endpoints, timeout, Dialect.EVM)
    return [EvmNode(rpc, checks=definition.checks, contracts=contracts) for rpc in rpcs]


def open_utxo_nodes(definition: ChainDefinition, endpoints: Sequence[Endpoint], timeout: float = TIMEOUT) -> list[UtxoNode]:
    """Return the nodes of a chain of the Bitcoin family.

    ``timeout`` is in seconds, for one whole answer; a scan of unspent outputs has its own.
    """
    form = Format(auxpow=definition.auxpow, mweb=definition.mweb)
    return [UtxoNode(rpc, form) for rpc in _rpcs(definition, endpoints, timeout, Dialect.BITCOIN)]


def _rpcs(definition: ChainDefinition, endpoints: Sequence[Endpoint], timeout: float, dialect: Dialect) -> list[Rpc]:
    requests = [NODE_REQUESTS.labels(definition.name, str(number)) for number in range(1, len(endpoints) + 1)]
    return [
        Rpc(endpoint, timeout=timeout, requested=count.inc, dialect=dialect)
        for endpoint, count in zip(endpoints, requests, strict=True)
    ]
