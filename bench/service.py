"""The whole product in a process of its own: `chainbell run`, and when the webhooks that it sends came."""

import asyncio
import base64
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import orjson

from bench.database import BenchDatabase
from chainbell.config.chains import load_chains
from tests.nodes import CHECKOUT, die_with_parent

KEY = bytes(range(32))
PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class Heard:
    """When the first webhook about each transaction came."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, bool], float] = {}
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, body: bytes) -> None:
        """Note a webhook."""
        at = time.perf_counter()
        task = asyncio.create_task(self._note(orjson.loads(body)["data"], at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def of(self, tx_hash: str, *, in_block: bool = False) -> float:
        """Wait for the first webhook about a transaction, or the first that names its block; return when it came."""
        wanted = (tx_hash, in_block)
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(partial(self._at.__contains__, wanted))
        return self._at[wanted]

    async def _note(self, data: Mapping[str, object], at: float) -> None:
        tx_hash = str(data["hash"])
        async with self._news:
            self._at.setdefault((tx_hash, False), at)
            if data["blockHash"] is not None:
                self._at.setdefault((tx_hash, True), at)
            self._news.notify_all()


@asynccontextmanager
async def chainbell(
    own: BenchDatabase, chain: str, node: str, changes: Mapping[str, float], *arguments: str
) -> AsyncIterator[int]:
    """Run `chainbell run` on one chain, whose shipped definition has these numbers changed; give its process id."""
    with tempfile.TemporaryDirectory() as folder:
        _define(Path(folder), chain, changes)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAINBELL_")}
        settings = {
            "CHAINBELL_DATABASE_URL": own.dsn,
            "CHAINBELL_SECRET_KEY": base64.b64encode(KEY).decode(),
            "CHAINBELL_CHAINS_DIR": folder,
            f"CHAINBELL_NODES__{chain.upper().replace('-', '_')}": node,
            "CHAINBELL_SCREENING": "off",
            "CHAINBELL_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CHAINBELL_API_PORT": "0",
            "CHAINBELL_DATA_DIR": f"{folder}/data",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chainbell.cli", "run", *arguments),
            env=kept | settings,
            cwd=folder,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        try:
            yield process.pid
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _define(folder: Path, chain: str, changes: Mapping[str, float]) -> None:
    shipped = load_chains()[chain].model_dump()
    text = (CHECKOUT / "chains" / f"{chain}.toml").read_text(encoding="utf-8")
    for name, value in changes.items():
        text = text.replace(f"{name} = {shipped[name]}\n", "")
        text = text.replace('\nkind = "', f'\n{name} = {value}\nkind = "')
    (folder / f"{chain}.toml").write_text(text, encoding="utf-8")


async def followed(own: BenchDatabase, height: int = 0) -> None:
    """Wait until a chain is followed, up to a height at least."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with own.database.connection() as connection:
                if await connection.fetchval("select exists (select from chains where cursor_height >= $1)", height):
                    return
            await asyncio.sleep(_LOOK_SECONDS)
