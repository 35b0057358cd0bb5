"""Fixtures for a node per test; conftest.py names this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.nodes import Anvil
from tests.rpcproxy import LyingProxy


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
