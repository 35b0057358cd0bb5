"""A JSON-RPC answer against what was asked: which result belongs to which request, and what an error means. Pure.

JSON-RPC 2.0, https://www.jsonrpc.org/specification; error codes by EIP-1474, and by what clients and providers send.
"""

import re
import reprlib
from collections.abc import Sequence
from typing import Any

from chainbell.domain.errors import NodeError
from chainbell.nodes.errors import BadAnswerError, BatchTooLargeError, RateLimitedError, RpcError

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


def single_result(answer: object, request_id: int) -> object:
    """Give the ``result`` member of the answer to one request.

    Raises:
        NodeError: the answer is an error (told apart as in ``nodes.errors``), or is no answer to this request.

    """
    return _result(_entry(answer), request_id, batched=False)


def batch_results(answer: object, request_ids: Sequence[int]) -> list[object]:
    """Give the results in the order of ``request_ids``: all of them, matched by id, or none.

    Raises:
        BatchTooLargeError: the node refused the batch as a batch.
        NodeError: an entry is an error, is missing, is there twice, or was not asked for.

    """
    if not isinstance(answer, list):
        raise _refused_batch(_entry(answer))
    entries = [_entry(entry) for entry in answer]
    for entry in entries:
        if isinstance(error := error_of(entry, batched=True), BatchTooLargeError | RateLimitedError):
            raise error
    by_id = {entry["id"]: entry for entry in entries if type(entry.get("id")) is int}
    if len(entries) != len(request_ids) or len(by_id) != len(entries) or not by_id.keys() >= set(request_ids):
        message = f"the batch answer does not match: asked {len(request_ids)}, got {len(entries)} ({len(by_id)} ids)"
        raise BadAnswerError(message)
    return [_result(by_id[request_id], request_id, batched=True) for request_id in request_ids]


def error_of(entry: dict[str, Any], *, batched: bool) -> NodeError | None:
    """Say which error one answer's ``error`` member stands for; None when it has none."""
    error = entry.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        return BadAnswerError(f"the error member is no object: {shown(error)}")
    code, reason = error.get("code"), shown(error.get("message"))
    code = code if type(code) is int else _INTERNAL
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


def _entry(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        message = f"the answer is no JSON-RPC object: {shown(answer)}"
        raise BadAnswerError(message)
    if answer.get("jsonrpc") != "2.0":
        message = f"the answer is not of JSON-RPC 2.0: {shown(answer.get('jsonrpc'))}"
        raise BadAnswerError(message)
    return answer


def _result(entry: dict[str, Any], request_id: int, *, batched: bool) -> object:
    error = error_of(entry, batched=batched)
    answered_id = entry.get("id")
    # An error may come with a null id: the node could not read which request it was.
    if (type(answered_id) is not int or answered_id != request_id) and not (error and answered_id is None):
        message = f"the answer is to another request: asked id {request_id}, got {shown(answered_id)}"
        raise BadAnswerError(message)
    if error is not None:
        raise error
    if "result" not in entry:
        message = "the answer has neither result nor error"
        raise BadAnswerError(message)
    return entry["result"]


def _refused_batch(entry: dict[str, Any]) -> NodeError:
    """One object for a whole batch: unless it is about our rate, a smaller batch or none shows what it means."""
    error = error_of(entry, batched=True)
    if error is None:
        return BadAnswerError("a batch was answered with one result")
    if isinstance(error, RateLimitedError | BadAnswerError):
        return error
    return BatchTooLargeError(f"the node refuses the batch: {error}")
