"""Ask a node of an EVM chain what it can do."""

import asyncio
import random

from chainbell.app.doctor.asking import ask, batch_taken
from chainbell.app.doctor.finding import member
from chainbell.app.doctor.judge_evm import EvmAnswers
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.rpc import Rpc


async def ask_evm(rpc: Rpc, learnt: EvmAnswers) -> None:
    """Ask one question after the other, and keep each answer; none of them changes anything on the node."""
    newest = learnt.newest = await ask(rpc, "eth_getBlockByNumber", ["latest", False])
    block_hash, height = member(newest, "hash", str), member(newest, "number", str)
    learnt.version = await ask(rpc, "web3_clientVersion")
    learnt.syncing = await ask(rpc, "eth_syncing")
    learnt.receipts = await ask(rpc, "eth_getBlockReceipts", [block_hash])
    learnt.receipts_by_number = await ask(rpc, "eth_getBlockReceipts", [height])
    learnt.finalized = await ask(rpc, "eth_getBlockByNumber", ["finalized", False])
    learnt.has_websocket = rpc.endpoint.websocket is not None
    if learnt.has_websocket:
        learnt.websocket = await HeadHints(rpc.endpoint, asyncio.Event(), random.random).probe()
    else:
        learnt.websocket = None
    learnt.batch = await batch_taken(rpc, "eth_getBlockByNumber", ["latest", False])
    learnt.call_traces = await ask(rpc, "debug_traceBlockByHash", [block_hash, {"tracer": "callTracer"}])
    learnt.parity_traces = await ask(rpc, "trace_block", [height])
    learnt.pool = await ask(rpc, "txpool_status")
    learnt.pending = await ask(rpc, "eth_getBlockByNumber", ["pending", False])
