"""Writes: one transaction each, and once only under an ``Idempotency-Key``, whose row comes first in it.

Only what was committed is remembered. A request that was refused, or failed, changed nothing: sent again under its key it
is tried again. An answer that shows a secret is sealed before it is stored.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.responses import Response

from chainbell.api.access import Caller, Writer
from chainbell.api.services import ApiServices, Services
from chainbell.domain.identity import canonical
from chainbell.storage.database import Connection
from chainbell.storage.deriving import with_derived
from chainbell.storage.idempotency import DoneBefore, KeyedRequest, claim_key, record_answer

Work = Callable[[Connection], Awaitable[bytes]]
"""Does what was asked inside an open transaction, and returns the answer's body."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Any text of yours, new for each write. The same request under the same key is done once; for 24 hours its "
            "repetitions get the same answer, with the header Idempotent-Replay: true."
        ),
    ),
]


class Write:
    """One request that changes something."""

    def __init__(self, services: ApiServices, caller: Caller, request: KeyedRequest | None) -> None:
        self.caller = caller
        self.now: datetime = services.now()
        self._services = services
        self._request = request

    async def once(self, status: int, work: Work, *, secret: bool = False) -> Response:
        """Do the work and commit, or give the answer that it got before; what it returns is durable.

        ``secret`` says that the answer shows a secret. Raises what `work` raises, and `InputError` for a key that stood
        for another request.
        """
        return await with_derived(self._services.database, partial(self._once, status, work, secret=secret))

    async def _once(self, status: int, work: Work, *, secret: bool) -> Response:
        async with self._services.database.transaction() as connection:
            if self._request is None:
                return _answer(status, await work(connection))
            done = await claim_key(connection, self._request, self.now)
            if done is not None:
                body = self._opened(done.response) if secret else done.response
                return _answer(done.status_code, body, replayed=True)
            body = await work(connection)
            kept = self._sealed(body) if secret else body
            await record_answer(connection, self._request, DoneBefore(status, kept))
        return _answer(status, body)

    def _sealed(self, body: bytes) -> bytes:
        return self._services.box.seal(body, self._row())

    def _opened(self, sealed: bytes) -> bytes:
        return self._services.box.open(sealed, self._row())

    def _row(self) -> str:
        if self._request is None:
            message = "nothing is stored without an Idempotency-Key"
            raise AssertionError(message)
        return f"idempotency_keys:{self._request.api_key_id}:{self._request.key}"


async def _write(request: Request, services: Services, caller: Writer, key: IdempotencyKey = None) -> Write:
    if key is None:
        return Write(services, caller, None)
    parts = [request.method.encode(), request.url.path.encode(), request.url.query.encode(), await request.body()]
    return Write(services, caller, KeyedRequest(caller.key.id, key, hashlib.sha256(canonical(parts)).digest()))


Writing = Annotated[Write, Depends(_write)]


def _answer(status: int, body: bytes, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replay": "true"} if replayed else {}
    return Response(body or None, status, headers, "application/json" if body else None)
