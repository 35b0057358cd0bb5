"""Webhook endpoints."""

from typing import Literal, Self
from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.chain import Mode
from chainbell.domain.delivery import Endpoint


class EndpointView(Wire):
    """A webhook receiver. Empty ``events``, ``chains`` or ``accounts`` stand for all."""

    id: UUID
    url: str
    version: Literal[1, 2]
    mode: Mode
    events: list[str]
    chains: list[str]
    accounts: list[UUID]
    account_id: UUID | None
    """The account that it belongs to; null: the operator."""
    enabled: bool
    disabled_reason: str | None
    created_at: WireTime

    @classmethod
    def of(cls, endpoint: Endpoint, **more: str) -> Self:
        """Show an endpoint; ``more`` are members that only a new one has."""
        return cls(
            id=UUID(endpoint.id),
            url=endpoint.url,
            version=endpoint.version.value,
            mode=endpoint.mode,
            events=list(endpoint.events),
            chains=list(endpoint.chains),
            accounts=[UUID(account) for account in endpoint.accounts],
            account_id=None if endpoint.account_id is None else UUID(endpoint.account_id),
            enabled=endpoint.enabled,
            disabled_reason=endpoint.disabled_reason,
            created_at=endpoint.created_at,
            **more,
        )


class NewEndpointView(EndpointView):
    """An endpoint just made, with its signing secret, which is shown this once."""

    secret: str
