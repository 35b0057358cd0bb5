"""What the OpenAPI document says of answers: the problems that an operation may return, and bodies that are ready bytes."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from chainbell.api.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, Problem

Responses = dict[int | str, dict[str, Any]]

_REF = "#/components/schemas/{model}"
_ANYWHERE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_TITLE = "Chainbell"
_DESCRIPTION = """
Watched addresses, webhook endpoints, tracked transactions and the feed of their events.

Every request needs an API key (`Authorization: Bearer cb_live_...` or `X-API-Key`), which sees its own mode, and its own
account if it has one. Listings are newest first and paged by `cursor`; `/v2/events` is a feed, oldest first. A write with
an `Idempotency-Key` is done once. Every error is a problem document (RFC 9457), `application/problem+json`.
"""


def problems(*statuses: HTTPStatus) -> Responses:
    """Return the problems of an operation: those that any may return, and these."""
    return {status.value: _problem(status) for status in sorted({*_ANYWHERE, *statuses})}


def _problem(status: HTTPStatus) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": status.phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        schema = {"type": "integer", "example": RETRY_AFTER_SECONDS}
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": schema}}
    return answer


def describe(app: FastAPI, version: str) -> None:
    """Give an application its OpenAPI document, built when first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=_TITLE, version=version, description=_DESCRIPTION, routes=app.routes)
            app.openapi_schema = _with_problem_schema(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the way that FastAPI documents


def _with_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    schema = Problem.model_json_schema(by_alias=True, mode="serialization", ref_template=_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    # Members beside the standard ones are allowed (RFC 9457, section 3.2), such as resumeFrom of the feed.
    schemas["Problem"] = schema | {"additionalProperties": True}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document
