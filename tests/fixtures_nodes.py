"""Fixtures for a node per test; conftest.py names this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol, TypeVar

import pytest
import pytest_asyncio

from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon
from tests.nodes import Anvil
from tests.rpcproxy import LyingProxy

Daemon = TypeVar("Daemon", bound=UtxoDaemon)


class Starter(Protocol):
    """Starts a node that ends with the test: `second = await another(Bitcoind(txindex=True))`."""

    async def __call__(self, node: Daemon, /) -> Daemon: ...


@pytest_asyncio.fixture
async def anvil() -> AsyncIterator[Anvil]:
    """Run an anvil that mines each transaction at once."""
    async with Anvil() as node:
        yield node


@pytest_asyncio.fixture
async def manual_anvil() -> AsyncIterator[Anvil]:
    """Run an anvil that mines only when the test says so."""
    async with Anvil(automine=False) as node:
        yield node


@pytest_asyncio.fixture
async def lying_proxy(anvil: Anvil) -> AsyncIterator[LyingProxy]:
    """Run an honest proxy in front of `anvil`, whose rule the test may change."""
    async with LyingProxy(anvil.url) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def bitcoind() -> AsyncIterator[Bitcoind]:
    """Run a bitcoind without transaction index, whose wallet has ten mature coins of 50."""
    async with Bitcoind(zmq=("hashblock", "rawtx", "sequence")) as node:
        await node.fund(10)
        yield node


@pytest_asyncio.fixture
async def litecoind() -> AsyncIterator[Litecoind]:
    """Run a litecoind without transaction index, whose wallet has ten mature coins of 50."""
    async with Litecoind() as node:
        await node.fund(10)
        yield node


@pytest_asyncio.fixture
async def another() -> AsyncIterator[Starter]:
    """Give the test what starts more nodes; those have no blocks and no coins."""
    async with AsyncExitStack() as running:

        async def start(node: Daemon) -> Daemon:
            await running.enter_async_context(node)
            return node

        yield start


@pytest_asyncio.fixture(params=[Bitcoind, Litecoind], ids=["bitcoind", "litecoind"])
async def daemon(request: pytest.FixtureRequest) -> AsyncIterator[UtxoDaemon]:
    """Run a node of each kind in turn, whose wallet has six mature coins of 50."""
    kind: type[UtxoDaemon] = request.param
    async with kind() as node:
        await node.fund(6)
        yield node
