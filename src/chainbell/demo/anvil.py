"""The demo's development chain: a real anvil that mines only when told to, spoken to in plain JSON-RPC.

Hashes and addresses are hex strings with 0x, as the node writes them; amounts are ints in base units.
"""

import asyncio
import os
import re
from typing import Any

import aiohttp

from chainbell.demo.errors import DemoError
from chainbell.demo.programs import find_program
from chainbell.demo.rpc import call
from chainbell.demo.sandbox import Sandbox

_LISTENING = re.compile(r"Listening on \S+:(\d+)")
_START_SECONDS = 30.0
_RECEIPT_SECONDS = 10.0
_POLL_SECONDS = 0.01


class Anvil:
    """The chain."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self.url = f"http://127.0.0.1:{port}"
        self.websocket = f"ws://127.0.0.1:{port}"

    @classmethod
    async def start(cls, sandbox: Sandbox, session: aiohttp.ClientSession) -> "Anvil":
        """Start the node on a free port. Raises `DemoError` when it is not there or does not listen."""
        # Without a cache path anvil keeps states in the home folder.
        cache = str(sandbox.folder / "anvil")
        command = [find_program("anvil"), "--host", "127.0.0.1", "--port", "0", "--no-mining", "--cache-path", cache]
        guarded = await sandbox.start("anvil", command, os.environ)
        port = await guarded.announcement(_announced_port, patience=_START_SECONDS)
        return cls(session, port)

    async def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401 - what a node answers is any JSON
        """Call the node and return its `result`. Raises `DemoError` with what it answered instead."""
        return await call(self._session, "anvil", self.url, method, params)

    async def accounts(self) -> list[str]:
        """Return the unlocked accounts, rich in coins."""
        accounts: list[str] = await self.rpc("eth_accounts")
        return accounts

    async def tip(self) -> tuple[int, str]:
        """Return height and hash of the newest block."""
        block = await self.rpc("eth_getBlockByNumber", "latest", False)  # noqa: FBT003 - JSON-RPC knows no names
        return int(block["number"], 16), str(block["hash"])

    async def send(self, frm: str, to: str | None, value: int, data: bytes) -> str:
        """Put a transaction into the pool and return its hash; without `to` it deploys `data`."""
        fields = {"from": frm, "value": hex(value), "data": f"0x{data.hex()}"} | ({} if to is None else {"to": to})
        return str(await self.rpc("eth_sendTransaction", fields))

    async def mine(self) -> None:
        """Mine one block with everything in the pool."""
        await self.rpc("anvil_mine", "0x1")

    async def mined(self, tx_hash: str) -> dict[str, Any]:
        """Return the receipt of a transaction that was just mined. Raises `DemoError` when it failed or is in no block."""
        deadline = asyncio.get_running_loop().time() + _RECEIPT_SECONDS
        while (receipt := await self.receipt(tx_hash)) is None:
            if asyncio.get_running_loop().time() > deadline:
                message = f"anvil did not put transaction {tx_hash} into a block: start the demo again"
                raise DemoError(message)
            await asyncio.sleep(_POLL_SECONDS)
        if receipt["status"] != "0x1":
            message = f"transaction {tx_hash} failed on the chain: {receipt}"
            raise DemoError(message)
        return receipt

    async def raw(self, tx_hash: str) -> str:
        """Return the signed bytes of a transaction as hex."""
        return str(await self.rpc("eth_getRawTransactionByHash", tx_hash))

    async def resend(self, raw: str) -> None:
        """Put signed bytes into the pool."""
        await self.rpc("eth_sendRawTransaction", raw)

    async def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones. Raises `DemoError` unless each got another hash."""
        height, _ = await self.tip()
        replaced = range(height - depth + 1, height + 1)
        old = [await self._block(number) for number in replaced]
        ancestor = await self._block(replaced.start - 1)
        # anvil can rebuild an empty block to the same hash, so the first new one gets another distance in time.
        distance = int(old[0]["timestamp"], 16) - int(ancestor["timestamp"], 16)
        await self.rpc("anvil_setBlockTimestampInterval", distance + 1)
        await self.rpc("anvil_reorg", depth, [])
        await self.rpc("anvil_removeBlockTimestampInterval")
        for before in old:
            if (await self._block(int(before["number"], 16)))["hash"] == before["hash"]:
                message = f"anvil's reorg left block {before['number']} as it was: this anvil cannot show a reorg"
                raise DemoError(message)

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """Return the receipt of a transaction; None while it is in no block."""
        found: dict[str, Any] | None = await self.rpc("eth_getTransactionReceipt", tx_hash)
        return found

    async def _block(self, height: int) -> dict[str, Any]:
        return dict(await self.rpc("eth_getBlockByNumber", hex(height), False))  # noqa: FBT003 - as above


def _announced_port(line: str) -> int | None:
    found = _LISTENING.search(line)
    return int(found[1]) if found else None
