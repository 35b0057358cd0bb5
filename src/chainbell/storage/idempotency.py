"""What an ``Idempotency-Key`` has done: a row that comes first in the transaction of the write it stands for.

So a key is remembered if and only if its write was committed: a refused or failed request changed nothing, and may be
tried again under the same key. A second request under a key waits on the row until the first has ended.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from chainbell.domain.errors import InputError
from chainbell.storage.database import Connection, Database

RETENTION = timedelta(hours=24)
"""How long a key is remembered; after that it is as good as new."""

_CLAIM = """
insert into idempotency_keys (api_key_id, key, request_hash, created_at) values ($1, $2, $3, $4)
on conflict (api_key_id, key) do update
    set request_hash = excluded.request_hash, created_at = excluded.created_at, status_code = null, response = null
    where idempotency_keys.created_at <= $5
returning key
"""

_DONE = "select request_hash, status_code, response from idempotency_keys where api_key_id = $1 and key = $2"

_RECORD = "update idempotency_keys set status_code = $3, response = $4 where api_key_id = $1 and key = $2"

_FORGET = """
delete from idempotency_keys where (api_key_id, key) in (
    select api_key_id, key from idempotency_keys where created_at <= $1 for update skip locked)
"""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A write as it is told from others under its key."""

    api_key_id: str
    key: str
    request_hash: bytes
    """Of method, path and body."""


@dataclass(frozen=True, slots=True)
class DoneBefore:
    """The answer that a key's first request got."""

    status_code: int
    response: bytes


async def claim_key(connection: Connection, request: KeyedRequest, now: datetime) -> DoneBefore | None:
    """Take a key, before anything else is locked or written, or return what its first request was answered.

    Waits while another transaction holds the key. Raises `InputError` when the key stood for another request.
    """
    claimed = await connection.fetchval(_CLAIM, request.api_key_id, request.key, request.request_hash, now, now - RETENTION)
    if claimed is not None:
        return None
    row = await connection.fetchrow(_DONE, request.api_key_id, request.key)
    if row is None or row["status_code"] is None:
        message = "an idempotency key was committed without its answer"
        raise AssertionError(message)
    if row["request_hash"] != request.request_hash:
        message = (
            "this Idempotency-Key was used for another request: take a new key for each write, "
            "and repeat one only with the same method, path and body"
        )
        raise InputError(message)
    return DoneBefore(row["status_code"], row["response"])


async def record_answer(connection: Connection, request: KeyedRequest, answer: DoneBefore) -> None:
    """Keep the answer to a claimed key's request, in the same transaction."""
    await connection.execute(_RECORD, request.api_key_id, request.key, answer.status_code, answer.response)


async def forget_old_keys(database: Database, now: datetime) -> int:
    """Delete what is older than `RETENTION`, and return how many keys that were."""
    async with database.connection() as connection:
        tag = await connection.execute(_FORGET, now - RETENTION)
    return int(tag.rpartition(" ")[2])
