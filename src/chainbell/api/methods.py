"""Which methods a path has: the framework knows only those of the first route that matches it."""

import re

from starlette.requests import Request

_PARAMETER = re.compile(r"\\\{[^}]*\\\}")


def allowed_methods(request: Request) -> str:
    """Return the ``Allow`` header (RFC 9110, section 15.5.6) of the path that was asked for, by the OpenAPI document."""
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    methods = {
        method.upper()
        for template, operations in paths.items()
        if _pattern(template).fullmatch(request.url.path)
        for method in operations
    }
    return ", ".join(sorted(methods))


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(_PARAMETER.sub("[^/]+", re.escape(template)))
