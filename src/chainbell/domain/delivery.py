"""Webhook endpoints and what is sent to them, as it crosses from the events to their delivery."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from chainbell.domain.chain import Mode


class WebhookVersion(IntEnum):
    """Format of a webhook's body."""

    V1 = 1
    V2 = 2


class DeliveryStatus(StrEnum):
    """Where the delivery of one event to one endpoint stands."""

    PENDING = "pending"
    """Due now or later, or being sent."""
    SUCCEEDED = "succeeded"
    EXHAUSTED = "exhausted"
    """Every attempt of the schedule failed; it can be replayed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook receiver. Empty ``events``, ``chains`` or ``accounts`` stand for all."""

    id: str
    url: str
    version: WebhookVersion
    mode: Mode
    events: tuple[str, ...]
    """Event types; a last segment ``*`` stands for all that begin so."""
    chains: tuple[str, ...]
    accounts: tuple[str, ...]
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    account_id: str | None = None
    """Who made it and may see it; None: the operator."""


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event as it is stored: rendered to bytes once, for each version, and numbered in the feed."""

    position: int
    id: str
    type: str
    v1_type: str | None
    """None where the legacy format has no such event."""
    resource_id: str
    sequence: int
    occasion: tuple[bytes, ...]
    mode: Mode
    chain: str
    account_id: str
    generation: int
    at: datetime
    body_v2: bytes
    body_v1: bytes | None
    silent: bool = False
    """Found by a scan of the past, of which no endpoint is to be told."""
