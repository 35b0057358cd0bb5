"""The process of a bitcoind or litecoind for tests: its command line, its start and end, and its JSON-RPC.

Imports nothing from chainbell, like `tests.nodes`. What a test does with such a node is in `tests.bitcoin`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp

from tests.nodes import CHECKOUT, RpcError, die_with_parent

START_SECONDS = 30.0
ANSWER_SECONDS = 60.0
WALLET = "test"
_STILL_LOADING = {-28, 503}
"""In RPC, and by HTTP before there is any."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
_PREFIX = "chainbell-utxo-"
# Below where the kernel takes ports for outgoing connections (ip_local_port_range), so that none of those is in the way.
_PORTS = range(20_000, 32_000)


class DaemonProcess:
    """A daemon on free ports, with its data in memory, that does not outlive the test run: see `UtxoDaemon`."""

    program: ClassVar[str]
    wallet_of_descriptors: ClassVar[bool]
    own_options: ClassVar[Sequence[str]]

    url: str
    """Where it answers, with its credentials."""
    bare_url: str
    """The same without credentials."""
    pid: int

    def __init__(
        self,
        *,
        txindex: bool = False,
        prune: int | None = None,
        zmq: Sequence[str] = (),
        cookie: bool = False,
        args: Sequence[str] = (),
    ) -> None:
        """Choose the node; `args` goes to its command line as it is."""
        self._options = [*args]
        if txindex:
            self._options.append("-txindex=1")
        if prune is not None:
            self._options.append(f"-prune={prune}")
        self._topics = tuple(zmq)
        self._cookie = cookie
        self._password = secrets.token_hex(16)
        self._cleanup = contextlib.AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._broadcasts = True

    async def __aenter__(self) -> Self:
        """Start the node and wait until it answers."""
        async with self._cleanup:
            binary = CHECKOUT / ".nodes/bin" / self.program
            if not binary.exists():
                message = f"{binary} is missing: run tools/install-nodes {self.program}"
                raise FileNotFoundError(message)
            self._binary = binary
            _remove_stale()
            folder = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY)
            self.folder = Path(self._cleanup.enter_context(folder))
            rpc, p2p, onion, zmq = (self._cleanup.enter_context(_reserved_port()) for _ in range(4))
            self._ports = (rpc, p2p, onion)
            self.bare_url = f"http://127.0.0.1:{rpc}"
            self.p2p_address = f"127.0.0.1:{p2p}"
            self.zmq_url = f"tcp://127.0.0.1:{zmq}"
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
            self._session = await self._cleanup.enter_async_context(session)
            self._cleanup.push_async_callback(self.kill)
            await self.start()
            await self.rpc("createwallet", WALLET, False, False, "", False, self.wallet_of_descriptors, True)
            self._cleanup = self._cleanup.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the node."""
        await self._cleanup.aclose()

    async def start(self, *args: str) -> None:
        """Start the node again after `stop` or `kill`, and wait until it answers; `args` for this start only."""
        assert self._process is None, "it runs"
        errors = self.folder / "stderr"
        with errors.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                *self._command_line(),
                *args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                preexec_fn=die_with_parent,
            )
        self._process = process
        self.pid = process.pid
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                if process.returncode is not None:
                    message = f"{self.program} ended before it answered:\n{errors.read_text(errors='replace')}"
                    raise ChildProcessError(message)
                await asyncio.sleep(0.02)

    def _command_line(self) -> list[str]:
        rpc, p2p, onion = self._ports
        line = [
            *("-regtest", f"-datadir={self.folder}", "-server=1", f"-rpcport={rpc}", "-rpcbind=127.0.0.1"),
            *("-rpcallowip=127.0.0.1", f"-bind=127.0.0.1:{p2p}", f"-bind=127.0.0.1:{onion}=onion", "-listenonion=0"),
            *("-connect=0", "-listen=1", "-discover=0", "-dnsseed=0"),
            *("-fallbackfee=0.0001", "-keypool=20", "-dbcache=16", "-printtoconsole=0", "-rpcworkqueue=256"),
        ]
        line += self.own_options
        if not self._cookie:
            line += ["-rpcuser=test", f"-rpcpassword={self._password}"]
        if not self._broadcasts:
            line.append("-walletbroadcast=0")
        return [*line, *(f"-zmqpub{topic}={self.zmq_url}" for topic in self._topics), *self._options]

    async def _answers(self) -> bool:
        try:
            self._read_credentials()
            await self.rpc("getblockchaininfo")
        except (aiohttp.ClientConnectionError, FileNotFoundError):
            return False
        except RpcError as error:
            if error.code not in _STILL_LOADING:
                raise
            return False
        return True

    def _read_credentials(self) -> None:
        credentials = self.cookie_file.read_text() if self._cookie else f"test:{self._password}"
        self.url = self.bare_url.replace("://", f"://{credentials}@")

    @property
    def cookie_file(self) -> Path:
        """The file with the credentials, where the daemon made them."""
        return self.folder / "regtest/.cookie"

    async def stop(self) -> None:
        """Have the node end orderly: its mempool is on disk then."""
        assert self._process is not None, "it does not run"
        await self.rpc("stop")
        async with asyncio.timeout(START_SECONDS):
            await self._process.wait()
        self._process = None

    async def kill(self) -> None:
        """Kill the node, if it runs, as a crash does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def restart(self, *args: str) -> None:
        """Stop the node orderly and start it again: its mempool and its wallet are there again."""
        await self.stop()
        await self.start(*args)

    async def rpc(self, method: str, *params: object, wallet: str | None = None) -> Any:
        """Call the node, or one of several wallets; its `result`. Raises RpcError with what the node answered instead.

        A mapping as the only parameter gives parameters by name.
        """
        url = self.url if wallet is None else f"{self.url}/wallet/{wallet}"
        by_name = len(params) == 1 and isinstance(params[0], Mapping)
        request = {"jsonrpc": "1.0", "id": 1, "method": method, "params": params[0] if by_name else params}
        async with self._session.post(url, data=json.dumps(request)) as response:
            text = await response.text()
            if not text.startswith("{"):
                raise RpcError(method, {"code": response.status, "message": text or response.reason})
        answer = json.loads(text, parse_float=Decimal)
        if answer["error"] is not None:
            raise RpcError(method, answer["error"])
        return answer["result"]


def _remove_stale() -> None:
    """Remove the folders of killed test runs, whose names hold their pids; their daemons died with them."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        if not Path("/proc", folder.name.removeprefix(_PREFIX).partition("-")[0]).exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _reserved_port() -> Iterator[int]:
    """Keep a port from every other test process until the node is gone: the daemons cannot choose one themselves."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket(socket.AF_UNIX) as claim, socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                # A name in the abstract space: it is free again when its process ends, however that ends.
                claim.bind(f"\0chainbell-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            probe.close()
            yield port
            return
