"""The chain that is read: anvil with full blocks of coin and token transfers between many addresses."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

import aiohttp

from tests.contract_abi import call_data
from tests.nodes import Anvil

TRANSACTIONS = 100
WATCHED_IN_A_BLOCK = 2
"""One coin and one token transfer of each block go to a watched address."""
_GAS_LIMIT = "60000000"


@dataclass(frozen=True, slots=True)
class BenchChain:
    """A node whose chain is ready to be read, from block 1 up to its tip."""

    url: str
    tip: int
    token: bytes
    recipients: Sequence[bytes]
    """Whoever gets something and should be watched."""


def stranger(number: int) -> bytes:
    """Return an address that nobody watches; no two blocks pay the same."""
    return sha256(b"stranger %d" % number).digest()[:20]


def customer(number: int) -> bytes:
    """Return an address to watch."""
    return sha256(b"customer %d" % number).digest()[:20]


@asynccontextmanager
async def full_chain(blocks: int) -> AsyncIterator[BenchChain]:
    """Start an anvil, and mine so many blocks of 100 transactions: half coin, half token, two of them to watched ones."""
    options = ("--gas-limit", _GAS_LIMIT, "--order", "fifo", "--disable-code-size-limit")
    async with Anvil(automine=False, args=options) as anvil:
        token = await anvil.deploy("Token", "Bench USD", "BUSD", 6, 10**15)
        writer = _Writer(anvil, token)
        for _ in range(blocks):
            await writer.add_block()
        recipients = [customer(number) for number in range(WATCHED_IN_A_BLOCK * blocks)]
        yield BenchChain(anvil.url, await anvil.height(), bytes.fromhex(token[2:]), recipients)


class _Writer:
    """Fills blocks, quickly: batches of transactions whose nonces we count."""

    def __init__(self, anvil: Anvil, token: str) -> None:
        self._anvil = anvil
        self._token = token
        self._blocks = 0
        self._nonce = 1  # the token's deployment was 0

    async def add_block(self) -> None:
        """Mine a block of 100 transactions."""
        payer = self._anvil.accounts[0]
        first = self._blocks * TRANSACTIONS
        calls = []
        for place in range(TRANSACTIONS):
            watched = place < WATCHED_IN_A_BLOCK
            to = customer(self._blocks * WATCHED_IN_A_BLOCK + place) if watched else stranger(first + place)
            calls.append(self._transfer(payer, to, token=place % 2 == 1, nonce=self._nonce + place))
        request = [
            {"jsonrpc": "2.0", "id": number, "method": "eth_sendTransaction", "params": [call]}
            for number, call in enumerate(calls)
        ]
        await _post(self._anvil.url, request)
        self._nonce += TRANSACTIONS
        self._blocks += 1
        await self._anvil.mine()
        block = await self._anvil.block()
        if len(block["transactions"]) != TRANSACTIONS:
            message = f"block {block['number']} has {len(block['transactions'])} transactions, not {TRANSACTIONS}"
            raise RuntimeError(message)

    def _transfer(self, payer: str, to: bytes, *, token: bool, nonce: int) -> dict[str, str]:
        call = {"from": payer, "nonce": hex(nonce), "gas": hex(90_000), "gasPrice": hex(10**11)}
        if token:
            data = call_data("Token", "transfer", "0x" + to.hex(), 1_000_000 + nonce)
            return call | {"to": self._token, "data": "0x" + data.hex()}
        return call | {"to": "0x" + to.hex(), "value": hex(10**12 + nonce)}


async def _post(url: str, request: list[dict[str, object]]) -> None:
    async with aiohttp.ClientSession() as session, session.post(url, json=request) as response:
        answers = await response.json()
    failed = [answer["error"] for answer in answers if "error" in answer]
    if failed:
        message = f"anvil refused {len(failed)} transactions, the first with {failed[0]}"
        raise RuntimeError(message)
