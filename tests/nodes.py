"""Real nodes for tests: an anvil per test, driven by plain JSON-RPC.

Imports nothing from chainbell, so that what a test finds on the chain is not Chainbell's opinion of it. Hashes and
addresses are lower-case hex strings with 0x, as the node writes them; amounts are ints in base units.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import aiohttp

from tests.contract_abi import call_data, creation_code

CHECKOUT = Path(__file__).resolve().parent.parent
ANVIL = CHECKOUT / ".nodes/bin/anvil"
START_SECONDS = 30.0
ANSWER_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


REORG_TRIES = 5


class RpcError(Exception):
    """The node answered with a JSON-RPC error object."""

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        """Keep the members of the error object."""
        super().__init__(f"{method}: {error}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the thread that started it ends: a `preexec_fn`, see prctl(2)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class TxOptions(TypedDict, total=False):
    """What may be chosen of a transaction; the node fills in the rest.

    What will fail is taken too, and mined as failed. `gas_price` (wei) makes it a legacy transaction; a higher one
    replaces a waiting transaction of the same nonce.
    """

    data: bytes
    nonce: int
    gas: int
    gas_price: int


class Anvil:
    """A development chain of its own, on a free port, that does not outlive the test run.

    `automine` mines each transaction at once; without it, and without a `block_time` in seconds, only `mine` does.
    `slots_in_an_epoch` is n: `safe` is n blocks and `finalized` 2n blocks below the tip. `accounts` are ten unlocked
    accounts with 10,000 ether each.
    """

    url: str
    ws_url: str
    accounts: list[str]
    pid: int

    def __init__(
        self,
        *,
        chain_id: int = 31337,
        automine: bool = True,
        block_time: float | None = None,
        slots_in_an_epoch: int | None = None,
        args: Sequence[str] = (),
    ) -> None:
        """Choose the chain; `args` goes to anvil's command line as it is."""
        options = ["--chain-id", str(chain_id)]
        if block_time is not None:
            options += ["--block-time", str(block_time)]
        elif not automine:
            options += ["--no-mining"]
        if slots_in_an_epoch is not None:
            options += ["--slots-in-an-epoch", str(slots_in_an_epoch)]
        self.chain_id = chain_id
        self._options = [*options, *args]
        self._mines_each = automine and block_time is None
        self._contract_by_address: dict[str, str] = {}
        self._cleanup = contextlib.AsyncExitStack()
        self._draining: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the node and wait until it listens."""
        async with self._cleanup:
            await self._start()
            self._cleanup = self._cleanup.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the node."""
        await self._cleanup.aclose()

    async def _start(self) -> None:
        if not ANVIL.exists():
            message = f"{ANVIL} is missing: run tools/install-nodes anvil"
            raise FileNotFoundError(message)
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="chainbell-anvil-"))
        process = await asyncio.create_subprocess_exec(
            # Without a cache path a killed anvil leaves a folder in the home directory.
            ANVIL,
            *("--port", "0", "--cache-path", folder, *self._options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        self._cleanup.push_async_callback(self._kill, process)
        self.pid = process.pid
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            port = await _announced_port(process.stdout)
        self._draining = asyncio.create_task(_drain(process.stdout))
        self.url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}"
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
        self._session = await self._cleanup.enter_async_context(session)
        self.accounts = await self.rpc("eth_accounts")

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # To the end of its output too: an open pipe would outlive the event loop.
        if self._draining is not None:
            await self._draining
        elif process.stdout is not None:
            await _drain(process.stdout)

    async def rpc(self, method: str, *params: object) -> Any:
        """Call the node; its `result`. Raises RpcError with what the node answered instead."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self.url, json=request) as response:
            answer = await response.json()
        if "error" in answer:
            raise RpcError(method, answer["error"])
        return answer["result"]

    async def height(self) -> int:
        """Return the height of the tip."""
        return int(await self.rpc("eth_blockNumber"), 16)

    async def block(self, height: int | str = "latest", *, full: bool = False) -> dict[str, Any]:
        """Return a block by height or tag, with whole transactions if `full`."""
        name = hex(height) if isinstance(height, int) else height
        found: dict[str, Any] | None = await self.rpc("eth_getBlockByNumber", name, full)
        assert found is not None, f"anvil has no block {height}"
        return found

    async def block_hash(self, height: int | str = "latest") -> str:
        """Return the hash of a block by height or tag."""
        return str((await self.block(height))["hash"])

    async def balance(self, address: str) -> int:
        """Return the coins of an address at the tip, in wei."""
        return int(await self.rpc("eth_getBalance", address, "latest"), 16)

    async def send(self, frm: str, to: str | None, value: int = 0, **options: Unpack[TxOptions]) -> str:
        """Send a transaction from an unlocked account and return its hash. `to` None deploys `data`.

        Where each transaction is mined at once, it is in a block when this returns: anvil answers a moment before.
        """
        fields: dict[str, object] = {"from": frm, "value": hex(value), "data": "0x" + options.get("data", b"").hex()}
        if to is not None:
            fields["to"] = to
        numbers = {"nonce": options.get("nonce"), "gas": options.get("gas"), "gasPrice": options.get("gas_price")}
        fields |= {name: hex(number) for name, number in numbers.items() if number is not None}
        sent = str(await self.rpc("eth_sendTransaction", fields))
        if self._mines_each and options.get("nonce") is None:
            await self.receipt(sent)
        return sent

    async def mine(self, blocks: int = 1) -> int:
        """Mine blocks, the first with what waits in the pool; the new height."""
        await self.rpc("anvil_mine", hex(blocks))
        return await self.height()

    async def receipt(self, tx_hash: str) -> dict[str, Any]:
        """Return the receipt of a transaction, waiting until it is in a block."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                found: dict[str, Any] | None = await self.rpc("eth_getTransactionReceipt", tx_hash)
                if found is not None:
                    return found
                await asyncio.sleep(0.005)

    async def raw(self, tx_hash: str) -> str:
        """Return the signed bytes of a transaction as hex, also while it waits in the pool."""
        found: str | None = await self.rpc("eth_getRawTransactionByHash", tx_hash)
        assert found is not None, f"anvil does not know transaction {tx_hash}"
        return found

    async def resend(self, raw: str) -> str:
        """Send signed bytes (of `raw`) again, as after a reorg that lost them; the hash."""
        return str(await self.rpc("eth_sendRawTransaction", raw))

    async def deploy(self, contract: str, *args: object, frm: str | None = None) -> str:
        """Deploy a contract of tests/contracts or the demo, from `accounts[0]` by default; its address.

        It is mined when this returns. Without automining that takes a block, with all that waits in the pool.
        """
        tx_hash = await self.send(frm or self.accounts[0], None, data=creation_code(contract, *args))
        if not self._mines_each:
            await self.mine()
        receipt = await self.receipt(tx_hash)
        assert receipt["status"] == "0x1", f"deploying {contract} failed: {receipt}"
        address = str(receipt["contractAddress"])
        self._contract_by_address[address] = contract
        return address

    async def invoke(
        self, frm: str, address: str, function: str, *args: object, value: int = 0, **options: Unpack[TxOptions]
    ) -> str:
        """Send a call of a contract that `deploy` made; the transaction's hash."""
        options["data"] = call_data(self._contract_by_address[address], function, *args)
        return await self.send(frm, address, value, **options)

    async def read(self, address: str, function: str, *args: object) -> bytes:
        """Return the ABI-encoded answer of a view function of a contract that `deploy` made."""
        data = call_data(self._contract_by_address[address], function, *args)
        answer = await self.rpc("eth_call", {"to": address, "data": "0x" + data.hex()}, "latest")
        return bytes.fromhex(answer[2:])

    async def token_transfer(self, token: str, frm: str, to: str, amount: int, **options: Unpack[TxOptions]) -> str:
        """Send ERC-20 `transfer(to, amount)` and return the transaction's hash."""
        return await self.invoke(frm, token, "transfer", to, amount, **options)

    async def token_balance(self, token: str, address: str) -> int:
        """Return the tokens of an address at the tip, in base units."""
        return int.from_bytes(await self.read(token, "balanceOf", address))

    async def reorg(self, depth: int, raw_transactions: Sequence[str | tuple[str, int]] = ()) -> None:
        """Replace the newest `depth` blocks by as many others, and assert that each has another hash.

        The new blocks hold only `raw_transactions` (from `raw`): a string goes into the lowest of them, a pair
        (raw, n) into the n-th above it. Anvil forgets the rest: `resend` what shall return.
        """
        tip = await self.height()
        assert 0 < depth <= tip, f"a chain of height {tip} cannot reorganise {depth} blocks"
        replaced = range(tip - depth + 1, tip + 1)
        old = [await self.block(height) for height in replaced]
        ancestor = await self.block(replaced.start - 1)
        # Anvil can rebuild an empty block bit by bit, and forgets any other shift of the clock on its way back to the
        # common ancestor. So the first new block gets another distance from it, and the rest another parent.
        distance = int(old[0]["timestamp"], 16) - int(ancestor["timestamp"], 16)
        placed = [(entry, 0) if isinstance(entry, str) else entry for entry in raw_transactions]
        kept: list[str] = []
        for shift in range(1, REORG_TRIES + 1):
            await self.rpc("anvil_setBlockTimestampInterval", distance + shift)
            await self.rpc("anvil_reorg", depth, placed)
            await self.rpc("anvil_removeBlockTimestampInterval")
            kept = [block["number"] for block in old if await self.block_hash(int(block["number"], 16)) == block["hash"]]
            if not kept:
                break
        assert not kept, f"the reorg left blocks {kept} as they were"
        assert await self.height() >= tip  # anvil mines at once what waited in its pool for a nonce


async def _announced_port(output: asyncio.StreamReader) -> int:
    seen: deque[str] = deque(maxlen=20)
    while line := (await output.readline()).decode(errors="replace"):
        seen.append(line)
        if found := re.search(r"Listening on \S+:(\d+)", line):
            return int(found[1])
    message = f"anvil ended before it listened:\n{''.join(seen)}"
    raise ChildProcessError(message)


async def _drain(output: asyncio.StreamReader) -> None:
    """Read a node's output away, or it would stop when the pipe is full."""
    while await output.read(1 << 16):
        pass
