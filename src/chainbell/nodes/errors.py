"""What can go wrong with a node, told apart by what to do about it.

::

    NodeError
    |-- NodeUnreachableError   no answer, or an HTTP error instead of one
    |   |-- CutOffError        ... after it was asked: the connection ended, or a gateway would not wait
    |   `-- ForbiddenError     ... and it says that we may not ask this
    |-- NodeTimeoutError       not answered whole in time
    |-- NodeStartingError      it answers, but is not ready yet
    |-- RateLimitedError       it asks us to slow down
    |-- BadAnswerError         answered what cannot be used: truncated, malformed, of another block
    |   `-- BadLogsError       ... and it is the logs that are not whole
    |-- RpcError               answered with a JSON-RPC error
    |-- BatchTooLargeError     asked or answered too much at once: ask for less
    |-- PrunedError            it has deleted a block that we still need
    |-- ScanBusyError          it scans its unspent outputs for somebody else, and can do that once at a time
    |-- LacksCapabilityError   it does not show at its tip what the chain's definition promises
    |-- WrongChainError        it is a node of another chain: never read it
    `-- NoUsableNodeError      none of a chain's nodes can be used now
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chainbell.domain.errors import NodeError


class NodeUnreachableError(NodeError):
    """The node did not answer, or something before it did with an HTTP error."""


class CutOffError(NodeUnreachableError):
    """It was asked, and the connection ended before it answered: whether it is still at it is not known."""


class ForbiddenError(NodeUnreachableError):
    """It, or something before it, lets us not ask this, whatever else we may ask."""


class NodeTimeoutError(NodeError):
    """The whole answer, body included, did not arrive in time."""


class NodeStartingError(NodeError):
    """The node has just been started, and is not ready to answer yet."""


class RateLimitedError(NodeError):
    """The node asks us to slow down; ``retry_after`` is its wish in seconds, where it stated one."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Keep the node's wish beside the message."""
        super().__init__(message)
        self.retry_after = retry_after


class BadAnswerError(NodeError):
    """The node answered something that cannot be used; nothing of it was taken."""


class BadLogsError(BadAnswerError):
    """The receipts are there, but their logs are not all, or not the block's own."""


class RpcError(NodeError):
    """The node answered with a JSON-RPC error object: its ``code``, and its ``reason`` in its own words."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        """Keep what the node said beside the message for people."""
        super().__init__(message)
        self.code = code
        self.reason = reason


class BatchTooLargeError(NodeError):
    """More was asked at once, or would have been answered, than the node or our byte limit allows."""


class PrunedError(NodeError):
    """The node has deleted, as it is set to, a block that we have not read yet."""


class ScanBusyError(NodeError):
    """The node scans its unspent outputs for somebody else; it does one such scan at a time."""


class LacksCapabilityError(NodeError):
    """The node does not show, at its tip, what the chain's definition promises of its nodes."""


class WrongChainError(NodeError):
    """The node is of another chain than its definition, or than the one this database was started on."""


class NoUsableNodeError(NodeError):
    """None of a chain's nodes can be used; ``retry_in`` seconds from now one will be tried again."""

    def __init__(self, message: str, retry_in: float) -> None:
        """Keep the wait beside the message."""
        super().__init__(message)
        self.retry_in = retry_in


@contextmanager
def answered_by(name: str) -> Iterator[None]:
    """Put the node's name before what is wrong with its answer."""
    try:
        yield
    except BadAnswerError as error:
        message = f"node {name}: {error}"
        raise type(error)(message) from error
