"""What a Bitcoin-family node publishes over ZMQ, and what of it reaches us. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from chainbell.app.doctor.finding import Finding, Grade, member, words
from chainbell.domain.chain import ChainDefinition
from chainbell.nodes.errors import RpcError

_NO_METHOD = -32601
_BLOCK_TOPICS = {"pubhashblock", "pubsequence"}
_MEMPOOL_TOPICS = {"pubsequence", "pubrawtx", "pubhashtx"}


@dataclass(frozen=True, slots=True)
class Publishing:
    """What was learnt of a node's publishers."""

    named: tuple[str, ...]
    """Those that its URL names."""
    connected: frozenset[str]
    """Those of them that could be connected to."""
    heard: frozenset[str]
    """Topics of which a message came."""
    seconds: float
    """How long they were listened to."""
    notifications: object
    """What the node answered to ``getzmqnotifications``."""


def judge_zmq(publishing: Publishing, definition: ChainDefinition) -> Finding:
    """Judge whether new blocks and payments are noticed at once."""
    loses = f"new blocks and payments are noticed by polling alone, each {definition.poll_seconds:g} s"
    told = publishing.notifications
    published = _topics(told) if isinstance(told, list) else None
    if not publishing.named:
        if published:
            return Finding("zmq", Grade.LESS, f"it publishes {_listed(published)}, and its URL has no option zmq", loses)
        return Finding("zmq", Grade.LESS, "it publishes nothing" if published is not None else _silence(told), loses)
    silent = [address for address in publishing.named if address not in publishing.connected]
    if silent:
        return Finding("zmq", Grade.LESS, f"cannot connect to {', '.join(silent)}", loses)
    heard = f"heard {_listed(publishing.heard)}" if publishing.heard else f"nothing came within {publishing.seconds:g} s"
    if not isinstance(told, list):
        return Finding("zmq", Grade.GOOD, f"connected, {heard}")
    return _connected(publishing, told, heard)


def _silence(told: object) -> str:
    """Say why a node does not say what it publishes: one that was built without ZMQ does not know the question."""
    unable = isinstance(told, RpcError) and told.code == _NO_METHOD
    return f"{'it has none' if unable else 'it does not say what it publishes'}: {words(told)}"


def _connected(publishing: Publishing, told: Sequence[object], heard: str) -> Finding:
    """Judge publishers that are all connected to, by what the node says of those at their ports."""
    ports = {urlsplit(address).port for address in publishing.named}
    there = {_port(each) for each in told}
    reaching = _topics([each for each in told if member(each, "address", str) is None or _port(each) in ports])
    elsewhere = _topics(told) - reaching
    unknown = [address for address in publishing.named if urlsplit(address).port not in there]
    if elsewhere and unknown:
        # The port that we know may be mapped to one that the node knows.
        also = f"it publishes {_listed(_topics(told))}, and which of it comes to {', '.join(unknown)} is not known"
        return Finding("zmq", Grade.UNKNOWN, f"connected, {heard}; {also}")
    found = f"connected to {_listed(reaching) or 'no topic'}, {heard}"
    missing = [
        f"new {what} are noticed by polling alone: {_why(topics, elsewhere)}"
        for what, topics in (("blocks", _BLOCK_TOPICS), ("payments", _MEMPOOL_TOPICS))
        if not reaching & topics
    ]
    return Finding("zmq", Grade.LESS if missing else Grade.GOOD, found, "; ".join(missing) or None)


def _why(topics: set[str], elsewhere: frozenset[str]) -> str:
    if there := topics & elsewhere:
        return f"it publishes {_listed(there)} at another address, which its URL does not name"
    return f"it publishes none of {_listed(topics)}"


def _port(notification: object) -> int | None:
    """Return the port at which a node says that it publishes; None where that has none."""
    address = member(notification, "address", str)
    try:
        return None if address is None else urlsplit(address).port
    except ValueError:
        return None


def _topics(notifications: Sequence[object]) -> frozenset[str]:
    """Return the topics that a node publishes, as it calls them."""
    return frozenset(topic for each in notifications if (topic := member(each, "type", str)) is not None)


def _listed(topics: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(topic.removeprefix("pub") for topic in topics))
