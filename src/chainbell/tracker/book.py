"""The records in hand during one commit: their newest state, and the events told so far. Pure."""

from collections.abc import Iterable
from datetime import datetime

from chainbell.domain.transaction import Transaction, TransactionEvent
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.observations import Observation
from chainbell.tracker.transitions import transition


class Book:
    """Applies observations to records one after another, and remembers what changed and what was told, in order."""

    def __init__(self, policy: Policy, now: datetime) -> None:
        self._policy = policy
        self._now = now
        self._records: dict[str, Transaction] = {}
        self._changed: set[str] = set()
        self.events: list[TransactionEvent] = []

    def load(self, transactions: Iterable[Transaction]) -> None:
        """Take records as they stand; one that is in hand already stays as it is in hand."""
        for transaction in transactions:
            self._records.setdefault(transaction.uid, transaction)

    def has(self, uid: str) -> bool:
        """Tell whether a record is in hand."""
        return uid in self._records

    def record(self, uid: str) -> Transaction:
        """Return a record in hand as it stands now."""
        return self._records[uid]

    def records(self) -> list[Transaction]:
        """Return every record in hand, in the order of their ids."""
        return [self._records[uid] for uid in sorted(self._records)]

    def apply(self, transaction: Transaction, observation: Observation) -> None:
        """Let an observation change a record, known or new."""
        result = transition(transaction, observation, self._policy, self._now)
        self._records[transaction.uid] = result.transaction
        if result.transaction != transaction:
            self._changed.add(transaction.uid)
        self.events.extend(result.events)

    def changed(self) -> list[Transaction]:
        """Return what must be written, in the order of ids: rows are written in key order."""
        return [self._records[uid] for uid in sorted(self._changed)]
