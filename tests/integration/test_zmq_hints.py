"""Hints over ZMQ from a real bitcoind: they wake, survive its restarts, and harm nothing when they do not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import structlog
import zmq
import zmq.asyncio

from chainbell.api.chain_report import chain_report
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.utxo.hints import ZmqHints
from chainbell.storage.chains import ChainStates
from chainbell.telemetry.clock import now
from tests.bitcoin import Bitcoind
from tests.fixtures_nodes import Starter
from tests.utxo_house import UtxoHouse, caught_up, following_utxo, started, until, utxo_house

PATIENCE = 15.0


class Listening:
    """Hints that are listened to, and the events that they set."""

    def __init__(self, *addresses: str) -> None:
        self.wake, self.mempool_wake = asyncio.Event(), asyncio.Event()
        self.hints = ZmqHints(Endpoint("node", "http://127.0.0.1:1", zmq=addresses), self.wake, self.mempool_wake)

    async def both(self) -> None:
        """Wait until both events were set, as they are when it is connected, and clear them."""
        async with asyncio.timeout(PATIENCE):
            await self.wake.wait()
            await self.mempool_wake.wait()
        self.wake.clear()
        self.mempool_wake.clear()


@asynccontextmanager
async def listening(*addresses: str) -> AsyncIterator[Listening]:
    heard = Listening(*addresses)
    task = asyncio.create_task(heard.hints.run())
    try:
        yield heard
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def woken(event: asyncio.Event, by: Callable[[], Awaitable[object]]) -> None:
    event.clear()
    await by()
    async with asyncio.timeout(PATIENCE):
        await event.wait()


@pytest.mark.parametrize("topics", [("hashblock", "rawtx", "sequence"), ("sequence",), ("hashblock", "hashtx")])
async def test_a_block_and_a_transaction_wake(another: Starter, topics: tuple[str, ...]) -> None:
    """Each sets its event, whichever topics the node publishes."""
    node = await another(Bitcoind(zmq=topics))
    await node.fund()
    async with listening(node.zmq_url) as heard:
        await heard.both()
        address = await node.new_address()
        await woken(heard.mempool_wake, lambda: node.send(address, 50_000))
        assert not heard.wake.is_set()
        await woken(heard.wake, node.mine)


async def test_what_is_undone_wakes_too(bitcoind: Bitcoind) -> None:
    """A block that is given up sets the one event, and a transaction that is replaced the other."""
    txid = await bitcoind.send(await bitcoind.new_address(), 50_000)
    async with listening(bitcoind.zmq_url) as heard:
        await heard.both()
        await woken(heard.mempool_wake, lambda: bitcoind.bump(txid))
        tip = await bitcoind.block_hash()
        await woken(heard.wake, lambda: bitcoind.invalidate(tip))


async def test_a_restart_of_the_node_is_survived(bitcoind: Bitcoind) -> None:
    """Both events are set when the node is back, for what was missed; then it wakes as before."""
    with structlog.testing.capture_logs() as logs:
        async with listening(bitcoind.zmq_url) as heard:
            await heard.both()
            await bitcoind.mine()
            await bitcoind.restart()
            await heard.both()
            await woken(heard.wake, bitcoind.mine)
    assert [line["event"] for line in logs] == ["node.hints_connected", "node.hints_lost", "node.hints_connected"]
    assert logs[1]["reason"] == "the connection ended"


async def test_a_publisher_that_is_not_there_is_told_once(bitcoind: Bitcoind) -> None:
    """A wrong address is logged once while it is tried again, and the other one goes on."""
    wrong = "tcp://127.0.0.1:9"
    with structlog.testing.capture_logs() as logs:
        async with listening(wrong, bitcoind.zmq_url) as heard:
            await heard.both()
            await woken(heard.wake, bitcoind.mine)
            async with asyncio.timeout(PATIENCE):
                while not [line for line in logs if line["event"] == "node.hints_lost"]:
                    await asyncio.sleep(0.01)
    (lost,) = [line for line in logs if line["event"] == "node.hints_lost"]
    assert lost["publisher"] == wrong
    assert lost["reason"] == "cannot connect"


async def test_dropped_messages_set_both_events() -> None:
    """A counter that leaps is logged once and sets both events; what is no such message is passed over."""
    context = zmq.asyncio.Context()
    publisher = context.socket(zmq.PUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")

    async def publish(number: int) -> None:
        await publisher.send_multipart([b"hashblock", bytes(32), number.to_bytes(4, "little")])

    try:
        with structlog.testing.capture_logs() as logs:
            async with listening(f"tcp://127.0.0.1:{port}") as heard:
                await heard.both()
                # The subscription may arrive after the connection: what is sent before goes nowhere.
                async with asyncio.timeout(PATIENCE):
                    while not heard.wake.is_set():
                        await publish(7)
                        await asyncio.sleep(0.01)
                for odd in ([b"hashblock"], [b"hashblock", b"", b""], [b"sequence", b"", bytes(4)]):
                    await publisher.send_multipart(odd)
                await publish(8)
                for number in (11, 12, 20):
                    heard.mempool_wake.clear()
                    await publish(number)
                    if number != 12:
                        async with asyncio.timeout(PATIENCE):
                            await heard.mempool_wake.wait()
    finally:
        context.destroy(linger=0)
    told = [line for line in logs if line["event"] == "node.hints_dropped"]
    assert [(line["topic"], line["dropped"]) for line in told] == [("hashblock", 2)]


async def told_of(home: UtxoHouse) -> tuple[int | None, str, str | None]:
    """Return what the chain's status says of its node: the tip, and its hints with the reason."""
    (chain,) = await chain_report(home.database, ChainStates(home.database), [home.definition], now())
    for node in chain.nodes or []:
        if node.hints is not None:
            return node.tip_height, node.hints.state.value, node.hints.reason
    return None, "", None


async def test_the_status_says_whether_a_node_is_heard(bitcoind: Bitcoind, database_url: str) -> None:
    """Connected, disconnected with the reason when the node is gone, and connected again when it is back."""
    async with utxo_house(bitcoind, database_url, zmq=[bitcoind.zmq_url]) as home, following_utxo(home):
        await started(home)

        async def is_told(state: str, reason: str | None) -> bool:
            return (await told_of(home))[1:] == (state, reason)

        async def shows(height: int) -> bool:
            return (await told_of(home))[0] == height

        await until(lambda: is_told("connected", None), "it is connected")
        for _ in range(3):
            await bitcoind.mine()
            await until(partial(shows, await bitcoind.height()), "the status shows the block")
            assert await is_told("connected", None)
        await bitcoind.stop()
        gone = f"{bitcoind.zmq_url}: the connection ended"
        await until(lambda: is_told("disconnected", gone), "it is disconnected")
        await bitcoind.start()
        await until(lambda: is_told("connected", None), "it is connected again")


async def test_the_status_says_when_a_node_is_silent(bitcoind: Bitcoind, database_url: str) -> None:
    """A publisher that tells nothing of the blocks that its node shows is silent until it tells something."""
    context = zmq.asyncio.Context()
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    try:
        home_zmq = [f"tcp://127.0.0.1:{port}"]
        async with utxo_house(bitcoind, database_url, zmq=home_zmq) as home, following_utxo(home):
            await started(home)

            async def is_told(state: str) -> bool:
                return (await told_of(home))[1] == state

            await until(lambda: is_told("connected"), "it is connected")
            deadline = time.monotonic() + PATIENCE
            while not await is_told("silent"):
                await bitcoind.mine()
                await caught_up(home)
                assert time.monotonic() < deadline
            assert "doctor" in str((await told_of(home))[2])
            await publisher.send_multipart([b"hashblock", bytes(32), bytes(4)])
            await until(lambda: is_told("connected"), "it is heard again")
    finally:
        context.destroy(linger=0)


def test_hints_need_a_publisher() -> None:
    """A node without ZMQ has no hints to give: asking for them is a mistake of ours."""
    with pytest.raises(ValueError, match="publishes nothing over ZMQ"):
        Listening()
