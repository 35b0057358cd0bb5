"""One database, opened, with everything that commands and the API read or write in it."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from chainbell.app.journaling import open_journal
from chainbell.config.chains import configured_chains
from chainbell.config.settings import Settings
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import ConfigurationError
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.api_keys import ApiKeyStore
from chainbell.storage.chains import ChainStates
from chainbell.storage.data_dir import default_data_dir, prepare_data_dir
from chainbell.storage.database import Database
from chainbell.storage.delivery_log import DeliveryLog
from chainbell.storage.embedded.server import embedded_server
from chainbell.storage.endpoints import EndpointStore
from chainbell.storage.event_list import EventList
from chainbell.storage.keys import KeyStore
from chainbell.storage.migrate import migrate, missing_migrations
from chainbell.storage.replays import ReplayJobs
from chainbell.storage.requeue import ReplayStore
from chainbell.storage.scan_list import ScanList
from chainbell.storage.sealing import SecretBox, check_secret_key, load_or_create_key, parse_secret_key
from chainbell.storage.transaction_list import TransactionList
from chainbell.storage.watches import WatchStore

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What commands and the API work with: one database, opened, and everything that reads or writes it."""

    settings: Settings
    chains: Mapping[str, ChainDefinition]
    dsn: str = field(repr=False)
    """Of the database, for who needs a pool of connections of its own."""
    database: Database
    box: SecretBox
    watches: WatchStore
    registry: AddressRegistry
    keys: KeyStore
    chain_states: ChainStates
    endpoints: EndpointStore
    deliveries: DeliveryLog
    replays: ReplayStore
    replay_jobs: ReplayJobs
    scans: ScanList
    transactions: TransactionList
    events: EventList
    api_keys: ApiKeyStore

    @classmethod
    def on(cls, database: Database, dsn: str, box: SecretBox, settings: Settings) -> Self:
        """Build everything on one pool of connections."""
        return cls(
            settings=settings,
            chains=configured_chains(settings),
            dsn=dsn,
            database=database,
            box=box,
            watches=WatchStore(database),
            registry=AddressRegistry(database),
            keys=KeyStore(database),
            chain_states=ChainStates(database),
            endpoints=EndpointStore(database, box, settings.allowed_networks),
            deliveries=DeliveryLog(database),
            replays=ReplayStore(database),
            replay_jobs=ReplayJobs(database),
            scans=ScanList(database),
            transactions=TransactionList(database),
            events=EventList(database),
            api_keys=ApiKeyStore(database),
        )


@asynccontextmanager
async def open_services(settings: Settings, *, migrating: bool = False) -> AsyncIterator[Services]:
    """Open the database that the settings name, embedded or not, and what works on it.

    A schema that is not up to date is migrated when `migrating`, and always in an embedded database. Raises
    `ConfigurationError` for what an operator must mend first, `DatabaseError` while the server does not answer.
    """
    configured_chains(settings)  # what is wrong there is told before anything is opened
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            dsn = settings.database_url.get_secret_value()
            box = _operators_box(settings)
        else:
            data_dir = prepare_data_dir(settings.data_dir or default_data_dir(os.environ, os.getuid()))
            dsn = await stack.enter_async_context(embedded_server(data_dir, log=_log.info))
            box = _box_beside(data_dir, settings)
            migrating = True
        database = await stack.enter_async_context(Database.open(dsn))
        await _check(database, box, migrating=migrating)
        database.journal = await open_journal(database, settings)
        yield Services.on(database, dsn, box, settings)


def _operators_box(settings: Settings) -> SecretBox:
    if settings.secret_key is None:
        message = (
            "CHAINBELL_SECRET_KEY is missing: with CHAINBELL_DATABASE_URL you keep the key that encrypts secrets. "
            "Make one with `openssl rand -base64 32`, and keep it as safe as your backups"
        )
        raise ConfigurationError(message)
    return SecretBox(parse_secret_key(settings.secret_key.get_secret_value()))


def _box_beside(data_dir: Path, settings: Settings) -> SecretBox:
    if settings.secret_key is not None:
        return _operators_box(settings)
    return SecretBox(load_or_create_key(data_dir))


async def _check(database: Database, box: SecretBox, *, migrating: bool) -> None:
    async with database.connection() as connection:
        if migrating:
            for name in await migrate(connection):
                _log.info("migrated", migration=name)
        elif missing := await missing_migrations(connection):
            message = f"the database lacks {', '.join(missing)}: run `chainbell migrate` first"
            raise ConfigurationError(message)
        await check_secret_key(connection, box)
