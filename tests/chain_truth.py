"""What a chain itself says of watched addresses, by plain JSON-RPC. Imports nothing from Chainbell: it is the judge."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@dataclass(frozen=True, order=True)
class Truth:
    """One side of a movement, as the best chain has it now."""

    type: str
    hash: str
    asset: str
    address: str
    position: int
    amount: int
    status: str


async def read_truth(
    url: str, watched: set[str], tokens: set[str], first: int, required: int, tip: int | None = None
) -> list[Truth]:
    """Read every block from `first` to `tip` (or the newest) and return what moved to or from watched addresses."""
    watched = {address.lower() for address in watched}
    tokens = {token.lower() for token in tokens}
    async with aiohttp.ClientSession() as session:

        async def rpc(method: str, *params: object) -> Any:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            async with session.post(url, json=body) as response:
                return (await response.json())["result"]

        last = tip if tip is not None else int(await rpc("eth_blockNumber"), 16)
        found: list[Truth] = []
        for height in range(first, last + 1):
            block = await rpc("eth_getBlockByNumber", hex(height), True)
            settled = last - height + 1 >= required
            for transaction in block["transactions"]:
                receipt = await rpc("eth_getTransactionReceipt", transaction["hash"])
                found.extend(_of_transaction(transaction, receipt, watched, tokens, settled=settled))
    return sorted(found)


def _of_transaction(
    transaction: dict[str, Any], receipt: dict[str, Any], watched: set[str], tokens: set[str], *, settled: bool
) -> list[Truth]:
    succeeded = receipt["status"] == "0x1"
    moves: list[tuple[str, str, str, int]] = []
    if int(transaction["value"], 16) and transaction["to"] is not None:
        moves.append(("", transaction["from"], transaction["to"], int(transaction["value"], 16)))
    for log in receipt["logs"]:
        if (
            log["address"].lower() in tokens
            and log["topics"][0] == TRANSFER
            and len(log["topics"]) == 3
            and int(log["data"], 16)
        ):
            sender, recipient = ("0x" + topic[-40:] for topic in log["topics"][1:])
            moves.append((log["address"].lower(), sender, recipient, int(log["data"], 16)))
    counted: Counter[tuple[str, str, str]] = Counter()
    found = []
    for asset, sender, recipient, amount in moves:
        for type_, address in (("DEPOSIT", recipient.lower()), ("TRANSFER", sender.lower())):
            position = counted[type_, asset, address]
            counted[type_, asset, address] += 1
            if address not in watched or (type_ == "DEPOSIT" and not succeeded):
                continue
            ended = "SUCCESS" if succeeded else "FAILED"
            status = ended if settled else "AWAITING_CONFIRMATION"
            found.append(Truth(type_, transaction["hash"], asset, address, position, amount, status))
    return found


if __name__ == "__main__":
    for truth in asyncio.run(read_truth(sys.argv[1], set(sys.argv[2].split(",")), set(sys.argv[3].split(",")), 1, 3)):
        print(truth)  # noqa: T201
