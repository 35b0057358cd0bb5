"""``POST /v2/addresses/bulk``: up to 100,000 addresses in one call, streamed in and answered batch by batch."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from chainbell.api.access import Writer
from chainbell.api.chain_names import named_chain
from chainbell.api.documents import problems
from chainbell.api.history import MAX_HEIGHT, asked_history
from chainbell.api.problems import problem
from chainbell.api.services import ApiServices, Services
from chainbell.api.views.bulk_registration import BadLinesView, BatchView, BrokenOffView, SummaryView
from chainbell.api.views.wire import Wire
from chainbell.custody.address_file import AddressFile, BadLines, Entry, FileContent, FileFormat
from chainbell.custody.registration import Order, Tally, all_bad_lines, register_in_batches
from chainbell.domain.address import AddressFormat
from chainbell.domain.errors import UnavailableError

PATH = "/addresses/bulk"

router = APIRouter(tags=["addresses"])

BULK_LIMIT_BYTES = 32_000_000
"""Of the body: 100,000 lines of 320 bytes."""
NDJSON = "application/x-ndjson"

_FORMATS = {"text/csv": FileFormat.CSV, NDJSON: FileFormat.NDJSON}
_CHARSET = re.compile(r'charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "address,label,customer\n0x52908400098527886E0F7030069857D2E4169EE7,till 7,\n",
            },
            NDJSON: {
                "schema": {"type": "string"},
                "example": '{"address": "0x52908400098527886E0F7030069857D2E4169EE7", "label": "till 7"}\n',
            },
        },
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {
        "description": (
            "One JSON object a line, told apart by `type`: `batch` for each commit, then `summary`, or `error` where it "
            "could not go on. An answer without one of those two at its end was cut off. In all cases what a `batch` says "
            "stands, and the same call again registers what is missing."
        )
    }
}


class BulkQuery(Wire):
    """Where all addresses of the body go."""

    chain: Annotated[str, Field(max_length=64)]
    """Name of the chain's definition, or its name on the wire."""
    account_id: UUID | None = None
    """Absent: the API key's account, else the default account of the chain's mode."""
    from_height: Annotated[int, Field(ge=0, le=MAX_HEIGHT)] | None = None
    """Look for their past too, from this block on; needs ``notify``."""
    notify: bool | None = None
    """Whether endpoints are told of what is found in the past; it is on the feed in any case."""


class NdjsonResponse(StreamingResponse):
    """JSON objects, one a line, as they come to be."""

    media_type = NDJSON


@router.post(
    PATH,
    response_class=NdjsonResponse,
    response_model=None,
    responses=problems(HTTPStatus.UNSUPPORTED_MEDIA_TYPE) | _ANSWER,
    openapi_extra=_BODY,
)
async def add_addresses(
    request: Request, query: Annotated[BulkQuery, Query()], services: Services, caller: Writer
) -> Response:
    """Watch up to 100,000 addresses of one chain: CSV with the header `address,label,customer,purpose`, or NDJSON.

    All lines are checked first; while one is wrong, nothing is registered, and the problem's `badLines` name the first 100.
    Then they are registered in batches of at most 1,000, each with its own `watchedFrom`. An address that another account
    watches is reported as a conflict, and the others stand. Repeating the call is harmless, and the way to go on after it
    was broken off; there is no need for an `Idempotency-Key`, and none is taken.
    """
    file_format = _format(request)
    chain = named_chain(services.chains, query.chain, caller.mode)
    history = asked_history(query.from_height, query.notify)
    account_id = await services.registry.holding_account(chain.name, caller.account_for(query.account_id))
    try:
        content = await _read(request, AddressFile(chain.addresses, file_format))
    except ClientDisconnect:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
    bad = await all_bad_lines(services.registry, account_id, content)
    if bad.total:
        return _refusal(request, bad)
    return NdjsonResponse(_register(services, Order(chain.name, account_id, history), content.entries, chain.addresses))


def _format(request: Request) -> FileFormat:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    file_format = _FORMATS.get(media_type.strip().lower())
    charset = _CHARSET.search(parameters)
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if file_format is None or encoded or (charset is not None and charset[1].lower() not in {"utf-8", "us-ascii"}):
        detail = f"send UTF-8 as it is, with the Content-Type {' or '.join(_FORMATS)}"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    return file_format


async def _read(request: Request, file: AddressFile) -> FileContent:
    """Read the body piece by piece, in a thread: a large file is seconds of work, in which everything else goes on."""
    async for piece in request.stream():
        await asyncio.to_thread(file.feed, piece)
        if file.given_up:
            break
    return file.finish()


def _refusal(request: Request, bad: BadLines) -> Response:
    detail = f"{bad.summary}. Line {bad.first[0].line}: {bad.first[0].reason}"
    more = BadLinesView.of(bad).model_dump(by_alias=True)
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, more=more)


async def _register(
    services: ApiServices, order: Order, entries: list[Entry], addresses: AddressFormat
) -> AsyncIterator[bytes]:
    tally = Tally()
    try:
        async with aclosing(register_in_batches(services.registry, order, entries, services.now)) as batches:
            async for batch in batches:
                tally.add(batch)
                yield BatchView.of(batch, addresses).to_json() + b"\n"
    except UnavailableError as error:
        yield BrokenOffView.of(error, tally).to_json() + b"\n"
    else:
        yield SummaryView.of(tally).to_json() + b"\n"
