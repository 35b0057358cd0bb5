"""Where a node is, and what to call it without its secrets. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_PATH_DIGITS = 16
_SHORTEST_PASSWORD = 4
_SHORTEST_KEY = 8
"""Shorter segments of a path are words like ``v3`` and ``rpc``; providers' keys are much longer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node as it was configured. Only ``name`` may be shown."""

    name: str
    """The URL without credentials and keys."""
    url: str = field(repr=False)
    """``http(s)``: where JSON-RPC is posted to."""
    websocket: str | None = field(repr=False, default=None)
    """``ws(s)``: where new heads are announced; None: polling alone."""
    rps: float | None = None
    """Requests per second that it gets at most, each entry of a batch being one; None: as many as we have."""
    cookie: str | None = field(repr=False, default=None)
    """The file that holds the user and the password of the node's present run; None: those in ``url``, if any."""
    zmq: tuple[str, ...] = field(repr=False, default=())
    """``tcp://host:port``: where the node publishes over ZMQ; nothing: polling alone."""

    @property
    def place(self) -> str:
        """Which node this is, whatever else is written into its URL: what is kept of it in the database is kept by this.

        Host and port, and a digest of the path, which leads to different nodes behind one proxy and may be a key.
        """
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        digest = "/" + hashlib.sha256(path.encode()).hexdigest()[:_PATH_DIGITS] if path else ""
        return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}{digest}"

    def scrub(self, text: str) -> str:
        """``text`` (something a node or a library said) without the parts of the URLs that may be secret."""
        return without(text, _secrets(self.url) | _secrets(self.websocket or ""))


def without(text: str, secrets: Iterable[str]) -> str:
    """``text`` with ``***`` for these secrets, also for one of which the end was cut off."""
    for secret in sorted(secrets, key=len, reverse=True):
        least = len(secret) if len(secret) < _SHORTEST_KEY else max(_SHORTEST_KEY, len(secret) // 2 + 1)
        for length in range(len(secret), least - 1, -1):
            text = text.replace(secret[:length], "***")
    return text


def _secrets(url: str) -> set[str]:
    """User and password, and what in the path or the query is long enough to be a key."""
    parts = urlsplit(url)
    credentials = {part for part in (parts.username, parts.password) if part and len(part) >= _SHORTEST_PASSWORD}
    values = {value for _, value in parse_qsl(parts.query)}
    keys = {part for part in {*parts.path.split("/"), *values} if len(part) >= _SHORTEST_KEY}
    return {form for secret in credentials | keys for form in (secret, unquote(secret))}
