"""What must be true of every stream of events, whatever happened: kept beside a run, and asserted at each event."""

import json
from collections import Counter
from collections.abc import Iterable

from chainbell.domain.identity import event_id
from chainbell.domain.transaction import ScreeningStatus, Status, Transaction, TransactionEvent
from chainbell.events import v1, v2
from chainbell.tracker.confirmation import ChainView, Policy

ALWAYS_FINAL = {"success", "failed"}
NEVER_FINAL = {"created", "pending", "processing", "awaiting_confirmation", "confirmation"}
MAY_FOLLOW: dict[Status | None, set[str]] = {
    None: {"pending", "processing", "awaiting_confirmation"},
    Status.PENDING: {"awaiting_confirmation", "dropped", "replaced"},
    Status.PROCESSING: {"awaiting_confirmation", "dropped", "replaced"},
    Status.AWAITING_CONFIRMATION: {"confirmation", "success", "failed", "pending", "processing", "dropped"},
    Status.SUCCESS: {"reverted"},
    Status.FAILED: {"pending", "processing", "dropped"},
    Status.DROPPED: {"pending", "processing", "awaiting_confirmation", "replaced"},
    Status.REPLACED: {"pending", "processing", "awaiting_confirmation", "replaced"},
    Status.REVERTED: {"pending", "processing", "awaiting_confirmation", "replaced"},
}
"""Which event may be told of a record in which status: DESIGN section 4, read once more."""


def allows(policy: Policy, screening: ScreeningStatus) -> bool:
    """Say who may succeed: what is clear or released, and the unscreened where screening is off."""
    off = screening is ScreeningStatus.UNSCREENED and not policy.screening
    return off or screening in {ScreeningStatus.CLEAR, ScreeningStatus.RELEASED}


def is_deep(policy: Policy, view: ChainView, height: int) -> bool:
    """Say what is settled: at the required depth of our cursor, or not above the finalized block."""
    if policy.required_depth is None:
        return view.finalized_height is not None and view.finalized_height >= height
    return view.cursor_height + 1 - height >= policy.required_depth


class Journal:
    """Everything told so far of any number of records."""

    def __init__(self) -> None:
        self.last: dict[str, TransactionEvent] = {}
        self.ids: set[str] = set()
        self._told: Counter[tuple[str, str, tuple[bytes, ...]]] = Counter()
        self._successes: Counter[str] = Counter()
        self._inclusions: Counter[str] = Counter()

    def tell(self, events: Iterable[TransactionEvent]) -> None:
        """Assert what holds of each event after those before it."""
        for event in events:
            self._follows(event)
            self._is_final_where_it_should_be(event)
            self._has_an_id_of_its_own(event)
            self._succeeds_once_for_each_inclusion(event)
            self.last[event.transaction.uid] = event

    def agrees(self, record: Transaction) -> None:
        """Assert that a record stands where its last event says."""
        last = self.last[record.uid].transaction
        assert (record.status, record.final, record.sequence) == (last.status, last.final, last.sequence)

    def _follows(self, event: TransactionEvent) -> None:
        record, last = event.transaction, self.last.get(event.transaction.uid)
        assert record.sequence == (1 if last is None else last.transaction.sequence + 1)
        assert (event.name == "created") == (last is None)
        if last is None:
            assert event.previous_status is None
            assert event.occasion == ()
            return
        before = None if last.name == "created" else last.transaction.status
        assert event.previous_status is before
        assert event.name in MAY_FOLLOW[before]
        assert event.name == "confirmation" or record.status.value.lower() == event.name
        if last.name == "created":
            assert record.status is last.transaction.status

    def _is_final_where_it_should_be(self, event: TransactionEvent) -> None:
        record = event.transaction
        if event.name in ALWAYS_FINAL:
            assert record.final
        elif event.name in NEVER_FINAL:
            assert not record.final
        elif event.name == "replaced":
            assert record.final == (record.conflict is not None)
        else:
            assert record.final == (not record.may_return)

    def _has_an_id_of_its_own(self, event: TransactionEvent) -> None:
        uid = event.transaction.uid
        repeat = self._told[uid, event.type, event.occasion]
        self._told[uid, event.type, event.occasion] += 1
        derived = event_id(uid, event.type, event.occasion, repeat)
        assert derived not in self.ids
        self.ids.add(derived)
        body = json.loads(v2.render(event, derived, 0))
        assert (body["id"], body["data"]["final"]) == (derived, event.transaction.final)
        assert (v1.render(event) is None) == (event.name == "confirmation")

    def _succeeds_once_for_each_inclusion(self, event: TransactionEvent) -> None:
        uid = event.transaction.uid
        self._inclusions[uid] += event.name == "awaiting_confirmation"
        self._successes[uid] += event.name == "success"
        assert self._successes[uid] <= self._inclusions[uid]
