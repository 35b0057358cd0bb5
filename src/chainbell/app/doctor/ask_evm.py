"""Ask a node of an EVM chain what it can do."""

import asyncio
import random

from chainbell.app.doctor.asking import ask, batch_taken
from chainbell.app.doctor.finding import member
from chainbell.app.doctor.judge_evm import EvmAnswers
from chainbell.nodes.evm.hints import HeadHints
from chainbell.nodes.rpc import LARGEST_BATCH, Rpc


async def ask_evm(rpc: Rpc) -> EvmAnswers:
    """Ask one question after the other; none of them changes anything on the node."""
    newest = await ask(rpc, "eth_getBlockByNumber", ["latest", False])
    block_hash, height = member(newest, "hash", str), member(newest, "number", str)
    has_websocket = rpc.endpoint.websocket is not None
    return EvmAnswers(
        version=await ask(rpc, "web3_clientVersion"),
        syncing=await ask(rpc, "eth_syncing"),
        newest=newest,
        receipts=await ask(rpc, "eth_getBlockReceipts", [block_hash]),
        receipts_by_number=await ask(rpc, "eth_getBlockReceipts", [height]),
        call_traces=await ask(rpc, "debug_traceBlockByHash", [block_hash, {"tracer": "callTracer"}]),
        parity_traces=await ask(rpc, "trace_block", [height]),
        finalized=await ask(rpc, "eth_getBlockByNumber", ["finalized", False]),
        pool=await ask(rpc, "txpool_status"),
        pending=await ask(rpc, "eth_getBlockByNumber", ["pending", False]),
        batch=await batch_taken(rpc, "eth_getBlockByNumber", [["latest", False]] * LARGEST_BATCH),
        websocket=await HeadHints(rpc.endpoint, asyncio.Event(), random.random).probe() if has_websocket else None,
        has_websocket=has_websocket,
    )
