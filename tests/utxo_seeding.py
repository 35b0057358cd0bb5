"""Outputs that are older than a watch, for tests: one to have, a node that holds them back, and what is known of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from chainbell.api.coverage_report import coverage_report
from chainbell.api.views.balance import BalanceView
from chainbell.api.views.coverage import AddressCoverageView
from chainbell.domain.address import parse_address
from chainbell.domain.seeding import SeedingState
from chainbell.storage.balances import read_balance
from chainbell.storage.database import Database
from chainbell.storage.scan_list import ScanList
from chainbell.storage.seeding import seeding_state
from chainbell.storage.watches import WatchStore
from tests.bitcoin import COIN, Coin, UtxoDaemon, satoshis
from tests.rpcproxy import Answer, Fault, Held, LyingProxy
from tests.utxo_house import FEE, UtxoHouse, own, utxo_house

IN_A_BLOCK = ["created", "awaiting_confirmation"]
"""What is told of something that was first seen in a block, and is not deep enough."""


class _Stores(NamedTuple):
    database: Database
    watches: WatchStore
    scans: ScanList


async def old_output(node: UtxoDaemon, kind: str = "bech32m", amount: int = COIN) -> tuple[str, Coin]:
    """Pay a fresh address of the wallet, mine that, and return the address and its coin, which the wallet leaves alone."""
    address = await _script_hash(node, kind) if kind in _INNER else await node.new_address(kind)
    return address, await own(node, address, amount)


_INNER = {"sh": "sh(pk({}))", "wsh": "wsh(multi(1,{}))"}


async def _script_hash(node: UtxoDaemon, kind: str) -> str:
    """Let the wallet have an address of a script; its keys are the wallet's own."""
    known = (await node.rpc("listdescriptors", True))["descriptors"]
    key = next(each["desc"] for each in known if each["desc"].startswith("wpkh("))[5:].partition("/")[0]
    bare = _INNER[kind].format(f"{key}/7/7")
    checksum = (await node.rpc("getdescriptorinfo", bare))["checksum"]
    descriptor = f"{bare}#{checksum}"
    (outcome,) = await node.rpc("importdescriptors", [{"desc": descriptor, "timestamp": "now"}])
    assert outcome["success"], outcome
    (address,) = await node.rpc("deriveaddresses", descriptor)
    return str(address)


async def spend_away(node: UtxoDaemon, coin: Coin) -> str:
    """Spend a coin to somebody who is not watched."""
    return await node.raw_transaction([coin], [(await node.new_address(), coin.amount - FEE)])


async def watches(home: UtxoHouse) -> list[Any]:
    return await home.fetch("select * from addresses where removed_at is null order by created_at, id")


async def coverage(home: UtxoHouse, address: str) -> AddressCoverageView:
    stores = _Stores(home.database, WatchStore(home.database), ScanList(home.database))
    (item,) = (await coverage_report(stores, [home.definition], address, None)).items
    assert item.address is not None
    return item.address


async def balance_of(home: UtxoHouse, address: str) -> BalanceView:
    found = await read_balance(home.database, home.definition.name, parse_address(home.definition.addresses, address))
    assert found is not None
    return BalanceView.of(found, home.definition)


async def holds(home: UtxoHouse, address: str, amount: int) -> None:
    """Check that an address holds so much by our ledger, and by the node's set."""
    told = await home.node.rpc("scantxoutset", "start", [f"addr({address})"])
    assert satoshis(told["total_amount"]) == amount
    balance = await balance_of(home, address)
    assert (balance.amount_base_units, balance.reason) == (str(amount), None)


async def state_of(home: UtxoHouse) -> SeedingState | None:
    async with home.database.connection() as connection:
        return await seeding_state(connection, home.definition.name)


class Gate:
    """Holds back what a node tells of its unspent outputs, and lets a test wait until it has told."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.asked = asyncio.Event()

    def rule(self, method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "scantxoutset" or params[0] != "start":
            return answer
        self.asked.set()
        return Held(self.release)


@asynccontextmanager
async def behind_a_proxy(node: UtxoDaemon, url: str) -> AsyncIterator[tuple[UtxoHouse, LyingProxy]]:
    async with LyingProxy(node.url) as proxy, utxo_house(node, url, node_urls=[proxy.url]) as home:
        yield home, proxy
