"""How a node is asked for what it can do: one question at a time, each with an answer or the reason why there is none."""

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from chainbell.domain.errors import NodeError
from chainbell.nodes.rpc import LARGEST_BATCH, Rpc

T = TypeVar("T")


async def outcome(question: Awaitable[T]) -> T | NodeError:
    """Return the answer, or the error in place of it."""
    try:
        return await question
    except NodeError as error:
        return error


async def ask(rpc: Rpc, method: str, params: Sequence[object] = ()) -> object:
    """Ask one thing; its result, or the error in place of it."""
    return await outcome(rpc.call(method, params))


async def batch_taken(rpc: Rpc, method: str, parameters: Sequence[list[Any]]) -> int | NodeError:
    """Return how many requests of this method the node takes at once, or why it could not be tried.

    ``parameters`` are those of as many requests as are ever sent at once.
    """
    answers = await outcome(rpc.each([(method, each) for each in parameters[:LARGEST_BATCH]]))
    return answers if isinstance(answers, NodeError) else rpc.batch_size(method)
