"""The API in the test's own process, on a real database, and what its tests put there."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import httpx
from fastapi import FastAPI

from chainbell.api.app import create_api
from chainbell.api.services import ApiServices
from chainbell.config.chains import load_chains
from chainbell.domain.chain import BlockRef, ChainDefinition, Mode
from chainbell.domain.following import KeptLedger
from chainbell.domain.identity import movement_uid
from chainbell.domain.transaction import Chain, Transaction
from chainbell.events.publish import publish
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.api_keys import ApiKeyStore, NewApiKey, Scope, write_key
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Connection, Database
from chainbell.storage.delivery_log import DeliveryLog
from chainbell.storage.endpoints import EndpointStore
from chainbell.storage.event_list import EventList
from chainbell.storage.feed import Feed
from chainbell.storage.keys import KeyStore
from chainbell.storage.locks import lock_chain
from chainbell.storage.replays import ReplayJobs
from chainbell.storage.requeue import ReplayStore
from chainbell.storage.scan_list import ScanList
from chainbell.storage.sealing import SecretBox
from chainbell.storage.transaction_list import TransactionList
from chainbell.storage.transactions import save_transactions
from chainbell.storage.watches import WatchStore
from chainbell.telemetry.clock import now
from tests import builders

CURSOR = 100
"""Height of every chain that was started."""
BOX = SecretBox(bytes(range(32)))
LOCAL = ip_network("127.0.0.0/8")
BOTH = (Scope.READ, Scope.WRITE)
CHECKSUMMED = "0x52908400098527886E0F7030069857D2E4169EE7"


@dataclass(frozen=True, slots=True)
class ApiHouse:
    """A database, and the API on it. Of the chains, ``anvil`` (test) and ``ethereum`` (live) have a cursor."""

    services: ApiServices
    app: FastAPI

    @property
    def database(self) -> Database:
        return self.services.database

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Return a client of the API; what nobody planned for is answered, as by a server."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://chainbell.test", headers=headers)

    async def key(self, mode: Mode = Mode.TEST, scopes: Sequence[Scope] = BOTH, account: str | None = None) -> str:
        """Make an API key."""
        text = write_key(mode, secrets.token_bytes(32))
        await self.services.api_keys.add(NewApiKey("test", mode, scopes, account), text, now())
        return text

    async def account(self, mode: Mode = Mode.TEST) -> str:
        """Make an account."""
        return str(await self.fetchval("insert into accounts (mode, name) values ($1, 'another') returning id", mode.value))

    async def default_account(self, mode: Mode = Mode.TEST) -> str:
        return str(await self.fetchval("select id from accounts where is_default and mode = $1", mode.value))

    async def fetchval(self, sql: str, *args: object) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def grow(self, blocks: int, *, chain: str = "anvil") -> int:
        """Move a chain's cursor on over empty blocks; return its height."""
        async with self.database.transaction() as connection:
            await lock_chain(connection, chain)
            cursor: int = await connection.fetchval("select cursor_height from chains where name = $1", chain)
            for height in range(cursor + 1, cursor + blocks + 1):
                await connection.execute(
                    "insert into blocks (chain, height, hash, parent_hash) values ($1, $2, $3, $4)",
                    *(chain, height, builders.block_hash(height), builders.block_hash(height - 1)),
                )
            await connection.execute(
                "update chains set cursor_height = $2, cursor_hash = $3 where name = $1",
                *(chain, cursor + blocks, builders.block_hash(cursor + blocks)),
            )
        return cursor + blocks

    async def tell(self, number: int, *, chain: str = "anvil", account: str | None = None) -> str:
        """Commit a deposit in the cursor's block with its first two events, as the tracker would; return its uid."""
        async with self.database.transaction() as connection:
            await lock_chain(connection, chain)
            record = await _unseen(connection, self.services.chains[chain], number, account)
            told, events = builders.walk(record, [builders.included(CURSOR)], now=now())
            await save_transactions(connection, [told])
            await publish(Feed(connection), events)
        return told.uid


async def _unseen(connection: Connection, definition: ChainDefinition, number: int, account: str | None) -> Transaction:
    account = account or str(
        await connection.fetchval("select id from accounts where is_default and mode = $1", definition.mode.value)
    )
    asset_id = await connection.fetchval(
        "insert into assets (account_id, chain, contract, symbol, decimals, created_at) "
        "values ($1, $2, $3, 'USDT', 6, now()) "
        "on conflict (account_id, chain, contract) do update set symbol = 'USDT' returning id",
        account,
        definition.name,
        builders.TOKEN,
    )
    subject = builders.subject(
        chain=Chain(
            definition.name,
            definition.caip2,
            definition.kind,
            definition.wire_name,
            definition.mode,
            definition.native.decimals,
            definition.addresses,
        ),
        tx_hash=builders.tx_hash(number),
        account_id=account,
        asset_id=str(asset_id),
    )
    uid = movement_uid(subject.type, definition.caip2, subject.tx_hash, subject.asset, subject.address, 0)
    at = now()
    return replace(builders.deposit(), uid=uid, subject=subject, created_at=at, updated_at=at)


@asynccontextmanager
async def api_house(url: str, *, clock: Sequence[datetime] | None = None) -> AsyncIterator[ApiHouse]:
    """Open the API on a migrated database; `clock` are the times that it reads, one after another."""
    times = iter(clock) if clock is not None else None
    async with Database.open(url, size=20) as database:
        services = ApiServices(
            database=database,
            chains=load_chains(),
            box=BOX,
            watches=WatchStore(database),
            registry=AddressRegistry(database),
            keys=KeyStore(database),
            chain_states=ChainStates(database),
            endpoints=EndpointStore(database, BOX, [LOCAL]),
            deliveries=DeliveryLog(database),
            replays=ReplayStore(database),
            replay_jobs=ReplayJobs(database),
            scans=ScanList(database),
            transactions=TransactionList(database),
            events=EventList(database),
            api_keys=ApiKeyStore(database),
            now=now if times is None else lambda: next(times),
        )
        for name in ("anvil", "ethereum"):
            cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
            await services.chain_states.start(services.chains[name], builders.block_hash(0), KeptLedger((cursor,)), now())
        yield ApiHouse(services, create_api(services))
