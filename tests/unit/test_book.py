"""The records in hand during one commit."""

from dataclasses import replace

from chainbell.tracker.book import Book
from tests.builders import NOW, OFF, deepened, deposit, included, names, transfer


def test_what_is_in_hand_stays_as_it_is_in_hand() -> None:
    """A record that is read again before the commit is older than what was already decided of it."""
    book = Book(OFF, NOW)
    book.apply(deposit(), included(100))
    book.load([deposit(), transfer()])
    assert book.record("trx_deposit").sequence == 2
    assert book.has("trx_transfer")
    assert [record.uid for record in book.records()] == ["trx_deposit", "trx_transfer"]


def test_only_what_changed_is_written_in_the_order_of_ids() -> None:
    """Rows are written in key order, whatever the order of events; what changed nothing is not written."""
    book = Book(OFF, NOW)
    still = replace(deposit(), uid="trx_a_third")
    book.load([still])
    book.apply(transfer(), included(100))
    book.apply(deposit(), included(100))
    book.apply(still, deepened(100))
    assert [record.uid for record in book.changed()] == ["trx_deposit", "trx_transfer"]
    assert [record.sequence for record in book.changed()] == [2, 2]


def test_events_are_in_the_order_in_which_they_were_decided() -> None:
    """A record's later observation comes after everything decided before it."""
    book = Book(OFF, NOW)
    book.apply(transfer(), included(100, cursor=102))
    book.apply(deposit(), included(100, cursor=102))
    for record in book.records():
        book.apply(record, deepened(102))
    assert names(book.events) == ["created", "awaiting_confirmation"] * 2 + ["success"] * 2
    assert [event.transaction.uid for event in book.events[4:]] == ["trx_deposit", "trx_transfer"]
