"""The demo's Bitcoin: a real bitcoind on a regtest chain of its own, whose wallet is the customers'.

Hashes are hex strings as the node writes them; amounts are decimal strings in bitcoins.
"""

import os
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from chainbell.demo.errors import DemoError
from chainbell.demo.programs import find_program
from chainbell.demo.rpc import call
from chainbell.demo.sandbox import Guarded, Sandbox

_WALLET = "customers"
_MATURITY = 100
_READY = "Done loading"
_NO_PORT = "Unable to bind"
_START_SECONDS = 30.0
_TRIES = 5
_PORTS = range(12_000, 20_000)
"""Below where the kernel takes ports for outgoing connections (ip_local_port_range), so that none of those is in the way."""


class Bitcoind:
    """The chain, which gets a block only when told to."""

    def __init__(self, session: aiohttp.ClientSession, port: int, cookie: Path) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}"
        user, _, password = cookie.read_text().partition(":")
        self._auth = aiohttp.BasicAuth(user, password)
        self.node_url = f"{self._url}?cookie={quote(str(cookie))}"
        """Where it is, as Chainbell's settings want it."""

    @classmethod
    async def start(cls, sandbox: Sandbox, session: aiohttp.ClientSession) -> "Bitcoind":
        """Start the node with a wallet that has coins. Raises `DemoError` when it is not there or does not start."""
        program = find_program("bitcoind")
        for _ in range(_TRIES):
            port = secrets.choice(_PORTS)
            if not _is_free(port):
                continue
            folder = sandbox.folder / f"bitcoind-{port}"
            folder.mkdir(mode=0o700)
            (folder / "bitcoin.conf").write_text(_ONLY_KNOTS)
            guarded = await sandbox.start("bitcoind", _command(program, folder, port), os.environ)
            if await _is_up(guarded):
                node = cls(session, port, folder / "regtest" / ".cookie")
                await node._fund()
                return node
        message = f"bitcoind found no free port in {_TRIES} tries: start the demo again"
        raise DemoError(message)

    async def rpc(self, method: str, *params: object, **named: object) -> Any:  # noqa: ANN401 - what a node answers is any JSON
        """Call the node and return its `result`. Raises `DemoError` with what it answered instead."""
        return await call(self._session, "bitcoind", self._url, method, named or params, self._auth)

    async def tip(self) -> tuple[int, str]:
        """Return height and hash of the newest block."""
        info = await self.rpc("getblockchaininfo")
        return int(info["blocks"]), str(info["bestblockhash"])

    async def send(self, address: str, amount: str, fee_rate: int) -> str:
        """Pay, at satoshis per virtual byte; the txid. It waits in the mempool then."""
        return str(await self.rpc("sendtoaddress", address=address, amount=amount, fee_rate=fee_rate))

    async def bump(self, txid: str, fee_rate: int) -> str:
        """Replace a waiting payment by one that pays the same at a higher fee; its txid."""
        bumped = await self.rpc("bumpfee", txid=txid, options={"fee_rate": fee_rate})
        return str(bumped["txid"])

    async def mine(self, blocks: int = 1) -> None:
        """Mine blocks with what waits in the mempool."""
        await self.rpc("generatetoaddress", blocks, await self._fresh_address())

    async def reorganise(self, depth: int) -> None:
        """Give the newest blocks up, and mine one more than they were, all empty. Raises `DemoError` if it did not.

        What was in them waits in the mempool again.
        """
        height, old = await self.tip()
        await self.rpc("invalidateblock", await self.rpc("getblockhash", height - depth + 1))
        for _ in range(depth + 1):
            await self.rpc("generateblock", await self._fresh_address(), [])
        new = await self.tip()
        if new[0] != height + 1 or await self.rpc("getblockhash", height) == old:
            message = f"bitcoind was told to give up {depth} blocks at {height} and is at {new[0]}: it cannot show a reorg"
            raise DemoError(message)

    async def payment(self, txid: str) -> dict[str, Any]:
        """Return what the wallet knows of a payment of its own (``gettransaction``)."""
        found: dict[str, Any] = await self.rpc("gettransaction", txid)
        return found

    async def mempool(self) -> list[str]:
        """Return the txids in the mempool."""
        waiting: list[str] = await self.rpc("getrawmempool")
        return waiting

    async def _fund(self) -> None:
        # A node without a block of today counts as syncing, too.
        await self.rpc("createwallet", _WALLET)
        await self.mine()
        await self.mine(_MATURITY)

    async def _fresh_address(self) -> str:
        # To an address that it paid before, it would build a block again that it was told to give up.
        return str(await self.rpc("getnewaddress", address_type="bech32"))


async def _is_up(guarded: Guarded) -> bool:
    """Wait until the node is ready; False when another program took its port first."""
    try:
        await guarded.announcement(lambda line: True if _READY in line else None, patience=_START_SECONDS)
    except DemoError:
        if _NO_PORT not in guarded.last_words:
            raise
        return False
    return True


# Knots refuses what its own wallet makes with lock time 21. In a file an option that Bitcoin Core does not know is no error.
_ONLY_KNOTS = "[regtest]\nrejectparasites=0\n"


def _command(program: str, folder: Path, port: int) -> list[str]:
    """Return the command line of a node that talks to nobody but us."""
    return [
        *(program, "-regtest", f"-datadir={folder}", "-server=1"),
        *(f"-rpcport={port}", "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"),
        *("-listen=0", "-connect=0", "-dnsseed=0", "-discover=0"),
        *("-fallbackfee=0.0001", "-keypool=20", "-dbcache=16", "-printtoconsole=1", "-nodebuglogfile"),
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
