"""`chainbell run` with secrets everywhere, at its most talkative, while everything around it fails: none of them gets out.

The same run shows how a webhook is followed back to its block through the log.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest
from aiohttp import web

from tests.command import COMMAND, SECRET_KEY, chainbell, environment
from tests.house import ALICE, ETHER
from tests.nodes import Anvil, die_with_parent
from tests.receivers import Got, Receiver, receiving
from tests.rpcproxy import Answer, ErrorObject, Fault, HttpStatus, LyingProxy

pytestmark = pytest.mark.timeout(150)

NODE_PASSWORD, DATABASE_PASSWORD, WRONG_KEY = (f"word-{token_hex(8)}" for _ in range(3))
NODE_KEY, NODE_QUERY, OTHER_NODE_KEY, WEBSOCKET_KEY = (token_hex(16) for _ in range(4))
TOKEN, LOST_TOKEN = (f"token-{token_hex(8)}" for _ in range(2))
PATIENCE = 60.0


class Talk:
    """A `chainbell run`, and everything it says: stdout and stderr in one file, and pages in a list."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process = process
        self.output = output
        self.pages: list[str] = []
        self.base = ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.output.read_bytes().splitlines() if line.startswith(b"{")]

    def having(self, event: str, **members: object) -> list[dict[str, Any]]:
        wanted = members | {"event": event}
        return [line for line in self.lines if all(line.get(name) == value for name, value in wanted.items())]

    async def says(self, event: str, **members: object) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while not (found := self.having(event, **members)):
                assert self.process.returncode is None, self.output.read_text()
                await asyncio.sleep(0.05)
        return found[0]

    async def get(self, path: str, key: str | None = None) -> int:
        """Read a page, whatever it says."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession() as session, session.get(self.base + path, headers=headers) as answer:
            self.pages.append(await answer.text())
            return answer.status

    async def look_around(self) -> None:
        """Read every page that asks for no key, and some with a key that opens nothing."""
        for path in ("/metrics", "/health/live", "/health/ready"):
            await self.get(path)
        assert await self.get(f"/v2/chains?token={WRONG_KEY}", WRONG_KEY) in {401, 503}

    async def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), PATIENCE) == 0


@asynccontextmanager
async def talking(folder: Path, output: Path, **settings: str) -> AsyncIterator[Talk]:
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(str(COMMAND), "run"),
            cwd=folder,
            env=environment(**settings),
            stdout=file,
            stderr=file,
            preexec_fn=die_with_parent,
        )
    talk = Talk(process, output)
    try:
        talk.base = (await talk.says("listening"))["http"]
        yield talk
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def angry(_request: web.Request, _got: Got) -> web.StreamResponse:
    """Refuse, and say the receiver's own token in it."""
    return web.Response(status=500, text=f"bad token {TOKEN}", headers={"X-Token": TOKEN})


def echo(_method: str, _params: list[Any], _answer: Answer) -> Answer | Fault:
    """Fail as providers do: with the key in the message."""
    return ErrorObject(-32000, f"daily limit of {NODE_KEY} and {NODE_QUERY} reached")


async def test_no_secret_gets_out_and_a_webhook_is_followed_back_to_its_block(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str, tmp_path: Path
) -> None:
    """Nodes, the database and endpoints fail with secrets in their words; the log, the metrics and the health have none."""
    address = lying_proxy.url.removeprefix("http://")
    node = f"http://oper:{NODE_PASSWORD}@{address}/v3/{NODE_KEY}?apikey={NODE_QUERY}&ws=ws://{address}/ws/{WEBSOCKET_KEY}"
    settings = {
        "NODES__ANVIL": f"{node},http://127.0.0.1:1/v3/{OTHER_NODE_KEY}",
        "DATABASE_URL": database_url.replace("postgres:@", f"postgres:{DATABASE_PASSWORD}@"),
        "SECRET_KEY": SECRET_KEY,
        "SCREENING": "off",
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "API_PORT": "0",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    assert DATABASE_PASSWORD in settings["DATABASE_URL"]
    async with receiving() as receiver, talking(tmp_path, tmp_path / "first", **settings) as run:
        receiver.answers["/hook"] = angry
        await run.says("following")
        made = await asyncio.to_thread(_make_keys, tmp_path, receiver, settings)
        await _pay_until_told(run, anvil, receiver)
        assert await run.get("/metrics") == 200
        for shown in ('chainbell_chain_cursor_height{chain="anvil"} ', "chainbell_database_up 1.0"):
            assert shown in run.pages[-1]
        await _fail_around(run, lying_proxy, database_url)
        for path in ("/v2/chains", "/v2/endpoints", "/v2/deliveries", "/v2/addresses"):
            assert await run.get(path, made["api"]) == 200
        # What the API shows of an endpoint to who may see it is its business; the pages for everybody are not.
        run.pages = [page for page in run.pages if '"url"' not in page]
        await run.look_around()
        await run.end()
        _follow_back(run, await anvil.block())
    said = run.output.read_text() + "".join(run.pages) + await _without_database(tmp_path, settings)
    secret = made["signing"].removeprefix("whsec_")
    secrets = [NODE_PASSWORD, NODE_KEY, NODE_QUERY, OTHER_NODE_KEY, WEBSOCKET_KEY, DATABASE_PASSWORD, SECRET_KEY]
    secrets += [TOKEN, LOST_TOKEN, WRONG_KEY, made["api"], secret]
    assert [each for each in secrets if each in said] == []


def _make_keys(folder: Path, receiver: Receiver, settings: dict[str, str]) -> dict[str, str]:
    """Watch an address, and make an endpoint that refuses, one that is not there, and an API key."""
    command = partial(chainbell, cwd=folder, **(settings | {"LOG_LEVEL": "error"}))
    assert command("address", "add", "anvil", ALICE).code == 0
    hook = f"{receiver.url}/hook?token={TOKEN}"
    made = command("endpoint", "add", hook, "--mode", "test", "--json")
    assert made.code == 0, made.err
    lost = command("endpoint", "add", f"http://127.0.0.1:1/?token={LOST_TOKEN}", "--mode", "test")
    assert lost.code == 0, lost.err
    key = command("api-key", "add", "shop", "--mode", "test", "--json")
    return {"signing": made.lines[0]["secret"], "api": key.lines[0]["key"]}


async def _pay_until_told(run: Talk, anvil: Anvil, receiver: Receiver) -> None:
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await run.says("told", type="transaction.deposit.created")
    await receiver.wait_for(1)
    await run.says("delivery_attempted", outcome="failed", status_code=500)
    await run.says("delivery_attempted", outcome="failed", failure="transport")


async def _fail_around(run: Talk, proxy: LyingProxy, database_url: str) -> None:
    """Let the node fail in two ways, then the database; look at every page meanwhile."""
    for fault in (echo, lambda *_: HttpStatus(429, retry_after=1, body=f"slow down, {NODE_KEY}")):
        before = len(run.having("node.failing"))
        proxy.rule = fault
        async with asyncio.timeout(PATIENCE):
            while len(run.having("node.failing")) == before:
                await asyncio.sleep(0.05)
        await run.look_around()
    proxy.rule = lambda _method, _params, answer: answer
    own = await asyncpg.connect(database_url)
    others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> $1"
    await own.execute(others.replace("$1", "pg_backend_pid()"))
    await own.close()
    await run.look_around()


async def _without_database(folder: Path, settings: dict[str, str]) -> str:
    """Run, and ask, with a database that is not there; return everything that was said."""
    away = settings | {"DATABASE_URL": f"postgresql://oper:{DATABASE_PASSWORD}@127.0.0.1:1/db"}
    async with talking(folder, folder / "second", **away) as run:
        await run.says("waiting")
        assert await run.get("/metrics") == 200
        assert "chainbell_database_up 0.0" in run.pages[-1]
        assert await run.get("/health/ready") == 503
        await run.look_around()
        await run.end()
    asked = await asyncio.to_thread(partial(chainbell, "status", cwd=folder, **away))
    assert asked.code == 1
    return run.output.read_text() + "".join(run.pages) + asked.out + asked.err


def _follow_back(run: Talk, block: dict[str, Any]) -> None:
    """From what the endpoint got, its `webhook-id`, to the event, and from there to block and transaction."""
    attempted = run.having("delivery_attempted", status_code=500)[0]
    (told,) = run.having("told", event_id=attempted["event_id"])
    assert told["uid"] == attempted["uid"]
    assert told["chain"] == "anvil"
    assert told["position"] >= 1
    (deposit,) = run.having("told", type="transaction.deposit.created")
    assert (deposit["block"], deposit["height"]) == (block["hash"], int(block["number"], 16))
    assert deposit["tx"] in block["transactions"]
