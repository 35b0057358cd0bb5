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
    def of(cls, key: ApiKey) -> Self:
        """Show a key."""
        return cls(
            id=UUID(key.id),
            name=key.name,
            mode=key.mode,
            prefix=key.prefix,
            scopes=sorted(key.scopes),
            account_id=None if key.account_id is None else UUID(key.account_id),
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )


class NewApiKeyView(ApiKeyView):
    """A key just made, which is shown this once."""

    key: str
