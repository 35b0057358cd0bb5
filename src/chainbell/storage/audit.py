"""What operators did to a database as a whole: kept for ever, beside what it changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from chainbell.storage.database import Connection

_INSERT = "insert into audit (at, actor, action, details) values ($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does something, when, and on what grounds."""

    actor: str
    """User and machine."""
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON members."""


async def write_audit(connection: Connection, action: str, deed: Deed, result: Mapping[str, Any]) -> None:
    """Write one record, in the transaction that does what it says."""
    details = orjson.dumps({**deed.details, **result}).decode()
    await connection.execute(_INSERT, deed.at, deed.actor, action, details)
