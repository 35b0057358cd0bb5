"""`chainbell listen`: verified webhooks are printed, all else is refused with the reason."""

import asyncio
import base64
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from chainbell.delivery.signature import sign
from chainbell.domain.delivery import WebhookVersion
from chainbell.telemetry.clock import now
from tests.command import COMMAND, chainbell, environment

pytestmark = pytest.mark.timeout(120)

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
EVENT = {
    "id": "evt_one",
    "event": "transaction.deposit.success",
    "data": {"status": "SUCCESS", "amount": "12.5", "assetType": "USDT_ETHEREUM", "address": "0x12", "x": "\x1b[2J"},
}


@asynccontextmanager
async def _listening(folder: Path, *words: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), "listen", "--port", "0", "--secret", SECRET, *words),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        announced = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", announced)
        assert found is not None, announced
        yield found[0], process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)


async def _post(url: str, body: bytes, *, secret: str = SECRET) -> int:
    headers = sign([secret], "evt_one", now(), body, WebhookVersion.V2)
    async with httpx.AsyncClient() as client:
        return (await client.post(f"{url}/any/path", content=body, headers=headers)).status_code


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode()


async def test_webhooks_are_verified_and_printed(tmp_path: Path) -> None:
    """A good one is answered 204 and its facts are printed; a forged one 401, with the reason; Ctrl-C ends it quietly."""
    body = orjson.dumps(EVENT)
    async with _listening(tmp_path) as (url, process):
        assert await _post(url, body) == 204
        line = await _line(process)
        assert line.startswith("verified  transaction.deposit.success  evt_one  SUCCESS  12.5  USDT_ETHEREUM")
        assert await _post(url, body, secret="whsec_" + base64.b64encode(b"x" * 32).decode()) == 401
        assert (await _line(process)).startswith("REFUSED  evt_one  ")
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 130
        assert b"Traceback" not in complaints


async def test_webhooks_as_json_lines(tmp_path: Path) -> None:
    """Each line says whether it is verified, and holds the body only if it is."""
    body = orjson.dumps(EVENT)
    async with _listening(tmp_path, "--json") as (url, process):
        await _post(url, body)
        good = orjson.loads(await _line(process))
        assert (good["verified"], good["reason"], good["webhookId"], good["path"]) == (True, None, "evt_one", "/any/path")
        assert good["body"] == EVENT
        async with httpx.AsyncClient() as client:
            assert (await client.post(url, content=b"\xff")).status_code == 401
        bad = orjson.loads(await _line(process))
        assert (bad["verified"], bad["body"]) == (False, None)
        assert bad["reason"]


def test_what_cannot_be_a_secret_is_refused_at_the_start(tmp_path: Path) -> None:
    """One line that says which one and what to copy, never what was given; exit code 1."""
    short = "whsec_" + base64.b64encode(bytes(23)).decode()
    for words in (("--secret", "foo"), ("--secret", short), ("--secret", SECRET.removeprefix("whsec_"))):
        ended = chainbell("listen", "--port", "0", *words, cwd=tmp_path)
        assert (ended.code, ended.out) == (1, ""), words
        assert "chainbell: --secret is no signing secret" in ended.err
        assert "copy it whole" in ended.err
        assert words[1] not in ended.err
        assert ended.err.count("\n") == 1
    second = chainbell("listen", "--port", "0", "--secret", SECRET, "--secret", "foo", cwd=tmp_path)
    assert (second.code, "--secret number 2" in second.err) == (1, True)


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """One line that says what to choose instead, and exit code 1."""
    async with _listening(tmp_path) as (url, _):
        port = url.rpartition(":")[2]
        ended = await asyncio.to_thread(chainbell, "listen", "--port", port, "--secret", SECRET, cwd=tmp_path)
        assert (ended.code, ended.out) == (1, "")
        assert "choose another --port" in ended.err
        assert ended.err.count("\n") == 1
