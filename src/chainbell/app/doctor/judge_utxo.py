"""What the answers of a Bitcoin-family node mean for Chainbell. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chainbell.app.doctor.finding import (
    Finding,
    Grade,
    judge_batches,
    judge_tip,
    judge_version,
    member,
    words,
)
from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.domain.errors import NodeError
from chainbell.domain.node import Tip
from chainbell.nodes.rpc import LARGEST_BATCH

_BLOCK_TOPICS = {"pubhashblock", "pubsequence"}
_MEMPOOL_TOPICS = {"pubsequence", "pubrawtx", "pubhashtx"}
_ALWAYS_REPLACES = 290_000
"""Bitcoin Core 29 has no other way."""
_NO_SENDERS = "senders of deposits are unknown (screening cannot judge them)"
_NO_SEED = (
    "outputs older than a watch are unknown: a transfer that spends one is recognised only if its input reveals a watched "
    "key or script, and coverage says that outgoing is not covered"
)


@dataclass(frozen=True, slots=True)
class UtxoAnswers:
    """What a node answered to each question; a ``NodeError`` in place of an answer that did not come."""

    network: object
    """``getnetworkinfo``."""
    chain: object
    """``getblockchaininfo``."""
    newest: Tip | NodeError
    indexes: object
    """``getindexinfo``."""
    payment: object
    """A payment of one of the newest blocks with what it spends (``getrawtransaction`` 2); None: there is none in them."""
    manual: object
    """What the node's help says of ``getrawtransaction``, where there is no payment."""
    scan: object
    """``scantxoutset status``."""
    mempool: object
    """``getmempoolinfo``."""
    notifications: object
    """``getzmqnotifications``."""
    batch: int | NodeError
    zmq: tuple[str, ...]
    """The publishers that the node's URL names."""
    connected: frozenset[str]
    """Those of them that could be connected to."""
    heard: frozenset[str]
    """Topics of which a message came meanwhile."""
    seconds: float
    """How long they were listened to."""


def judge_utxo(answers: UtxoAnswers, definition: ChainDefinition, now: datetime) -> Iterator[Finding]:
    """Judge one answer after the other."""
    yield judge_version("version", member(answers.network, "subversion", str) or answers.network)
    yield _peers(answers.network, definition)
    yield _sync(answers.chain)
    if isinstance(answers.newest, NodeError):
        yield Finding("newest block", Grade.UNKNOWN, words(answers.newest))
    else:
        yield judge_tip(answers.newest.height, answers.newest.mined_at, definition, now)
    yield _pruning(answers.chain, definition)
    yield from _prevouts(answers)
    yield _unspents(answers.scan)
    yield from _mempool(answers)
    yield _zmq(answers, definition)
    yield judge_batches(answers.batch, LARGEST_BATCH)


def _peers(network: object, definition: ChainDefinition) -> Finding:
    count = member(network, "connections", int)
    if count is None:
        return Finding("peers", Grade.UNKNOWN, words(network))
    if count == 0 and definition.mode is Mode.LIVE:
        return Finding("peers", Grade.LESS, "0", "it hears of no new blocks and payments, and neither does Chainbell")
    return Finding("peers", Grade.GOOD, str(count))


def _sync(chain: object) -> Finding:
    blocks, headers = member(chain, "blocks", int), member(chain, "headers", int)
    if blocks is None or headers is None:
        return Finding("sync", Grade.UNKNOWN, words(chain))
    if headers > blocks:
        return Finding(
            "sync", Grade.LESS, f"at block {blocks} of {headers}", "what is in the blocks that it lacks is told late"
        )
    return Finding("sync", Grade.GOOD, f"at block {blocks}, of all that it knows of")


def _pruning(chain: object, definition: ChainDefinition) -> Finding:
    pruned = member(chain, "pruned", bool)
    if pruned is None:
        return Finding("pruning", Grade.UNKNOWN, words(chain))
    if not pruned:
        return Finding("pruning", Grade.GOOD, "off: it has every block")
    lowest, height = member(chain, "pruneheight", int) or 0, member(chain, "blocks", int) or 0
    hours = timedelta(seconds=(height - lowest + 1) * definition.block_seconds) / timedelta(hours=1)
    kept = f"about {hours:.0f} hours" if hours > 1 else "less than an hour"
    loses = (
        f"blocks below {lowest} cannot be scanned; after a stop longer than what is kept, {kept}, "
        "the chain halts until another node has the blocks"
    )
    return Finding("pruning", Grade.LESS, f"on: blocks from {lowest} on are kept", loses)


def _prevouts(answers: UtxoAnswers) -> Iterator[Finding]:
    told = _tells_prevouts(answers)
    indexed = member(member(answers.indexes, "txindex", dict), "synced", bool)
    index = {True: "on", False: "on, and still being built", None: "off"}[indexed]
    if told:
        yield Finding("prevouts", Grade.GOOD, "getrawtransaction tells what is spent")
        yield Finding("txindex", Grade.UNUSED, index)
    elif indexed:
        yield Finding("prevouts", Grade.GOOD, "by the transaction index: getrawtransaction does not tell what is spent")
        yield Finding("txindex", Grade.GOOD, index)
    elif told is None:
        yield Finding(
            "prevouts", Grade.UNKNOWN, words(answers.manual), f"if it has neither prevouts nor txindex, {_NO_SENDERS}"
        )
        yield Finding("txindex", Grade.UNKNOWN, index)
    else:
        yield Finding(
            "prevouts", Grade.LESS, "getrawtransaction does not tell what is spent", f"without txindex too, {_NO_SENDERS}"
        )
        built = "until it is built" if indexed is False else "set txindex=1 on the node"
        yield Finding("txindex", Grade.LESS, index, f"with no prevouts either, {_NO_SENDERS}: {built}")


def _tells_prevouts(answers: UtxoAnswers) -> bool | None:
    """Tell whether a node resolves what a transaction in a block spends; None: it cannot be said."""
    if answers.payment is not None:
        inputs = member(answers.payment, "vin", list)
        return bool(inputs) and member(inputs[0], "prevout", dict) is not None
    return "prevout" in answers.manual if isinstance(answers.manual, str) else None


def _unspents(scan: object) -> Finding:
    if isinstance(scan, NodeError):
        return Finding("scantxoutset", Grade.LESS, words(scan), _NO_SEED)
    if scan is None:
        return Finding("scantxoutset", Grade.GOOD, "ready")
    return Finding("scantxoutset", Grade.GOOD, "ready, and in the middle of a scan", "another one must wait for its end")


def _mempool(answers: UtxoAnswers) -> Iterator[Finding]:
    loaded, size = member(answers.mempool, "loaded", bool), member(answers.mempool, "size", int)
    if loaded is None:
        loses = "no payment is told before it is in a block"
        yield Finding("mempool", Grade.LESS, words(answers.mempool), loses)
        return
    if loaded:
        yield Finding("mempool", Grade.GOOD, f"loaded, {size} transactions")
    else:
        yield Finding("mempool", Grade.LESS, "still being loaded", "what is missing from it counts for nothing yet")
    yield _replacement(answers)


def _replacement(answers: UtxoAnswers) -> Finding:
    full = member(answers.mempool, "fullrbf", bool)
    if full or (full is None and (member(answers.network, "version", int) or 0) >= _ALWAYS_REPLACES):
        return Finding("replacement", Grade.GOOD, "full: any waiting transaction by one with a higher fee")
    loses = "a replacement that the node does not take is seen only when it is mined"
    if full is None:
        found = "it does not say; litecoind replaces only with mempoolreplacement=1, and only what signals it"
        return Finding("replacement", Grade.UNKNOWN, found, loses)
    return Finding("replacement", Grade.LESS, "only of what signals it", loses)


def _zmq(answers: UtxoAnswers, definition: ChainDefinition) -> Finding:
    loses = f"new blocks and payments are noticed by polling alone, each {definition.poll_seconds:g} s"
    published = _published(answers.notifications)
    if not answers.zmq:
        if published:
            return Finding("zmq", Grade.LESS, f"it publishes {_listed(published)}, and its URL has no option zmq", loses)
        unable = f"it has none: {words(answers.notifications)}" if published is None else "it publishes nothing"
        return Finding("zmq", Grade.LESS, unable, loses)
    silent = [address for address in answers.zmq if address not in answers.connected]
    if silent:
        return Finding("zmq", Grade.LESS, f"cannot connect to {', '.join(silent)}", loses)
    heard = f"heard {_listed(answers.heard)}" if answers.heard else f"nothing came within {answers.seconds:g} s"
    if published is None:
        return Finding("zmq", Grade.GOOD, f"connected, {heard}")
    found = f"connected to {_listed(published) or 'no topic'}, {heard}"
    missing = [
        f"new {what} are noticed by polling alone: it publishes none of {_listed(topics)}"
        for what, topics in (("blocks", _BLOCK_TOPICS), ("payments", _MEMPOOL_TOPICS))
        if not published & topics
    ]
    return Finding("zmq", Grade.LESS if missing else Grade.GOOD, found, "; ".join(missing) or None)


def _published(notifications: object) -> frozenset[str] | None:
    """Return the topics that a node publishes, as it calls them; None where it does not say."""
    if not isinstance(notifications, list):
        return None
    return frozenset(topic for each in notifications if (topic := member(each, "type", str)) is not None)


def _listed(topics: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(topic.removeprefix("pub") for topic in topics))
