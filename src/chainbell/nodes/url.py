"""A node's URL as an operator writes it: where to ask, what to listen to, and what to call it without its secrets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from chainbell.domain.errors import ConfigurationError

_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class NodeUrl:
    """One node. Only ``name`` may be shown: it has the host, and neither credentials, path nor query."""

    name: str
    http: str = field(repr=False)
    """Where JSON-RPC is posted to."""
    websocket: str | None = field(repr=False)
    """Where new heads are announced; None: polling alone."""
    secrets: tuple[str, ...] = field(repr=False, default=())

    def scrub(self, text: str) -> str:
        """``text`` (something a node said) without the parts of the URL that may be keys."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parse_node_url(text: str) -> NodeUrl:
    """Read one ``http(s)://`` URL; its ``ws`` option names the websocket.

    ``?ws`` (or ``ws=1``, ``ws=true``) is the same URL by websocket, ``?ws=ws://...`` another one. Everything else in
    the query is the node's own.

    Raises:
        ConfigurationError: it is not such a URL. The message shows no more of it than its host.

    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        message = "a node's URL cannot be read: write it as http://host:port or https://host/path"
        raise ConfigurationError(message) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"a node's URL must start with http:// or https:// and name a host; this starts with {parts.scheme!r}"
        raise ConfigurationError(message)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    query = parse_qsl(parts.query, keep_blank_values=True)
    wish = next((value for key, value in query if key == "ws"), None)
    rest = parts.query if wish is None else urlencode([(key, value) for key, value in query if key != "ws"])
    http = urlunsplit(parts._replace(query=rest, fragment=""))
    return NodeUrl(name, http, _websocket(wish, http, name), _secrets(http, wish))


def parse_node_urls(texts: Sequence[str]) -> list[NodeUrl]:
    """Read the URLs of one chain, in order of preference, each with a name of its own.

    Raises:
        ConfigurationError: one of them is no URL of a node.

    """
    nodes: list[NodeUrl] = []
    for text in texts:
        node = parse_node_url(text)
        twins = sum(other.name.partition(" ")[0] == node.name for other in nodes)
        name = f"{node.name} (no. {twins + 1} there)" if twins else node.name
        nodes.append(NodeUrl(name, node.http, node.websocket, node.secrets))
    return nodes


def _websocket(wish: str | None, http: str, name: str) -> str | None:
    if wish is None or wish.lower() in {"0", "false", "no"}:
        return None
    if wish.lower() in {"", "1", "true", "yes"}:
        parts = urlsplit(http)
        return urlunsplit(parts._replace(scheme=_WEBSOCKET[parts.scheme]))
    parts = urlsplit(wish)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        message = f"the ws option of node {name} must be empty, or a URL that starts with ws:// or wss://"
        raise ConfigurationError(message)
    return wish


def _secrets(*urls: str | None) -> tuple[str, ...]:
    """Whatever in the URLs might be a key: user, password, path segments, values of the query; longest first."""
    found: set[str] = set()
    for url in urls:
        parts = urlsplit(url or "")
        found.update((parts.username or "", parts.password or "", *parts.path.split("/")))
        found.update(value for _, value in parse_qsl(parts.query))
    found |= {unquote(part) for part in found}
    return tuple(sorted((part for part in found if len(part) >= _SHORTEST_SECRET), key=len, reverse=True))
