"""What an open transaction registers or removes, noted for the journal that is written once it has committed.

Whoever writes an address, an endpoint or an API key calls `note` in the same transaction; `Database.transaction` then hands
what was noted to the journal, after the commit and before anybody is told. So neither the API nor a command can forget it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chainbell.domain.delivery import Endpoint
from chainbell.domain.watch import Purpose, Watch


class Action(StrEnum):
    """What was done; the words of the journal."""

    ADDRESSES_ADDED = "addresses_added"
    ADDRESSES_REMOVED = "addresses_removed"
    KEY_ADDED = "key_added"
    """An extended public key, or a descriptor of public keys."""
    ENDPOINT_SAVED = "endpoint_saved"
    """Registered, or changed: the line says how it is from then on."""
    ENDPOINT_REMOVED = "endpoint_removed"
    API_KEY_ADDED = "api_key_added"
    API_KEY_REVOKED = "api_key_revoked"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: JSON members, without any secret."""

    action: Action
    at: datetime
    members: Mapping[str, Any]


_noted: dict[object, list[Entry]] = {}


@contextmanager
def noting(connection: object) -> Iterator[list[Entry]]:
    """Collect what is noted on a connection meanwhile."""
    entries = _noted[connection] = []
    try:
        yield entries
    finally:
        del _noted[connection]


def note(connection: object, *entries: Entry) -> None:
    """Note what the open transaction registers or removes; only inside of `Database.transaction`."""
    if connection not in _noted:
        message = "registered outside of Database.transaction: the journal would not hear of it"
        raise AssertionError(message)
    _noted[connection] += entries


def addresses_added(watches: Sequence[Watch], now: datetime) -> list[Entry]:
    """Say that addresses are watched: one line for each chain, account and `watched_from`, however many they are."""
    groups: dict[tuple[str, str, int], list[dict[str, str]]] = defaultdict(list)
    for watch in watches:
        facts = {"address": f"0x{watch.address.hex()}", "label": watch.label, "customerId": watch.customer_id}
        known = {name: value for name, value in facts.items() if value is not None}
        if watch.purpose is not Purpose.DEPOSIT:
            known["purpose"] = watch.purpose.value
        groups[watch.chain, watch.account_id, watch.watched_from].append(known)
    return [
        Entry(
            Action.ADDRESSES_ADDED,
            now,
            {"chain": chain, "accountId": account_id, "watchedFrom": watched_from, "addresses": addresses},
        )
        for (chain, account_id, watched_from), addresses in groups.items()
    ]


def addresses_removed(chain: str, addresses: Sequence[bytes], now: datetime) -> Entry:
    """Say that addresses are not watched any more."""
    texts = [{"address": f"0x{address.hex()}"} for address in addresses]
    return Entry(Action.ADDRESSES_REMOVED, now, {"chain": chain, "addresses": texts})


def key_added(members: Mapping[str, Any], now: datetime) -> Entry:
    """Say that an extended public key is watched: how to register it again. What it hands out is told as any address."""
    return Entry(Action.KEY_ADDED, now, members)


def endpoint_saved(endpoint: Endpoint, now: datetime) -> Entry:
    """Say how an endpoint is from now on. Its secrets are not part of it."""
    members = {
        "id": endpoint.id,
        "url": endpoint.url,
        "version": endpoint.version.value,
        "mode": endpoint.mode.value,
        "events": list(endpoint.events),
        "chains": list(endpoint.chains),
        "accounts": list(endpoint.accounts),
        "enabled": endpoint.enabled,
        "accountId": endpoint.account_id,
    }
    return Entry(Action.ENDPOINT_SAVED, now, members)


def endpoint_removed(endpoint_id: str, now: datetime) -> Entry:
    """Say that an endpoint is gone."""
    return Entry(Action.ENDPOINT_REMOVED, now, {"id": endpoint_id})


def api_key_added(members: Mapping[str, Any], now: datetime) -> Entry:
    """Say that an API key is valid: its id, name, mode, prefix, scopes and account, never the key or its hash."""
    return Entry(Action.API_KEY_ADDED, now, members)


def api_key_revoked(key_id: str, now: datetime) -> Entry:
    """Say that an API key is refused."""
    return Entry(Action.API_KEY_REVOKED, now, {"id": key_id})


def restored(generation: int, began_behind: int, now: datetime) -> Entry:
    """Say that the database was restored from a backup, and which generation began behind which feed position."""
    return Entry(Action.RESTORED, now, {"newGeneration": generation, "beganBehind": began_behind})
