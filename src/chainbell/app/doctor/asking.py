"""How a node is asked for what it can do: one question at a time, each with an answer or the reason why there is none."""

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from chainbell.domain.errors import NodeError
from chainbell.nodes.rpc import Rpc

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


async def batch_taken(rpc: Rpc, method: str, parameters: list[Any]) -> int | NodeError:
    """Return how many requests of this method, with these parameters, the node takes at once, or why that is not known.

    So many are sent as ever are at once: fewer where the node's own limit of requests per second is lower.
    """
    answers = await outcome(rpc.each([(method, parameters)] * rpc.batch_size(method)))
    return answers if isinstance(answers, NodeError) else rpc.batch_size(method)
