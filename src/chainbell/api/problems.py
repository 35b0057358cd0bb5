"""Every error as a problem document (RFC 9457), with what is wrong and what to do."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from chainbell.api.methods import allowed_methods
from chainbell.api.views.wire import Wire
from chainbell.domain.errors import ConflictError, InputError, NotFoundError, UnavailableError
from chainbell.domain.quoting import without_keys

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

_NOT_JSON = "json_invalid"
_PREFIXES = ("Value error, ", "Assertion failed, ")
_WORDS = {
    "extra_forbidden": "is unknown here: remove it, or check how it is written",
    "missing": "is missing: add it; /v2/openapi.json says what a request holds",
    "uuid_parsing": "is no UUID, as in 7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11: copy it whole from where it was shown",
    "uuid_type": "is no UUID, as in 7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11: write it as a string",
}
"""What to say of these kinds of flaws, in place of words that do not say what to do."""
_NOTHING_HERE = "there is nothing at this path: check how it is written; /v2/openapi.json lists what there is"

_log = structlog.get_logger()


class Flaw(Wire):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = None
    """Where in the body, as a JSON pointer in a URI fragment (``#/events/0``)."""
    parameter: str | None = None
    """Which parameter of the query, the path or the header."""


class Problem(Wire):
    """RFC 9457. ``type`` names the kind of problem for programs, ``detail`` says it to people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    errors: list[Flaw] = Field(default_factory=list)


def problem(  # noqa: PLR0913 - two say what it is, the others are rare and named
    request: Request,
    status: HTTPStatus,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Flaw] = (),
    more: Mapping[str, object] | None = None,
) -> Response:
    """Return a problem document; ``more`` are members beside the standard ones."""
    document = Problem(
        type=f"urn:chainbell:problem:{status.phrase.lower().replace(' ', '-')}",
        title=status.phrase,
        status=status.value,
        detail=detail,
        instance=quote(without_keys(request.url.path), safe="/:@!$&'()*+,;=~"),
        errors=list(errors),
    )
    content = document.model_dump(mode="json", by_alias=True, exclude_none=True) | dict(more or {})
    return JSONResponse(content, status.value, headers, MEDIA_TYPE)


def answer_errors_with_problems(app: FastAPI) -> None:
    """Make every error of an application a problem document, also those of the framework."""
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(InputError, _of_input)
    app.add_exception_handler(UnavailableError, _of_unavailable)
    app.add_exception_handler(Exception, _of_anything)


def _of_input(request: Request, error: Exception) -> Response:
    match error:
        case NotFoundError():
            status = HTTPStatus.NOT_FOUND
        case ConflictError():
            status = HTTPStatus.CONFLICT
        case _:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(request, status, str(error))


def _of_unavailable(request: Request, error: Exception) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=headers)


def _of_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    described = _NOTHING_HERE if status is HTTPStatus.NOT_FOUND else status.description
    detail = error.detail if error.detail != status.phrase else described or status.phrase
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = allowed_methods(request)
        return problem(request, status, f"allowed here: {allowed or 'GET'}", headers={"Allow": allowed or "GET"})
    return problem(request, status, detail, headers=error.headers)


def _of_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(entry["type"] == _NOT_JSON for entry in found):
        return problem(request, HTTPStatus.BAD_REQUEST, "the body is not JSON: check its quotes, commas and brackets")
    flaws = [_flaw(entry) for entry in found]
    first = flaws[0].pointer or flaws[0].parameter
    more = f", and {len(flaws) - 1} more, see errors" if len(flaws) > 1 else ""
    detail = f"{first}: {flaws[0].detail}{more}" if first else flaws[0].detail
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=flaws)


def _flaw(entry: Mapping[str, Any]) -> Flaw:
    """Say what is wrong and where, never with what was sent: that may be anything."""
    place, *path = entry["loc"]
    detail = _detail(entry)
    if place == "body":
        return Flaw(detail=detail, pointer="#" + "".join(f"/{_escaped(str(step))}" for step in path))
    return Flaw(detail=detail, parameter=_escaped(".".join(str(step) for step in path)))


def _detail(entry: Mapping[str, Any]) -> str:
    if words := _WORDS.get(entry["type"]):
        return words
    text = str(entry["msg"])
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _escaped(name: str) -> str:
    """Name a member that somebody sent: it may hold what no document can, such as half of a surrogate pair."""
    return without_keys(name).encode(errors="replace").decode()


def _of_anything(request: Request, error: Exception) -> Response:
    """Answer what nobody planned for; the server then raises it again, which logs it with its trace."""
    _log.error("request failed", path=without_keys(request.url.path), error=type(error).__name__)
    detail = "something went wrong here, and was logged: try again, and tell the operator if it stays"
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)
