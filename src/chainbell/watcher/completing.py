"""Commit what was read, and read more of it for as long as the commit says that something is lacking."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chainbell.domain.errors import NodeError
from chainbell.domain.following import Outcome
from chainbell.domain.utxo import Lacking

T = TypeVar("T")


async def commit_completed(
    read: T, commit: Callable[[T], Awaitable[Outcome | Lacking]], complete: Callable[[T, Lacking], Awaitable[T]]
) -> Outcome:
    """Return what the commit of `read` came to, completed as often as it lacks something.

    Raises `NodeError` when the node does not complete what it was asked for.
    """
    asked: Lacking | None = None
    while isinstance(outcome := await commit(read), Lacking):
        if outcome == asked:
            message = f"the node was asked for more of {len(outcome.prevouts)} transactions, and gave nothing"
            raise NodeError(message)
        asked = outcome
        read = await complete(read, outcome)
    return outcome
