"""Chainbell itself as the demo uses it: the installed command as a process of its own, and its HTTP API."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from chainbell.config.variables import PREFIX, node_variable
from chainbell.demo.errors import DemoError
from chainbell.demo.sandbox import Guarded, Sandbox
from chainbell.demo.stage import Stage

_ADD_KEY = ("api-key", "add", "demo", "--mode", "test", "--json")
_START_SECONDS = 60.0
_READY_SECONDS = 30.0
_CALL_SECONDS = 30.0
_POLL_SECONDS = 0.1
_PAGE = 100
"""More than the demo's script ever rings."""


class Chainbell:
    """A running `chainbell run`."""

    def __init__(self, session: aiohttp.ClientSession, process: Guarded, api: str, key: str) -> None:
        self._session = session
        self._process = process
        self._api = api
        self._key = key

    @classmethod
    async def start(cls, sandbox: Sandbox, session: aiohttp.ClientSession, stages: Sequence[Stage]) -> "Chainbell":
        """Start it on these chains, and wait until its API answers. Raises `DemoError`."""
        environment = _environment(sandbox.folder, stages)
        process = await sandbox.start("chainbell run", [*_command(), "run"], environment)
        # At the same time: whichever is first starts the database for both.
        adding = await sandbox.start("chainbell api-key add", [*_command(), *_ADD_KEY], environment)
        api = await process.announcement(partial(_announced, "api"), patience=_START_SECONDS)
        key = await adding.announcement(partial(_announced, "key"), patience=_START_SECONDS)
        return cls(session, process, api, key)

    async def add_endpoint(self, url: str, version: int, events: list[str]) -> str:
        """Register a webhook endpoint and return its secret."""
        made = await self._made("endpoints", {"url": url, "version": version, "events": events})
        return str(made["secret"])

    async def watch(self, stage: Stage) -> None:
        """Register the address on a chain, as soon as that was reached. Raises `DemoError` when it never is."""
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while True:
            status, answer = await self._call("POST", "addresses", {"chain": stage.network, "address": stage.watched})
            if status == HTTPStatus.CREATED:
                return
            if status != HTTPStatus.SERVICE_UNAVAILABLE or asyncio.get_running_loop().time() > deadline:
                message = f"chainbell does not watch {stage.watched}: {answer}. Its last words:\n{self._process.last_words}"
                raise DemoError(message)
            await asyncio.sleep(_POLL_SECONDS)

    async def events(self) -> int:
        """Return how many events its feed holds."""
        return len(await self._items("events"))

    async def undelivered(self) -> int:
        """Return how many deliveries have not succeeded."""
        return sum(delivery["status"] != "succeeded" for delivery in await self._items("deliveries"))

    def check_alive(self) -> None:
        """Raise `DemoError` when it ended."""
        if self._process.ended.is_set():
            message = f"chainbell run ended in the middle of the demo. Its last words:\n{self._process.last_words}"
            raise DemoError(message)

    async def _items(self, resource: str) -> list[dict[str, Any]]:
        status, answer = await self._call("GET", f"{resource}?limit={_PAGE}")
        if status != HTTPStatus.OK:
            message = f"chainbell does not list {resource}: {answer}"
            raise DemoError(message)
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def _made(self, resource: str, wanted: Mapping[str, object]) -> dict[str, Any]:
        status, answer = await self._call("POST", resource, wanted)
        if status != HTTPStatus.CREATED:
            message = f"chainbell does not take {wanted} for {resource}: {answer}"
            raise DemoError(message)
        return dict(answer)

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[int, Any]:
        self.check_alive()
        headers = {"Authorization": f"Bearer {self._key}"}
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        url = f"{self._api}/{path}"
        try:
            async with self._session.request(method, url, json=body, headers=headers, timeout=timeout) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.check_alive()
            message = f"chainbell's API does not answer {method} /v2/{path} ({str(error) or 'timeout'})"
            raise DemoError(message) from error


def _command() -> list[str]:
    script = Path(sys.executable).with_name("chainbell")
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "chainbell.cli"]


def _environment(folder: Path, stages: Sequence[Stage]) -> dict[str, str]:
    """Return the environment of Chainbell: nothing of the settings of whoever runs the demo."""
    chains = folder / "chains"
    chains.mkdir()
    for stage in stages:
        if stage.definition is not None:
            (chains / f"{stage.network}.toml").write_text(stage.definition)
    ours = {
        "DATA_DIR": str(folder / "data"),
        "CHAINS_DIR": str(chains),
        "SCREENING": "off",
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
        "ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "LOG_FORMAT": "json",
    }
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    nodes = {node_variable(stage.network): stage.node_url for stage in stages}
    return others | nodes | {f"{PREFIX}{name}": value for name, value in ours.items()}


def _announced(member: str, line: str) -> str | None:
    """Return a member of a line of JSON, None when the line has none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    found = entry.get(member) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else None
