"""A node's URL as an operator writes it: where to connect, Chainbell's own options, and what of it may be shown."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from chainbell.domain.chain_kind import ChainKind

_HARMLESS_SEGMENT = re.compile(r"v\d+|rpc|jsonrpc|eth|evm|ext|bc|C|ws", re.IGNORECASE)
"""Path segments that providers share; any other may be a key, and is masked."""
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")
_MASK = "***"
_OPTIONS = ("ws", "rps", "cookie", "zmq")
_KINDS_BY_OPTION = {"ws": ChainKind.EVM, "cookie": ChainKind.UTXO, "zmq": ChainKind.UTXO}
"""Options that nodes of one kind of chain have alone."""
_DECIMAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, repr=False)
class NodeUrl:
    """The URL of one node. It may hold a provider's key: show only `masked`, which is also its ``str`` and ``repr``."""

    url: str
    """``http`` or ``https``, exactly as written, without Chainbell's own options."""
    ws: str | None = field(default=None)
    """Option ``ws``: a websocket (``ws`` or ``wss``) that announces new blocks of the same node."""
    rps: float | None = field(default=None)
    """Option ``rps``: requests per second that are sent to it at most, each entry of a batch being one; None: no limit."""
    cookie: str | None = field(default=None)
    """Option ``cookie``: the file into which bitcoind writes, at each start, the user and the password of that run."""
    zmq: tuple[str, ...] = ()
    """Option ``zmq``: where the same node publishes over ZMQ, ``tcp://host:port``; several, as topics may differ in it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL whose query may carry Chainbell's options beside the provider's own parameters.

        An option is a parameter of the query whose *name* is written plainly (``ws=...``); its value is
        percent-decoded once. Everything else stays byte for byte, so a provider's own parameter of that name passes
        through when its name is written percent-encoded (``%77s=...``). Raises `ValueError` with the rest of a sentence
        that begins with "the URL"; it never repeats the text.
        """
        base, mark, query = text.partition("?")
        kept, options = _split_options(query)
        url = base + mark + "&".join(kept) if kept else base
        _require(url, {"http", "https"}, "")
        if "ws" in options:
            _require(options["ws"], {"ws", "wss"}, "its option ws ")
        rate = _rate(options["rps"]) if "rps" in options else None
        cookie = _cookie(options["cookie"], url) if "cookie" in options else None
        return cls(url, options.get("ws"), rate, cookie, _publishers(options["zmq"]) if "zmq" in options else ())

    def misplaced(self, kind: ChainKind) -> str | None:
        """Say which option nodes of this kind of chain do not have, as the rest of a sentence; None: none."""
        given = {"ws": self.ws, "cookie": self.cookie, "zmq": self.zmq}
        for option, home in _KINDS_BY_OPTION.items():
            if given[option] and home is not kind:
                return f"has the option {option}, which is for nodes of {home.upper()} chains only: leave it out"
        return None

    @property
    def masked(self) -> str:
        """The URL fit for logs: scheme, host and port, and nothing that could be a credential."""
        announced = [f"ws {_mask(self.ws)}"] if self.ws else []
        announced += [f"zmq {' '.join(self.zmq)}"] if self.zmq else []
        return _mask(self.url) + (f" ({', '.join(announced)})" if announced else "")

    def __repr__(self) -> str:
        """Show the masked URL."""
        return f"NodeUrl({self.masked})"

    def __str__(self) -> str:
        """Show the masked URL."""
        return self.masked


def _split_options(query: str) -> tuple[list[str], dict[str, str]]:
    kept: list[str] = []
    options: dict[str, str] = {}
    for parameter in query.split("&") if query else []:
        name, equals, value = parameter.partition("=")
        if name not in _OPTIONS:
            kept.append(parameter)
            continue
        if not equals or not value:
            message = f"has an empty option {name}"
            raise ValueError(message)
        if name in options:
            message = f"has the option {name} twice"
            raise ValueError(message)
        options[name] = unquote(value)
    return kept, options


def _rate(text: str) -> float:
    if not _DECIMAL.fullmatch(text) or float(text) == 0:
        message = "has an option rps that is no number of requests per second above 0, such as 25 or 0.5"
        raise ValueError(message)
    return float(text)


def _cookie(text: str, url: str) -> str:
    if not text.isprintable():
        message = "has an option cookie that holds a control character"
        raise ValueError(message)
    if not text.startswith("/"):
        message = "has an option cookie that is no whole path, such as /var/lib/bitcoind/.cookie"
        raise ValueError(message)
    if "@" in urlsplit(url).netloc:
        message = "has both an option cookie and a user with a password: keep one of them"
        raise ValueError(message)
    return text


def _publishers(text: str) -> tuple[str, ...]:
    """Read addresses of ZMQ publishers, separated by commas; only what can be shown whole is one."""
    addresses = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for address in addresses:
        parts = _split(address) if address.isprintable() and " " not in address else None
        host = None if parts is None else parts.hostname
        if parts is None or not host or not _HOST.fullmatch(host) or parts.port is None or not _is_bare(address, parts):
            message = "has an option zmq that is not tcp://host:port, or several of them separated by %2C"
            raise ValueError(message)
    return addresses


def _is_bare(address: str, parts: SplitResult) -> bool:
    return parts.scheme == "tcp" and "@" not in parts.netloc and address == f"tcp://{parts.netloc}"


def _require(url: str, schemes: set[str], what: str) -> None:
    if not url.isprintable() or " " in url:
        message = f"{what}holds a blank or a control character"
        raise ValueError(message)
    problem = _problem(url, schemes)
    if problem:
        allowed = " or ".join(f"{scheme}://host[:port]" for scheme in sorted(schemes))
        message = f"{what}{problem}; allowed is {allowed}, with a path and a query if the node needs them"
        raise ValueError(message)


def _problem(url: str, schemes: set[str]) -> str | None:
    parts = _split(url)
    if parts is None:
        return "has a host or port that cannot be read"
    if parts.scheme not in schemes:
        return "does not start with " + " or ".join(f"{scheme}://" for scheme in sorted(schemes))
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        return "has no host, or one with characters that no host has"
    if parts.fragment or url.endswith("#"):
        return "has a fragment (#), which no node sees: write %23 for a # that belongs to a value"
    return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        valid = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if valid else None


def _mask(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    user = f"{_MASK}@" if "@" in parts.netloc else ""
    port = f":{parts.port}" if parts.port else ""
    path = "/".join(_masked_segment(segment) for segment in parts.path.split("/"))
    query = f"?{_MASK}" if parts.query else ""
    return f"{parts.scheme}://{user}{host}{port}{path}{query}"


def _masked_segment(segment: str) -> str:
    return segment if not segment or _HARMLESS_SEGMENT.fullmatch(segment) else _MASK
