"""`chainbell run --role`: each role does its work while the others are down, and every process says how it stands."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import ApiKeyStore, NewApiKey, Scope, write_key
from chainbell.storage.database import Database
from chainbell.telemetry.clock import now
from tests.command import SECRET_KEY, chainbell
from tests.house import ALICE, until
from tests.merchant import Receiver, receiving
from tests.nodes import Anvil
from tests.running import Running, running

pytestmark = pytest.mark.timeout(180)

KEY = write_key(Mode.TEST, bytes(range(32)))


@asynccontextmanager
async def asking(run: Running) -> AsyncIterator["Asking"]:
    """Ask a process over HTTP."""
    http = (await run.event("listening"))["http"]
    async with aiohttp.ClientSession(http, timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield Asking(session)


class Asking:
    """A client of one process."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any, dict[str, str]]:
        async with self._session.request(method, path) as answer:
            is_json = "json" in answer.content_type and method != "HEAD"
            body = await answer.json(content_type=None) if is_json else await answer.text()
            return answer.status, body, dict(answer.headers)

    async def post(self, path: str, body: dict[str, object]) -> tuple[int, Any]:
        async with self._session.post(path, json=body, headers={"Authorization": f"Bearer {KEY}"}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ready(self) -> tuple[int, Any]:
        status, body, _ = await self.get("/health/ready")
        return status, body

    async def until_ready(self, status: int) -> Any:
        """Wait until it answers with this status; what it says then."""

        async def is_it() -> bool:
            return (await self.ready())[0] == status

        await until(is_it, f"/health/ready answers {status}", seconds=60)
        return (await self.ready())[1]


async def _count(url: str, sql: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()


async def _register(ask: Asking, receiver: Receiver) -> None:
    status, endpoint = await ask.post("/v2/endpoints", {"url": f"{receiver.url}/v2"})
    assert status == 201, endpoint
    receiver.secrets["/v2"] = endpoint["secret"]
    status, address = await ask.post("/v2/addresses", {"chain": "anvil", "address": ALICE})
    assert status == 201, address


async def test_each_role_works_while_the_others_are_down(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """The API registers, then a watcher follows, then a deliverer sends: never two of them at the same time."""
    watched = {"DATABASE_URL": database_url, "NODES__ANVIL": anvil.url}
    alone = {"DATABASE_URL": database_url, "SCREENING": "", "ALLOWED_NETWORKS": "127.0.0.0/8"}
    async with running(tmp_path, "watcher", **watched) as watcher:
        await watcher.event("following")
        assert await watcher.stop() == 0
    async with Database.open(database_url) as database:
        await ApiKeyStore(database).add(NewApiKey("test", Mode.TEST, (Scope.READ, Scope.WRITE), None), KEY, now())
    async with receiving() as receiver:
        async with running(tmp_path, "api", **alone) as api, asking(api) as ask:
            await ask.until_ready(200)
            await _register(ask, receiver)
            assert await api.stop() == 0
        await anvil.send(anvil.accounts[0], ALICE, 7)
        await anvil.mine(3)
        async with running(tmp_path, "watcher", **watched) as watcher:
            await until(lambda: _at_least(database_url, "select count(*) from events", 3), "the deposit is told")
            assert await watcher.stop() == 0
        assert receiver.arrivals == []
        async with running(tmp_path, "delivery", **alone) as deliverer:
            await until(lambda: _at_least(database_url, _SENT, 3), "its webhooks are sent")
            assert await deliverer.stop() == 0
        told = [event["type"].rpartition(".")[2] for event in receiver.events("/v2")]
        assert told == ["created", "awaiting_confirmation", "success"]
        assert receiver.complaints == []


_SENT = "select count(*) from deliveries where status = 'succeeded'"


async def _at_least(url: str, sql: str, wanted: int) -> bool:
    return await _count(url, sql) >= wanted


async def test_each_role_migrates_an_empty_database(anvil: Anvil, empty_database_url: str, tmp_path: Path) -> None:
    """None waits for another to make the schema; all three started at once do not get in each other's way."""
    settings = {"DATABASE_URL": empty_database_url, "NODES__ANVIL": anvil.url}
    async with (
        running(tmp_path, "api", **settings) as api,
        running(tmp_path, "delivery", **settings) as deliverer,
        running(tmp_path, "watcher", **settings) as watcher,
    ):
        runs = (api, deliverer, watcher)
        for run in runs:
            await run.event("running")
        assert (
            sum(line["event"] == "migrated" and line["migration"] == "0001_initial.sql" for r in runs for line in r.lines)
            == 1
        )
        for run in runs:
            assert await run.stop() == 0


async def test_two_processes_share_one_embedded_database(anvil: Anvil, data_dir: Path, tmp_path: Path) -> None:
    """It lives for as long as one of them does."""
    settings = {"DATA_DIR": str(data_dir), "SECRET_KEY": "", "NODES__ANVIL": anvil.url}
    async with running(tmp_path, "watcher", **settings) as watcher, running(tmp_path, "delivery", **settings) as deliverer:
        await watcher.event("following")
        await deliverer.event("running")
        assert await watcher.stop() == 0
        async with asking(deliverer) as ask:
            assert (await ask.until_ready(200))["chains"] == {"anvil": {"followed": False}}
        assert await deliverer.stop() == 0


def test_a_watcher_without_nodes_does_not_start(database_url: str, tmp_path: Path) -> None:
    """It would have nothing to do, and says what to set."""
    settings = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "SCREENING": "off", "API_PORT": "0"}
    ended = chainbell("run", "--role", "watcher", cwd=tmp_path, **settings)
    assert ended.code == 1
    assert "CHAINBELL_NODES__ETHEREUM" in ended.err


def test_a_role_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    """The message names those that do."""
    ended = chainbell("run", "--role", "signer", cwd=tmp_path)
    assert ended.code == 2
    assert "'watcher', 'delivery', 'api'" in ended.err


async def test_health_tells_of_roles_database_and_chains(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """A watcher is ready as soon as its database is; whether its chain is followed is told, and who asks needs no key."""
    settings = {"DATABASE_URL": database_url, "NODES__ANVIL": anvil.url}
    async with running(tmp_path, "watcher", **settings) as watcher, asking(watcher) as ask:
        await watcher.event("following")
        assert (await ask.get("/health/live"))[:2] == (200, {"status": "live"})
        body = await ask.until_ready(200)
        assert body["status"] == "ready"
        assert body["roles"] == ["watcher"]
        assert body["database"] == {"answers": True}

        async def followed() -> bool:
            return bool((await ask.ready())[1]["chains"] == {"anvil": {"followed": True}})

        await until(followed, "its chain is followed")
        status, text, headers = await ask.get("/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "chainbell_build" in text
        assert await watcher.stop() == 0


async def test_its_own_pages_are_read_only_and_errors_are_problems(database_url: str, tmp_path: Path) -> None:
    """GET and HEAD and nothing else; the API is refused in words where it is not served, and served where it is."""
    async with running(tmp_path, "delivery", DATABASE_URL=database_url) as deliverer, asking(deliverer) as ask:
        for path in ("/health/live", "/health/ready", "/metrics"):
            await ask.until_ready(200)
            assert (await ask.get(path, "HEAD"))[:2] == (200, "")
            status, body, headers = await ask.get(path, "POST")
            assert (status, headers["Content-Type"], headers["Allow"]) == (405, "application/problem+json", "GET, HEAD")
            assert body["instance"] == path
        status, body, headers = await ask.get("/v2/chains")
        assert (status, headers["Content-Type"]) == (404, "application/problem+json")
        assert "--role api" in body["detail"]
        assert await deliverer.stop() == 0
    async with running(tmp_path, "api", DATABASE_URL=database_url) as api, asking(api) as ask:
        await ask.until_ready(200)
        assert (await ask.get("/v2/chains"))[0] == 401
        document = (await ask.get("/v2/openapi.json"))[1]
        assert all(path.startswith("/v2/") for path in document["paths"])
        assert await api.stop() == 0


async def test_ready_and_live_while_the_database_is_away(empty_database_url: str, tmp_path: Path) -> None:
    """Live from the first moment on; ready when the database is there, not while it is away, and again afterwards."""
    name = empty_database_url.partition("?")[0].rpartition("/")[2]
    later, away = f"{name}_later", f"{name}_away"
    admin = await asyncpg.connect(empty_database_url)
    try:
        async with running(tmp_path, "api", DATABASE_URL=empty_database_url.replace(name, later)) as run, asking(run) as ask:
            await run.event("waiting")
            assert (await ask.get("/health/live"))[0] == 200
            status, body, headers = await ask.get("/health/ready")
            assert (status, headers["Content-Type"]) == (503, "application/problem+json")
            assert "CHAINBELL_DATABASE_URL" in body["detail"]
            assert body["database"] == {"answers": False}
            assert int(headers["Retry-After"]) > 0
            assert (await ask.get("/v2/chains"))[0] == 503
            await admin.execute(f'create database "{later}"')
            await ask.until_ready(200)
            await _rename(admin, later, away)
            body = await ask.until_ready(503)
            assert "PostgreSQL" in body["detail"]
            assert body["roles"] == ["api"]
            assert (await ask.get("/health/live"))[0] == 200
            assert (await ask.get("/metrics"))[0] == 200
            await _rename(admin, away, later)
            await ask.until_ready(200)
            assert await run.stop() == 0
    finally:
        for gone in (later, away):
            await admin.execute(f'drop database if exists "{gone}" with (force)')
        await admin.close()


async def _rename(admin: "asyncpg.Connection[asyncpg.Record]", old: str, new: str) -> None:
    """Take a database away from who uses it, as a server that is stopped."""

    async def renamed() -> bool:
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", old)
        try:
            await admin.execute(f'alter database "{old}" rename to "{new}"')
        except asyncpg.ObjectInUseError:
            return False
        return True

    await until(renamed, f"{old} is renamed")


async def test_a_database_that_says_nothing_makes_it_unready(database_url: str, tmp_path: Path) -> None:
    """The answer comes within seconds although the server's sessions are frozen; when they go on, it is ready again."""
    async with running(tmp_path, "delivery", DATABASE_URL=database_url) as run, asking(run) as ask:
        await ask.until_ready(200)
        own = await asyncpg.connect(database_url)
        sessions = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        frozen: set[int] = set()

        async def unready() -> bool:
            """Freeze also the sessions that came meanwhile: the pool opens new ones."""
            for pid in {row["pid"] for row in await own.fetch(sessions)} - frozen:
                os.kill(pid, signal.SIGSTOP)
                frozen.add(pid)
            async with asyncio.timeout(10):
                status, body = await ask.ready()
            return status == 503 and "has not answered" in body["detail"]

        try:
            await until(unready, "it is not ready", seconds=60)
            assert (await ask.get("/health/live"))[0] == 200
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
            await own.close()
        await ask.until_ready(200)
        assert await run.stop() == 0
