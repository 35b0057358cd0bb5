"""API keys: 256 random bits, shown once, kept as their SHA-256."""

import base64
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.storage.accounts import check_accounts
from chainbell.storage.database import Database, Record
from chainbell.storage.paging import Page, PageRequest, to_page
from chainbell.storage.registrations import api_key_added, api_key_revoked, note

KEY_BYTES = 32
MAX_NAME_LENGTH = 100
_RANDOM_PART_SHOWN = 6

_INSERT = """
insert into api_keys (name, mode, prefix, hash, scopes, account_id, created_at) values ($1, $2, $3, $4, $5, $6, $7)
returning *
"""

_LIST = """
select * from api_keys
where ($1::timestamptz is null or (created_at, id) < ($1, $2::uuid)) order by created_at desc, id desc limit $3
"""

_REVOKE = "update api_keys set revoked_at = coalesce(revoked_at, $2) where id = $1 returning id"


class Scope(StrEnum):
    """What a key may do. ``write`` does not include ``read``."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is remembered: everything but the key."""

    id: str
    name: str
    mode: Mode
    prefix: str
    """First characters of the key, to recognise it by."""
    scopes: frozenset[Scope]
    account_id: str | None
    """The one account that it sees; None: every account of its mode."""
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What somebody asks for. Without an account: a key for every account of its mode."""

    name: str
    mode: Mode
    scopes: Collection[Scope]
    account_id: str | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for a key that could do nothing, or that nobody would recognise."""
        if not 1 <= len(self.name) <= MAX_NAME_LENGTH or not self.name.isprintable():
            message = f"an API key's name must have 1 to {MAX_NAME_LENGTH} printable characters"
            raise InputError(message)
        if not self.scopes:
            message = f"an API key needs at least one scope: {', '.join(Scope)}"
            raise InputError(message)


def write_key(mode: Mode, random_bytes: bytes) -> str:
    """Return a key as it is shown once: ``cb_live_...`` or ``cb_test_...``, and base64url of 32 random bytes."""
    if len(random_bytes) != KEY_BYTES:
        message = f"an API key is made of {KEY_BYTES} random bytes, not {len(random_bytes)}"
        raise ValueError(message)
    return f"{_start(mode)}{base64.urlsafe_b64encode(random_bytes).decode().rstrip('=')}"


class ApiKeyStore:
    """Makes, recognises, lists and revokes API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, wanted: NewApiKey, key: str, now: datetime) -> ApiKey:
        """Remember a key from `write_key`. Raises `InputError` for an account that is not there or of another mode."""
        accounts = [] if wanted.account_id is None else [wanted.account_id]
        async with self._database.transaction() as connection:
            await check_accounts(connection, wanted.mode, accounts)
            row = await connection.fetchrow(
                _INSERT,
                wanted.name,
                wanted.mode.value,
                key[: len(_start(wanted.mode)) + _RANDOM_PART_SHOWN],
                _hash(key),
                sorted({scope.value for scope in wanted.scopes}),
                wanted.account_id,
                now,
            )
            if row is None:
                message = "insert returned no row"
                raise AssertionError(message)
            made = _to_key(row)
            note(connection, api_key_added(_facts(made), now))
        return made

    async def recognise(self, key: str) -> ApiKey | None:
        """Return what is remembered of a key; None when it is unknown or revoked."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from api_keys where hash = $1 and revoked_at is null", _hash(key))
        return None if row is None else _to_key(row)

    async def list(self, request: PageRequest) -> Page[ApiKey]:
        """Return a page of keys, newest first, revoked ones too."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, *request.after_key(UUID), request.limit + 1)
        return to_page([_to_key(row) for row in rows], request, lambda key: (key.created_at, key.id))

    async def revoke(self, id_: UUID, now: datetime) -> None:
        """Refuse a key from now on; once more is no error. Raises `NotFoundError`."""
        async with self._database.transaction() as connection:
            found = await connection.fetchval(_REVOKE, id_, now)
            if found is None:
                message = f"there is no API key {id_}: `chainbell api-key list` shows their ids"
                raise NotFoundError(message)
            note(connection, api_key_revoked(str(id_), now))


def _start(mode: Mode) -> str:
    return f"cb_{mode.value}_"


def _hash(key: str) -> bytes:
    """No salt and no stretching: 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).digest()


def _facts(key: ApiKey) -> dict[str, object]:
    """Return what the journal keeps of a key: enough to recognise it and to make another like it."""
    return {
        "id": key.id,
        "name": key.name,
        "mode": key.mode.value,
        "prefix": key.prefix,
        "scopes": sorted(key.scopes),
        "accountId": key.account_id,
    }


def _to_key(row: Record) -> ApiKey:
    return ApiKey(
        id=str(row["id"]),
        name=row["name"],
        mode=Mode(row["mode"]),
        prefix=row["prefix"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        account_id=None if row["account_id"] is None else str(row["account_id"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
