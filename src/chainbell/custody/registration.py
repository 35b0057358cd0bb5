"""Registers the addresses of a file, batch by batch.

Each batch is one commit of its own, with its own `watched_from`. What was committed stands, whatever ends the rest; saying
the same again registers what is missing, and leaves alone what is there.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from chainbell.custody.address_file import BadLine, BadLines, Entry, FileContent
from chainbell.domain.history import History

BATCH_SIZE = 1_000
"""Addresses in one commit: while it lasts, the chain's follower waits."""


class Refusal(StrEnum):
    """Why a line of a batch was not registered, though nothing is wrong with the line itself."""

    WATCHED_ELSEWHERE = "watched_by_another_account"
    UNKNOWN_CUSTOMER = "unknown_customer"


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not registered; the others of its batch stand."""

    entry: Entry
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Order:
    """Where all addresses of a file go."""

    chain: str
    account_id: str
    history: History | None = None
    """What of their past is looked for; None: nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit came to."""

    first_line: int
    last_line: int
    registered: int
    already: int
    """Lines that this account watches already; their labels, customers and histories stay as they are."""
    refused: Sequence[Refused]
    watched_from: int | None
    """First block that is covered for what was registered; None where nothing was."""
    scan_id: str | None
    """The scan of the past of what was registered."""


@dataclass(slots=True)
class Tally:
    """What all batches so far came to, in lines."""

    registered: int = 0
    already: int = 0
    refused: int = 0

    def add(self, batch: Batch) -> None:
        """Count one more batch."""
        self.registered += batch.registered
        self.already += batch.already
        self.refused += len(batch.refused)

    @property
    def lines(self) -> int:
        """How many lines are done with."""
        return self.registered + self.already + self.refused


class Registry(Protocol):
    """What keeps watched addresses. Everything raises `DatabaseError` while the database does not answer."""

    async def holding_account(self, chain: str, account_id: str | None) -> str:
        """Return the account that addresses go to, without one the default of the chain's mode.

        Raises `UnavailableError` while the chain takes no address, `InputError` for an account that cannot hold one.
        """
        ...

    async def known_customers(self, account_id: str, customer_ids: Collection[str]) -> Collection[str]:
        """Return which of these customers the account has."""
        ...

    async def register(self, order: Order, entries: Sequence[Entry], now: datetime) -> Batch:
        """Register what nobody watches yet, in one commit."""
        ...


async def all_bad_lines(registry: Registry, account_id: str, content: FileContent) -> BadLines:
    """Return the bad lines of a file, with those that name a customer whom the account does not have."""
    named = {entry.customer_id for entry in content.entries if entry.customer_id is not None}
    if not named:
        return content.bad
    unknown = named - set(await registry.known_customers(account_id, named))
    strangers = [
        BadLine(entry.line, f"account {account_id} has no customer {entry.customer_id}")
        for entry in content.entries
        if entry.customer_id in unknown
    ]
    most = content.bad.most
    first = sorted([*content.bad.first, *strangers[:most]], key=lambda bad: bad.line)[:most]
    return BadLines(most, first, content.bad.total + len(strangers))


async def register_in_batches(
    registry: Registry, order: Order, entries: Sequence[Entry], clock: Callable[[], datetime], size: int = BATCH_SIZE
) -> AsyncGenerator[Batch, None]:
    """Register entries in the order of the file, and yield what each commit came to, once it is durable."""
    for start in range(0, len(entries), size):
        yield await registry.register(order, entries[start : start + size], clock())
