"""What the answers of an EVM chain's node mean for Chainbell. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

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
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import NodeError
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.evm.decode import block_ref, block_time
from chainbell.nodes.rpc import LARGEST_BATCH

_NO_TRACES = "Chainbell reads no traces yet: coins that a contract sends inside a call are not seen, whatever the node can"
_NO_POOL = "Chainbell reads no EVM mempool yet: the first thing told of a payment is the block that includes it"


@dataclass(slots=True)
class EvmAnswers:
    """What a node answered to each question so far; a ``NodeError`` in place of an answer that did not come."""

    version: object = NOT_ASKED
    syncing: object = NOT_ASKED
    newest: object = NOT_ASKED
    receipts: object = NOT_ASKED
    """Of the newest block by its hash."""
    receipts_by_number: object = NOT_ASKED
    call_traces: object = NOT_ASKED
    """``debug_traceBlockByHash`` of the newest block."""
    parity_traces: object = NOT_ASKED
    """``trace_block`` of it."""
    finalized: object = NOT_ASKED
    pool: object = NOT_ASKED
    """``txpool_status``."""
    pending: object = NOT_ASKED
    """The block with the tag ``pending``."""
    batch: int | NodeError = NOT_ASKED
    websocket: str | NodeError | None = NOT_ASKED
    """Why no new heads are announced; None: they are."""
    has_websocket: bool = False
    """Whether the node's URL names one."""


def judge_evm(answers: EvmAnswers, definition: ChainDefinition, now: datetime) -> Iterator[Finding]:
    """Judge one answer after the other; what was not asked is left out."""
    if asked(answers.version):
        yield judge_version("client", answers.version)
    if asked(answers.syncing):
        yield _syncing(answers.syncing)
    if asked(answers.newest):
        yield _newest(answers.newest, definition, now)
    if asked(answers.receipts, answers.receipts_by_number):
        yield _receipts(answers)
    if asked(answers.websocket):
        yield _websocket(answers, definition)
    if asked(answers.batch):
        yield judge_batches(answers.batch, LARGEST_BATCH)
    if asked(answers.finalized):
        yield _finalized(answers.finalized, definition)
    if asked(answers.call_traces, answers.parity_traces):
        yield _traces(answers)
    if asked(answers.pool, answers.pending):
        yield _pool(answers)


def _syncing(answer: object) -> Finding:
    if answer is False:
        return Finding("sync", Grade.GOOD, "done")
    if isinstance(answer, dict):
        found = f"at block {_number(answer.get('currentBlock'))} of {_number(answer.get('highestBlock'))}"
        return Finding("sync", Grade.LESS, found, "what is in blocks that it has not got yet is told late")
    return Finding("sync", Grade.UNKNOWN, words(answer))


def _newest(answer: object, definition: ChainDefinition, now: datetime) -> Finding:
    try:
        return judge_tip(block_ref(answer).height, block_time(answer), definition, now)
    except BadAnswerError as error:
        return Finding("newest block", Grade.UNKNOWN, words(answer) if isinstance(answer, NodeError) else str(error))


def _receipts(answers: EvmAnswers) -> Finding:
    if isinstance(answers.receipts, list):
        return Finding("receipts", Grade.GOOD, "eth_getBlockReceipts, by hash")
    if isinstance(answers.receipts_by_number, list):
        return Finding("receipts", Grade.GOOD, "eth_getBlockReceipts, by number")
    loses = "each transaction's receipt is a request of its own: more requests, and slower catching up"
    return Finding("receipts", Grade.LESS, f"no eth_getBlockReceipts: {words(answers.receipts)}", loses)


def _websocket(answers: EvmAnswers, definition: ChainDefinition) -> Finding:
    loses = f"a new block is noticed by polling alone, each {definition.poll_seconds:g} s"
    if not answers.has_websocket:
        return Finding("websocket", Grade.LESS, "its URL has no option ws", loses)
    if answers.websocket is not None:
        return Finding("websocket", Grade.LESS, f"no new heads: {answers.websocket}", loses)
    return Finding("websocket", Grade.GOOD, "announces new heads")


def _finalized(answer: object, definition: ChainDefinition) -> Finding:
    if isinstance(answer, dict):
        found = f"block {_number(answer.get('number'))}"
        grade = Grade.GOOD if definition.required_depth is None else Grade.UNUSED
        return Finding("finalized", grade, found)
    found = f"no finalized block: {words(answer)}" if isinstance(answer, NodeError) else "no finalized block"
    if definition.required_depth is not None:
        return Finding("finalized", Grade.UNUSED, found)
    return Finding("finalized", Grade.LESS, found, "no deposit or transfer of this chain becomes success")


def _traces(answers: EvmAnswers) -> Finding:
    ways = {"debug_traceBlockByHash": answers.call_traces, "trace_block": answers.parity_traces}
    able = [method for method, answer in ways.items() if isinstance(answer, list)]
    return Finding("traces", Grade.UNUSED, ", ".join(able) or "none", _NO_TRACES)


def _pool(answers: EvmAnswers) -> Finding:
    able = ["txpool_status"] if member(answers.pool, "pending", str) is not None else []
    if isinstance(answers.pending, dict):
        able.append("pending block")
    return Finding("mempool", Grade.UNUSED, ", ".join(able) or "not shown", _NO_POOL)


def _number(text: object) -> str:
    try:
        return str(int(text, 16)) if isinstance(text, str) else "?"
    except ValueError:
        return "?"
