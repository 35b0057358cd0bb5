"""Backups of a database, by PostgreSQL's own programs, and `chainbell run` on what comes back."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from chainbell.app.services import Services, open_services
from chainbell.config.settings import load_settings
from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import NewApiKey, Scope, write_key
from chainbell.storage.embedded.binaries import find_binaries
from chainbell.storage.endpoints import NewEndpoint
from chainbell.storage.watches import NewWatch
from chainbell.telemetry.clock import now
from tests.command import COMMAND, SECRET_KEY, Ended, chainbell, environment
from tests.nodes import die_with_parent

SECONDS = 60
DEFINITION = (Path(__file__).parents[1] / "chains" / "anvil.toml").read_text()


def back_up(url: str, path: Path) -> Path:
    """Make a backup while the database is in use."""
    program = find_binaries().program("pg_dump")
    subprocess.run([program, "--format=custom", f"--file={path}", url], check=True, timeout=SECONDS)
    return path


def restore(path: Path, url: str) -> None:
    """Restore a backup into an empty database."""
    program = find_binaries().program("pg_restore")
    subprocess.run([program, "--exit-on-error", "--no-owner", f"--dbname={url}", str(path)], check=True, timeout=SECONDS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands work: a folder with definitions and a journal, a node, and a database."""

    folder: Path
    node: str
    url: str

    @classmethod
    def make(cls, folder: Path, node: str, url: str, reorg_limit: int) -> "Place":
        """Write the definition of the chain."""
        chains = folder / "chains"
        chains.mkdir(exist_ok=True)
        text = DEFINITION.replace("poll_seconds = 0.2", "poll_seconds = 0.05")
        (chains / "anvil.toml").write_text(text.replace("reorg_limit = 64", f"reorg_limit = {reorg_limit}"))
        return cls(folder, node, url)

    @property
    def journal(self) -> Path:
        return self.folder / "data" / "registrations.ndjson"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url,
            "SECRET_KEY": SECRET_KEY,
            "DATA_DIR": str(self.folder / "data"),
            "CHAINS_DIR": str(self.folder / "chains"),
            "NODES__ANVIL": self.node,
            "SCREENING": "off",
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "API_PORT": "0",
            "LOG_FORMAT": "json",
        }

    def call(self, *words: str) -> Ended:
        """Run a command to its end."""
        return chainbell(*words, cwd=self.folder, **self.settings)

    async def ran(self, *words: str, code: int = 0) -> Ended:
        """Run a command beside what goes on, and check its exit code."""
        ended = await asyncio.to_thread(self.call, *words)
        assert ended.code == code, (ended.code, ended.out, ended.err)
        return ended

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Open the same in the test's own process, with the same journal: what commands do, without their start."""
        settings = load_settings({f"CHAINBELL_{name}": value for name, value in self.settings.items()})
        async with open_services(settings) as services:
            yield services

    async def watch(self, address: str, label: str | None = None) -> None:
        """Watch an address."""
        async with self.services() as services:
            await services.watches.add(NewWatch("anvil", bytes.fromhex(address[2:]), label=label), now())

    async def api_key(self, name: str) -> tuple[str, str]:
        """Make an API key; its id, and the key."""
        text = write_key(Mode.TEST, secrets.token_bytes(32))
        async with self.services() as services:
            made = await services.api_keys.add(NewApiKey(name, Mode.TEST, list(Scope)), text, now())
        return made.id, text

    async def endpoint(self, url: str) -> None:
        """Register an endpoint."""
        async with self.services() as services:
            await services.endpoints.create(NewEndpoint(url, Mode.TEST), now())

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run everything meanwhile, and give the API's URL; at the end it must stop in order."""
        log = self.folder / "run.log"
        log.write_bytes(b"")
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(str(COMMAND), "run"),
                cwd=self.folder,
                env=environment(**self.settings),
                stderr=output,
                preexec_fn=die_with_parent,
            )
        try:
            yield await _announced(log, process)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), SECONDS) == 0, log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _announced(log: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(SECONDS):
        while (api := _api_in(log)) is None:
            assert process.returncode is None, log
            await asyncio.sleep(0.02)
        return api


def _api_in(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        entry = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if entry.get("event") == "running" and entry.get("api"):
            return str(entry["api"])
    return None


async def read_feed(api: str, key: str, after: str | None) -> tuple[list[dict[str, Any]], str]:
    """Read the feed after a cursor to its end; the events, and the cursor there."""
    events: list[dict[str, Any]] = []
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        while True:
            answer = await client.get(f"{api}/events", params={} if after is None else {"after": after})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            events += [item["event"] for item in page["items"]]
            after = page["nextCursor"]
            if not page["hasMore"]:
                return events, page["nextCursor"]


async def ask_feed(api: str, key: str, after: str) -> httpx.Response:
    """Ask for one page of the feed."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        return await client.get(f"{api}/events", params={"after": after})
