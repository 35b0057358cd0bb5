"""A JSON-RPC answer against what was asked: which result belongs to which request, and what an error means. Pure.

JSON-RPC 2.0, https://www.jsonrpc.org/specification; error codes by EIP-1474, and by what clients and providers send.
Bitcoin's daemons answer by JSON-RPC 1.0 (those before 28 also to a request of 2.0): no version, and an error of null.
"""

import re
import reprlib
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from chainbell.domain.errors import NodeError
from chainbell.nodes.errors import BadAnswerError, BatchTooLargeError, NodeStartingError, RateLimitedError, RpcError

_SHOWN = 200
_INTERNAL = -32603
_RESPONSE_TOO_LARGE = -32003
"""go-ethereum: what a batch may answer in all is used up."""
_RATE_CODES = {429, -32029}
_LIMIT_EXCEEDED = -32005
"""EIP-1474 "limit exceeded": of requests or of results, the words tell which."""
_RATE = re.compile(r"rate.?limit|too many requests|per second|per minute|throttl|capacity|quota|daily", re.IGNORECASE)
_LARGE = re.compile(
    r"batch|(response|result|request|payload|body|content).{0,20}(too large|too big|size|length|limit)|returned more than",
    re.IGNORECASE,
)
"""Not every "too large" is: reth says "number too large" where it takes no hash."""
_STARTING = -28
"""Bitcoin's daemons: RPC_IN_WARMUP."""


class Dialect(Enum):
    """Whose JSON-RPC it is."""

    EVM = auto()
    BITCOIN = auto()


def single_result(answer: object, request_id: int, dialect: Dialect = Dialect.EVM) -> object:
    """Give the ``result`` member of the answer to one request.

    Raises:
        NodeError: the answer is an error (told apart as in ``nodes.errors``), or is no answer to this request.

    """
    result = _result(_entry(answer, dialect), request_id, dialect, batched=False)
    if isinstance(result, RpcError):
        raise result
    return result


def batch_results(answer: object, request_ids: Sequence[int], dialect: Dialect = Dialect.EVM) -> list[object]:
    """Give the results in the order of ``request_ids``: all of them, matched by id, or none.

    Raises:
        BatchTooLargeError: the node refused the batch as a batch.
        NodeError: an entry is an error, is missing, is there twice, or was not asked for.

    """
    results = batch_outcomes(answer, request_ids, dialect)
    for result in results:
        if isinstance(result, RpcError):
            raise result
    return results


def batch_outcomes(answer: object, request_ids: Sequence[int], dialect: Dialect = Dialect.EVM) -> list[object]:
    """Give the results as ``batch_results`` does, where it was answered with an error an ``RpcError`` in place of one.

    Raises:
        BatchTooLargeError: the node refused the batch as a batch.
        NodeError: an entry is missing, is there twice, or was not asked for, or its error is about the whole batch.

    """
    if not isinstance(answer, list):
        raise _refused_batch(_entry(answer, dialect), dialect)
    entries = [_entry(entry, dialect) for entry in answer]
    for entry in entries:
        error = error_of(entry, dialect, batched=True)
        if error is not None and not isinstance(error, RpcError | BadAnswerError):
            raise error
    by_id = {entry["id"]: entry for entry in entries if type(entry.get("id")) is int}
    if len(entries) != len(request_ids) or len(by_id) != len(entries) or not by_id.keys() >= set(request_ids):
        message = f"the batch answer does not match: asked {len(request_ids)}, got {len(entries)} ({len(by_id)} ids)"
        raise BadAnswerError(message)
    return [_result(by_id[request_id], request_id, dialect, batched=True) for request_id in request_ids]


def error_of(entry: dict[str, Any], dialect: Dialect = Dialect.EVM, *, batched: bool) -> NodeError | None:
    """Say which error one answer's ``error`` member stands for; None when it has none."""
    error = entry.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        return BadAnswerError(f"the error member is no object: {shown(error)}")
    code, reason = error.get("code"), shown(error.get("message"))
    code = code if type(code) is int else _INTERNAL
    return _error_of_daemon(code, reason) if dialect is Dialect.BITCOIN else _error_of_client(code, reason, batched=batched)


def _error_of_daemon(code: int, reason: str) -> NodeError:
    if code == _STARTING:
        return NodeStartingError(f"the node is starting, and is asked again until it is ready: {reason}")
    return RpcError(f"the node answered with error {code}: {reason}", code, reason)


def _error_of_client(code: int, reason: str, *, batched: bool) -> NodeError:
    if batched and re.search("batch", reason, re.IGNORECASE):
        return BatchTooLargeError(f"the node refuses the batch: {reason}")
    if code in _RATE_CODES or (_RATE.search(reason) and code != _RESPONSE_TOO_LARGE):
        return RateLimitedError(f"the node limits its rate: {reason}")
    return _error_about_size(code, reason) or RpcError(f"the node answered with error {code}: {reason}", code, reason)


def _error_about_size(code: int, reason: str) -> NodeError | None:
    if code == _RESPONSE_TOO_LARGE or _LARGE.search(reason):
        return BatchTooLargeError(f"the node finds it too large: {reason}")
    if code == _LIMIT_EXCEEDED:
        return RateLimitedError(f"the node limits its rate: {reason}")
    return None


def shown(value: object) -> str:
    """Something that a node said, short and printable, for a message."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    printable = "".join(character if character.isprintable() else " " for character in text[: _SHOWN + 1])
    return printable if len(printable) <= _SHOWN else printable[:_SHOWN] + "..."


def _entry(answer: object, dialect: Dialect) -> dict[str, Any]:
    if not isinstance(answer, dict):
        message = f"the answer is no JSON-RPC object: {shown(answer)}"
        raise BadAnswerError(message)
    version = answer.get("jsonrpc")
    if version != "2.0" and not (dialect is Dialect.BITCOIN and version is None and "error" in answer):
        message = f"the answer is not of JSON-RPC 2.0: {shown(version)}"
        raise BadAnswerError(message)
    return answer


def _result(entry: dict[str, Any], request_id: int, dialect: Dialect, *, batched: bool) -> object:
    """Give the result, or the error object as an ``RpcError``; every other error is raised."""
    error = error_of(entry, dialect, batched=batched)
    answered_id = entry.get("id")
    # An error may come with a null id: the node could not read which request it was.
    if (type(answered_id) is not int or answered_id != request_id) and not (error and answered_id is None):
        message = f"the answer is to another request: asked id {request_id}, got {shown(answered_id)}"
        raise BadAnswerError(message)
    if isinstance(error, RpcError):
        return error
    if error is not None:
        raise error
    if "result" not in entry:
        message = "the answer has neither result nor error"
        raise BadAnswerError(message)
    return entry["result"]


def _refused_batch(entry: dict[str, Any], dialect: Dialect) -> NodeError:
    """One object for a whole batch: unless it is about our rate, a smaller batch or none shows what it means."""
    error = error_of(entry, dialect, batched=True)
    if error is None:
        return BadAnswerError("a batch was answered with one result")
    if isinstance(error, RateLimitedError | BadAnswerError | NodeStartingError):
        return error
    return BatchTooLargeError(f"the node refuses the batch: {error}")
