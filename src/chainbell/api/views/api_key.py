"""API keys, without the key."""

from typing import Self
from uuid import UUID

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import ApiKey, Scope


class ApiKeyView(Wire):
    """An API key as it is remembered."""

    id: UUID
    name: str
    mode: Mode
    prefix: str
    scopes: list[Scope]
    account_id: UUID | None
    created_at: WireTime
    revoked_at: WireTime | None

    @classmethod
    def of(cls, remembered: ApiKey, **more: str) -> Self:
        """Show a key; ``more`` are members that only a new one has."""
        return cls(
            id=UUID(remembered.id),
            name=remembered.name,
            mode=remembered.mode,
            prefix=remembered.prefix,
            scopes=sorted(remembered.scopes),
            account_id=None if remembered.account_id is None else UUID(remembered.account_id),
            created_at=remembered.created_at,
            revoked_at=remembered.revoked_at,
            **more,
        )


class NewApiKeyView(ApiKeyView):
    """A key just made, which is shown this once."""

    key: str
