"""What all JSON of ours has in common: camelCase members, times in UTC with microseconds, no member unknown."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from chainbell.events.v2 import wire_time

T = TypeVar("T")

WireTime = Annotated[
    datetime,
    PlainSerializer(wire_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time as webhooks write it: ``2026-11-22T10:00:00.123456Z``."""


class Wire(BaseModel):
    """A JSON object of ours. Its attributes are in snake_case, its members in camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    def to_json(self) -> bytes:
        """Return it as it goes over the wire."""
        return self.model_dump_json(by_alias=True).encode()


class Items(Wire, Generic[T]):
    """One page of a listing, newest first."""

    items: list[T]
    next_cursor: str | None
    """Pass it as ``cursor`` to get the next page; null: this was the last."""
