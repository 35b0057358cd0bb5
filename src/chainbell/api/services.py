"""What the API works with, built by the composition root."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from chainbell.domain.chain import ChainDefinition
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.api_keys import ApiKeyStore
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.delivery_log import DeliveryLog
from chainbell.storage.endpoints import EndpointStore
from chainbell.storage.event_list import EventList
from chainbell.storage.keys import KeyStore
from chainbell.storage.replays import ReplayJobs
from chainbell.storage.requeue import ReplayStore
from chainbell.storage.scan_list import ScanList
from chainbell.storage.sealing import SecretBox
from chainbell.storage.transaction_list import TransactionList
from chainbell.storage.watches import WatchStore


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Stores of one database, the chains that are defined, and the clock."""

    database: Database
    chains: Mapping[str, ChainDefinition]
    """By name."""
    box: SecretBox
    """Seals answers that show a secret, so that a repeated request can be answered the same."""
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
    now: Callable[[], datetime]


def _of(request: Request) -> ApiServices:
    services: ApiServices = request.app.state.services
    return services


Services = Annotated[ApiServices, Depends(_of)]
"""A route's way to what it works with."""
