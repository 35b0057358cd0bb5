"""What the answers of a Bitcoin-family node mean for Chainbell. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chainbell.app.doctor.finding import (
    NOT_ASKED,
    Finding,
    Grade,
    asked,
    judge_batches,
    judge_tip,
    judge_version,
    member,
    words,
)
from chainbell.app.doctor.judge_zmq import Publishing, judge_zmq
from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.domain.errors import NodeError
from chainbell.domain.node import Tip
from chainbell.nodes.rpc import LARGEST_BATCH

_ALWAYS_REPLACES = 290_000
"""Bitcoin Core 29 has no other way."""
_NO_SENDERS = "senders of deposits are unknown (screening cannot judge them)"
_TOLD = "getrawtransaction tells what is spent"
_BLOCKS_ONLY = (
    "a payment is told before it is in a block only where it is sent through this very node: start it without blocksonly=1"
)
_NO_SEED = (
    "outputs older than a watch are unknown: a transfer that spends one is recognised only if its input reveals a watched "
    "key or script, and coverage says that outgoing is not covered"
)


@dataclass(slots=True)
class UtxoAnswers:
    """What a node answered to each question so far; a ``NodeError`` in place of an answer that did not come."""

    network: object = NOT_ASKED
    """``getnetworkinfo``."""
    chain: object = NOT_ASKED
    """``getblockchaininfo``."""
    newest: Tip | NodeError = NOT_ASKED
    indexes: object = NOT_ASKED
    """``getindexinfo``."""
    payment: object = NOT_ASKED
    """A payment of one of the newest blocks with what it spends (``getrawtransaction`` 2); None: there is none in them."""
    manual: object = None
    """What the node's help says of ``getrawtransaction``, where there is no payment."""
    scan: object = NOT_ASKED
    """``scantxoutset status``."""
    mempool: object = NOT_ASKED
    """``getmempoolinfo``."""
    notifications: object = NOT_ASKED
    """``getzmqnotifications``."""
    batch: int | NodeError = NOT_ASKED
    zmq: tuple[str, ...] = ()
    """The publishers that the node's URL names."""
    connected: frozenset[str] | NodeError = NOT_ASKED
    """Those of them that could be connected to."""
    heard: frozenset[str] = frozenset()
    """Topics of which a message came meanwhile."""
    seconds: float = 0.0
    """How long they were listened to."""


def judge_utxo(answers: UtxoAnswers, definition: ChainDefinition, now: datetime) -> Iterator[Finding]:
    """Judge one answer after the other; what was not asked is left out."""
    if asked(answers.network):
        yield judge_version("version", member(answers.network, "subversion", str) or answers.network)
        yield _peers(answers.network, definition)
    if asked(answers.chain):
        yield _sync(answers.chain)
    if asked(answers.newest):
        yield _newest(answers.newest, definition, now)
    if asked(answers.chain):
        yield _pruning(answers.chain, definition)
    if asked(answers.payment, answers.indexes):
        yield from _prevouts(answers)
    if asked(answers.scan):
        yield _unspents(answers.scan)
    if asked(answers.mempool, answers.network):
        yield from _mempool(answers)
    if not isinstance(answers.connected, NodeError) and asked(answers.notifications):
        yield judge_zmq(
            Publishing(answers.zmq, answers.connected, answers.heard, answers.seconds, answers.notifications), definition
        )
    if asked(answers.batch):
        yield judge_batches(answers.batch, LARGEST_BATCH)


def _newest(newest: Tip | NodeError, definition: ChainDefinition, now: datetime) -> Finding:
    if isinstance(newest, NodeError):
        return Finding("newest block", Grade.UNKNOWN, words(newest))
    return judge_tip(newest.height, newest.mined_at, definition, now)


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
    if not isinstance(answers.indexes, dict):
        yield from _prevouts_without_word(answers, told=told)
        return
    indexed = member(member(answers.indexes, "txindex", dict), "synced", bool)
    index = {True: "on", False: "on, and still being built", None: "off"}[indexed]
    if told:
        yield Finding("prevouts", Grade.GOOD, _TOLD)
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


def _prevouts_without_word(answers: UtxoAnswers, *, told: bool | None) -> Iterator[Finding]:
    """Judge a node that does not say whether it has an index: those before Bitcoin Core 0.21 cannot."""
    silent = f"it does not say: {words(answers.indexes)}"
    if told:
        yield Finding("prevouts", Grade.GOOD, _TOLD)
        yield Finding("txindex", Grade.UNUSED, silent)
        return
    found = words(answers.manual) if told is None else "getrawtransaction does not tell what is spent"
    yield Finding("prevouts", Grade.UNKNOWN, found, f"if it has neither prevouts nor txindex, {_NO_SENDERS}")
    yield Finding("txindex", Grade.UNKNOWN, silent, f"if it is off, {_NO_SENDERS}: see that txindex=1 is set on the node")


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
    if not isinstance(answers.mempool, dict):
        loses = "no payment is told before it is in a block"
        yield Finding("mempool", Grade.LESS, words(answers.mempool), loses)
        return
    loaded, size = member(answers.mempool, "loaded", bool), member(answers.mempool, "size", int)
    found = {True: "loaded, ", False: "still being loaded, ", None: ""}[loaded] + f"{size} transactions"
    lost = {
        True: [],
        False: ["what is missing from it counts for nothing yet"],
        None: ["it does not say whether it has loaded them all: payments are told, and `dropped` never is"],
    }[loaded]
    if member(answers.network, "localrelay", bool) is False:
        found += ", and it takes none from its peers (blocksonly)"
        lost.append(_BLOCKS_ONLY)
    yield Finding("mempool", Grade.LESS if lost else Grade.GOOD, found, "; ".join(lost) or None)
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
