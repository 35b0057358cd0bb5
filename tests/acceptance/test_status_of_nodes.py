"""`chainbell status` names what is wrong with a chain's nodes, also when the chain was never started."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.command import SECRET_KEY, chainbell
from tests.nodes import Anvil
from tests.running import running

pytestmark = pytest.mark.timeout(120)


async def status_with(part: str, tmp_path: Path, **settings: str) -> dict[str, Any]:
    """Return the chain that the status shows, as soon as its trouble or a reason of its nodes holds a part."""
    deadline = time.monotonic() + 60
    while True:
        shown = await asyncio.to_thread(chainbell, "status", "--json", cwd=tmp_path, SECRET_KEY=SECRET_KEY, **settings)
        assert shown.code == 0, shown.err
        chain: dict[str, Any] = shown.lines[0]["chains"][0]
        if part in f"{chain['trouble']} {[node['reason'] for node in chain['nodes']]}":
            return chain
        assert time.monotonic() < deadline, chain


async def test_a_chain_that_was_never_started_names_the_cause(database_url: str, tmp_path: Path) -> None:
    """Whoever runs with a node that is down sees why in the status, without the secrets of its URL."""
    settings = {
        "DATABASE_URL": database_url,
        "NODES__ANVIL": "http://user:hunter22@127.0.0.1:9/v3/0123456789abcdef0123456789abcdef",
    }
    async with running(tmp_path, **settings) as run:
        chain = await status_with("cannot connect", tmp_path, **settings)
        assert chain["trouble"].startswith("not started: node http://***@127.0.0.1:9/v3/***: cannot connect")
        table = await asyncio.to_thread(chainbell, "status", cwd=tmp_path, SECRET_KEY=SECRET_KEY, **settings)
        assert "failing" in table.out
        assert "hunter22" not in table.out
        assert "0123456789abcdef" not in table.out
        assert await run.stop() == 0


async def test_a_second_node_that_is_down_is_shown_beside_the_one_in_use(
    anvil: Anvil, database_url: str, tmp_path: Path
) -> None:
    """The chain goes on without trouble, its lag is known, and the other node's reason stands there."""
    settings = {"DATABASE_URL": database_url, "NODES__ANVIL": f"http://127.0.0.1:9,{anvil.url}?rps=500"}
    async with running(tmp_path, **settings) as run:
        await run.event("following")
        chain = await status_with("cannot connect", tmp_path, **settings)
        assert chain["trouble"] is None
        assert [node["state"] for node in chain["nodes"]] == ["failing", "healthy"]
        assert chain["lag"] == 0
        assert await run.stop() == 0
