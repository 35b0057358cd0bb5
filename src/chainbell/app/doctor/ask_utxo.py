"""Ask a node of the Bitcoin family what it can do."""

import asyncio
import contextlib

from chainbell.app.doctor.asking import ask, batch_taken
from chainbell.app.doctor.finding import member
from chainbell.app.doctor.judge_utxo import UtxoAnswers
from chainbell.domain.errors import NodeError
from chainbell.domain.node import Tip
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.rpc import Rpc
from chainbell.nodes.utxo.hints import ZmqHints
from chainbell.nodes.utxo.json_data import header_tip

_LOOK_BACK = 8
"""Blocks among which a payment is looked for."""
_CONNECT_SECONDS = 5.0
_LISTEN_SECONDS = 3.0


async def ask_utxo(rpc: Rpc, learnt: UtxoAnswers) -> None:
    """Ask one question after the other, and keep each answer; listen to ZMQ meanwhile. Nothing changes on the node."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_listen(rpc, learnt))
        best = await ask(rpc, "getbestblockhash")
        learnt.newest = _tip(await ask(rpc, "getblockheader", [best]) if isinstance(best, str) else best)
        learnt.network = await ask(rpc, "getnetworkinfo")
        learnt.chain = await ask(rpc, "getblockchaininfo")
        learnt.indexes = await ask(rpc, "getindexinfo")
        payment = await _payment(rpc, best)
        if payment is None:
            learnt.manual = await ask(rpc, "help", ["getrawtransaction"])
        learnt.payment = payment
        learnt.scan = await ask(rpc, "scantxoutset", ["status"])
        learnt.mempool = await ask(rpc, "getmempoolinfo")
        learnt.notifications = await ask(rpc, "getzmqnotifications")
        learnt.batch = await batch_taken(rpc, "getblockhash", [0])


def _tip(header: object) -> Tip | NodeError:
    if isinstance(header, NodeError):
        return header
    try:
        return header_tip(header)
    except BadAnswerError as error:
        return error


async def _payment(rpc: Rpc, best: object) -> object:
    """Read a payment out of the newest blocks with what it spends; None: there is none in them."""
    block_hash = best
    for _ in range(_LOOK_BACK):
        if not isinstance(block_hash, str):
            break
        block = await ask(rpc, "getblock", [block_hash, 1])
        txids = member(block, "tx", list) or []
        if len(txids) > 1 and isinstance(txids[1], str):
            return await ask(rpc, "getrawtransaction", [txids[1], 2, block_hash])
        block_hash = member(block, "previousblockhash", str)
    return None


async def _listen(rpc: Rpc, learnt: UtxoAnswers) -> None:
    """Learn which publishers can be connected to, and of which topics something is heard."""
    learnt.zmq, learnt.seconds = rpc.endpoint.zmq, _LISTEN_SECONDS
    if not rpc.endpoint.zmq:
        learnt.connected = frozenset()
        return
    woken = asyncio.Event()
    hints = ZmqHints(rpc.endpoint, woken, asyncio.Event())
    task = asyncio.create_task(hints.run())
    try:
        await _until_connected(hints, len(rpc.endpoint.zmq), woken)
        await asyncio.sleep(_LISTEN_SECONDS if hints.connected else 0)
        learnt.heard = frozenset(hints.heard)
        learnt.connected = frozenset(hints.connected)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_connected(hints: ZmqHints, count: int, woken: asyncio.Event) -> None:
    """Wait for all publishers, which each wake when they are there, but not too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CONNECT_SECONDS):
            while len(hints.connected) < count:
                woken.clear()
                await woken.wait()
