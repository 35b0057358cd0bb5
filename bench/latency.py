"""From a block that a node has to the webhook that its deposit rings: the whole product, in a process of its own.

The clock starts before the node is asked to mine, so that the node's own work is counted too, and stops when the last byte
of the first webhook about the deposit has come.
"""

import asyncio
import base64
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import orjson

from bench.chain import customer
from bench.database import BenchDatabase, fresh_database
from bench.measurement import Aim, Measurement, Size, percentile
from bench.receiver import receiver_here
from bench.sending import LOOPBACK
from bench.watching import watch_many
from chainbell.config.chains import load_chains
from chainbell.domain.chain import Mode
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from tests.nodes import CHECKOUT, Anvil, die_with_parent

DEPOSITS = {Size.SMOKE: 10, Size.SHORT: 200, Size.LONG: 2000}
POLL_SECONDS = 0.05
HINTED_POLL_SECONDS = 30.0
"""So seldom that a hint has to do it."""
WATCHED = 10_000
_WARM = 10
"""Deposits before the first that counts: connections are made, statements prepared."""
_KEY = bytes(range(32))
_PATIENCE_SECONDS = 60.0


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``evm_latency_poll_ms_*`` and ``evm_latency_hint_ms_*``."""
    measured: list[Measurement] = []
    for name, hinted, aim in (("poll", False, 250.0), ("hint", True, 100.0)):
        milliseconds = await _deposits(DEPOSITS[size], hinted=hinted)
        spread = (min(milliseconds), max(milliseconds))
        p50, p99 = percentile(milliseconds, 0.5), percentile(milliseconds, 0.99)
        details: dict[str, object] = {"deposits": len(milliseconds), "mean_ms": sum(milliseconds) / len(milliseconds)}
        measured += [
            Measurement(f"evm_latency_{name}_ms_p50", p50, "ms", spread=spread, details=details),
            Measurement(f"evm_latency_{name}_ms_p99", p99, "ms", (Aim.AT_MOST, aim), spread),
        ]
    return measured


async def _deposits(count: int, *, hinted: bool) -> list[float]:
    """Let deposits happen at random moments, one block each; return how long each took to ring, in milliseconds."""
    chance = random.Random(1)  # noqa: S311 - when a block comes is no secret
    heard = _Heard()
    async with Anvil(automine=False) as anvil, receiver_here(heard.take) as url, fresh_database() as own:
        store = EndpointStore(own.database, SecretBox(_KEY), LOOPBACK)
        await store.create(NewEndpoint(f"{url}/hook", Mode.TEST), now())
        async with _chainbell(own, anvil, hinted=hinted):
            await _followed(own)
            await watch_many(own.database, WATCHED, [customer(number) for number in range(10)])
            milliseconds = []
            for number in range(_WARM + count):
                await asyncio.sleep(chance.uniform(0.02, 0.02 + 2 * POLL_SECONDS))
                sent = await anvil.send(anvil.accounts[number % 10], "0x" + customer(number % 10).hex(), 10**15)
                began = time.perf_counter()
                await anvil.mine()
                milliseconds.append((await heard.of(sent) - began) * 1000)
    return milliseconds[_WARM:]


class _Heard:
    """When the first webhook about each transaction came."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, body: bytes) -> None:
        """Note a webhook."""
        at = time.perf_counter()
        task = asyncio.create_task(self._note(orjson.loads(body)["data"]["hash"], at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def of(self, tx_hash: str) -> float:
        """Wait for the first webhook about a transaction, and return when it came."""
        async with asyncio.timeout(_PATIENCE_SECONDS), self._news:
            await self._news.wait_for(partial(self._at.__contains__, tx_hash))
        return self._at[tx_hash]

    async def _note(self, tx_hash: str, at: float) -> None:
        async with self._news:
            self._at.setdefault(tx_hash, at)
            self._news.notify_all()


@asynccontextmanager
async def _chainbell(own: BenchDatabase, anvil: Anvil, *, hinted: bool) -> AsyncIterator[None]:
    """Run `chainbell run`, all roles in one process."""
    with tempfile.TemporaryDirectory() as folder:
        _define(Path(folder), HINTED_POLL_SECONDS if hinted else POLL_SECONDS)
        node = f"{anvil.url}?ws={anvil.ws_url}" if hinted else anvil.url
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAINBELL_")}
        settings = {
            "CHAINBELL_DATABASE_URL": own.dsn,
            "CHAINBELL_SECRET_KEY": base64.b64encode(_KEY).decode(),
            "CHAINBELL_CHAINS_DIR": folder,
            "CHAINBELL_NODES__ANVIL": node,
            "CHAINBELL_SCREENING": "off",
            "CHAINBELL_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CHAINBELL_API_PORT": "0",
            "CHAINBELL_DATA_DIR": f"{folder}/data",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chainbell.cli", "run"),
            env=kept | settings,
            cwd=folder,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _define(folder: Path, poll_seconds: float) -> None:
    text = (CHECKOUT / "chains" / "anvil.toml").read_text(encoding="utf-8")
    shipped = load_chains()["anvil"].poll_seconds
    changed = text.replace(f"poll_seconds = {shipped}", f"poll_seconds = {poll_seconds}")
    (folder / "anvil.toml").write_text(changed, encoding="utf-8")


async def _followed(own: BenchDatabase) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            async with own.database.connection() as connection:
                if await connection.fetchval("select exists (select from chains)"):
                    return
            await asyncio.sleep(0.05)
