"""What a restore took back: journals beside what is registered."""

from typing import Any

from chainbell.storage.losses import Registered, WatchedAgain, losses, remember
from chainbell.storage.registrations import (
    Entry,
    addresses_added,
    addresses_removed,
    api_key_added,
    api_key_revoked,
    endpoint_removed,
    endpoint_saved,
)
from tests import builders
from tests.builders import NOW

NOTHING = Registered({}, {}, {})
KEY = {"id": "k1", "name": "shop", "mode": "live", "prefix": "cb_live_abc", "scopes": ["read"], "accountId": None}


def _lines(*entries: Entry) -> list[dict[str, Any]]:
    return [{"action": entry.action.value, **entry.members} for entry in entries]


def test_an_address_that_is_gone_is_lost_and_one_that_is_back_was_removed() -> None:
    """What counts is how it stood in the end, not that it was registered once."""
    one, two, three = (builders.address(number) for number in (1, 2, 3))
    added = addresses_added([builders.watch(one), builders.watch(two), builders.watch(three, label="till")], NOW)
    lines = _lines(*added, addresses_removed("ethereum", [two], NOW))
    found = losses(remember(lines), Registered({("ethereum", one): "shop", ("ethereum", two): "till"}, {}, {}))
    assert [(lost.address, lost.label, lost.watched_from) for lost in found.addresses] == [(three, "till", 1)]
    assert list(found.watched_again) == [WatchedAgain("ethereum", two, "till")]
    assert found.any


def test_addresses_of_one_batch_are_one_line() -> None:
    """A bulk registration costs one line for each chain, account and height, whatever its size."""
    watches = [builders.watch(builders.address(number)) for number in range(1000)]
    (line,) = addresses_added(watches, NOW)
    assert len(line.members["addresses"]) == 1000
    assert line.members["addresses"][1] == {"address": f"0x{builders.address(1).hex()}"}


def test_registered_twice_it_was_watched_from_the_first_time_on() -> None:
    """After a restore addresses are registered again, later; a second restore must look back as far as the first life."""
    again = addresses_added([builders.watch(builders.OURS, watched_from=90)], NOW)
    first = addresses_added([builders.watch(builders.OURS, watched_from=10)], NOW)
    (lost,) = losses(remember(_lines(*first, *again)), NOTHING).addresses
    assert lost.watched_from == 10
    removed = addresses_removed("ethereum", [builders.OURS], NOW)
    (later,) = losses(remember(_lines(*first, removed, *again)), NOTHING).addresses
    assert later.watched_from == 90


def test_endpoints_are_lost_changed_or_back() -> None:
    """Its URL, filters and whether it was switched off by hand are compared; how it answered is not."""
    saved = _lines(endpoint_saved(builders.endpoint("a"), NOW))
    found = losses(remember(saved), NOTHING)
    assert [line["id"] for line in found.endpoints] == ["endpoint"]
    same = {**saved[0], "disabledByHand": False}
    for change, differs in (
        ({}, False),
        ({"url": "https://other.example/"}, True),
        ({"events": []}, True),
        ({"enabled": False}, False),
        ({"enabled": False, "disabledByHand": True}, True),
    ):
        found = losses(remember(saved), Registered({}, {"endpoint": {**same, **change}}, {}))
        assert bool(found.changed_endpoints) == differs, change
        assert found.any == differs
    removed = [*saved, *_lines(endpoint_removed("endpoint", NOW))]
    assert len(losses(remember(removed), Registered({}, {"endpoint": same}, {})).endpoints_again) == 1
    assert not losses(remember(removed), NOTHING).any


def test_a_key_is_lost_or_valid_again() -> None:
    """A revocation that the backup does not know makes a leaked key valid: it is told. A lost and revoked one is not."""
    added, revoked = _lines(api_key_added(KEY, NOW)), _lines(api_key_revoked("k1", NOW))
    assert [line["name"] for line in losses(remember(added), NOTHING).api_keys] == ["shop"]
    assert list(losses(remember(added + revoked), Registered({}, {}, {"k1": False})).valid_again) == ["k1"]
    assert not losses(remember(added + revoked), Registered({}, {}, {"k1": True})).any
    assert not losses(remember(added + revoked), NOTHING).any
