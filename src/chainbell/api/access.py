"""Who asks: an API key in a header, and what it may see and do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from chainbell.api.services import Services
from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError
from chainbell.storage.accounts import Viewer
from chainbell.storage.api_keys import ApiKey, Scope

_BEARER = HTTPBearer(scheme_name="bearer", description="Authorization: Bearer cb_live_...", auto_error=False)
_HEADER = APIKeyHeader(name="X-API-Key", scheme_name="apiKey", description="X-API-Key: cb_live_...", auto_error=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds an API key that is known and not revoked."""

    key: ApiKey

    @property
    def mode(self) -> Mode:
        """The mode that everything it sees and makes has."""
        return self.key.mode

    @property
    def account_id(self) -> str | None:
        """The one account that it sees; None: every account of its mode."""
        return self.key.account_id

    @property
    def viewer(self) -> Viewer:
        """Whose rows it may see."""
        return Viewer(self.key.mode, self.key.account_id)

    def account_for(self, wanted: UUID | None) -> str | None:
        """Return the account to register in; None: the default one.

        A key of one account registers only there, and learns of no other. Raises `InputError`.
        """
        account = None if wanted is None else str(wanted)
        if self.account_id is not None and account not in {None, self.account_id}:
            message = f"there is no account {account} of mode {self.mode.value}: leave it out for this API key's own"
            raise InputError(message)
        return account or self.account_id


async def _caller(
    services: Services,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    header: Annotated[str | None, Depends(_HEADER)],
) -> Caller:
    # Asked at each request, so that a revoked key is refused from the moment it is revoked.
    text = header if bearer is None else bearer.credentials
    key = await services.api_keys.recognise(text) if text else None
    if key is None:
        detail = (
            "this API key is unknown or revoked: `chainbell api-key add` makes another"
            if text
            else "an API key is needed, as Authorization: Bearer cb_...: `chainbell api-key add` makes one"
        )
        raise HTTPException(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
    return Caller(key)


def _with(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def allowed(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if scope not in caller.key.scopes:
            detail = f"this API key lacks the scope {scope.value}: use one that has it"
            raise HTTPException(HTTPStatus.FORBIDDEN, detail)
        return caller

    return allowed


Reader = Annotated[Caller, Depends(_with(Scope.READ))]
Writer = Annotated[Caller, Depends(_with(Scope.WRITE))]
