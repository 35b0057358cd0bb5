"""Who gets an event, and which filters are refused with what hint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.errors import InputError
from chainbell.events.catalogue import EXPLICIT_ONLY, V1_TYPES
from chainbell.events.subscription import check_filter, event_names, subscribes
from tests.builders import endpoint, feed_event

V1, V2 = WebhookVersion.V1, WebhookVersion.V2
CONFIRMATION = "transaction.deposit.confirmation"
EVENT = feed_event("transaction.deposit.success")


def refusal(version: WebhookVersion, *filters: str) -> str:
    with pytest.raises(InputError) as caught:
        check_filter(version, filters)
    return str(caught.value)


@pytest.mark.parametrize(
    ("filters", "gets"),
    [
        ((), True),
        (("*",), True),
        (("transaction.*",), True),
        (("transaction.deposit.*",), True),
        (("transaction.deposit.success",), True),
        (("address.created", "transaction.deposit.success"), True),
        (("transaction.transfer.*",), False),
        (("transaction.deposit.failed",), False),
        (("transaction.deposit.success.*",), False),
        (("transaction.success",), False),
    ],
)
def test_filters(filters: tuple[str, ...], *, gets: bool) -> None:
    """An exact name or a wildcard lets an event through; an empty filter lets all through."""
    assert subscribes(endpoint(*filters), EVENT) == gets


@pytest.mark.parametrize("filters", [(), ("*",), ("transaction.*",), ("transaction.deposit.*",)])
def test_depths_are_sent_only_to_who_names_them(filters: tuple[str, ...]) -> None:
    """`confirmation` never comes by wildcard or by an empty filter, only by its exact name, also beside a wildcard."""
    event = feed_event(CONFIRMATION, v1_type=None)
    assert not subscribes(endpoint(*filters), event)
    assert subscribes(endpoint(*filters, CONFIRMATION), event)


def test_modes_never_cross() -> None:
    """A test endpoint gets nothing of a live chain, and the other way round."""
    assert not subscribes(endpoint(mode=Mode.TEST), EVENT)
    assert not subscribes(endpoint(), feed_event(mode=Mode.TEST))
    assert subscribes(endpoint(mode=Mode.TEST), feed_event(mode=Mode.TEST))


def test_nobody_gets_what_is_silent() -> None:
    """What a scan of the past found for somebody who wants no endpoint told is sent to none."""
    assert not subscribes(endpoint("*", EVENT.type), feed_event(EVENT.type, silent=True))


def test_chains_and_accounts_narrow() -> None:
    """Both must allow an event; none named means all."""
    assert subscribes(endpoint(chains=("ethereum",), accounts=("account-a", "account-b")), EVENT)
    assert not subscribes(endpoint(chains=("base", "polygon")), EVENT)
    assert not subscribes(endpoint(accounts=("account-b",)), EVENT)
    assert not subscribes(endpoint(chains=("ethereum",), accounts=("account-b",)), EVENT)


def test_v1_filters_by_its_own_names() -> None:
    """A legacy endpoint knows legacy names only, and gets nothing that has none."""
    assert subscribes(endpoint(version=V1), EVENT)
    assert subscribes(endpoint("transaction.success", version=V1), EVENT)
    assert subscribes(endpoint("transaction.*", version=V1), EVENT)
    assert not subscribes(endpoint("transaction.deposit.success", version=V1), EVENT)
    assert not subscribes(endpoint("transaction.failed", version=V1), EVENT)
    for filters in ((), ("*",), (CONFIRMATION,)):
        assert not subscribes(endpoint(*filters, version=V1), feed_event(CONFIRMATION, v1_type=None))


@pytest.mark.parametrize(
    ("version", "wrong", "hint"),
    [
        (V2, "transaction.deposit.sucess", "did you mean transaction.deposit.success?"),
        (V2, "transaction.success", "version 2"),
        (V2, "transaction.deposits.*", "version 2"),
        (V2, "transaction.*.success", "version 2"),
        (V2, "transaction.deposit*", "version 2"),
        (V2, "zzz", "docs/webhooks.md lists them all"),
        (V2, "", "docs/webhooks.md lists them all"),
        (V2, ".*", "version 2"),
        (V2, "**", "version 2"),
        (V2, "TRANSACTION.DEPOSIT.SUCCESS", "version 2"),
        (V2, CONFIRMATION + ".*", f"did you mean {CONFIRMATION}?"),
        (V1, "transaction.deposit.success", "version 1"),
        (V1, "transaction.sucess", "did you mean transaction.success?"),
        (V1, "accounts.*", "version 1"),
    ],
)
def test_an_unknown_filter_is_refused_with_a_hint(version: WebhookVersion, wrong: str, hint: str) -> None:
    """The message names the filter and says what to do, also when others beside it are right."""
    assert repr(wrong) in refusal(version, "*", wrong)
    assert hint in refusal(version, wrong)


@given(st.sampled_from([V1, V2]), st.data())
def test_what_is_accepted_can_match(version: WebhookVersion, data: st.DataObject) -> None:
    """Every event's name and each of its wildcards is accepted, and lets that event through."""
    name = data.draw(st.sampled_from(event_names(version)))
    parts = name.split(".")
    cut = data.draw(st.integers(0, len(parts)))
    entry = name if cut == len(parts) else ".".join([*parts[:cut], "*"])
    check_filter(version, [entry])
    event = feed_event(name if version is V2 else "transaction.deposit.success", v1_type=name)
    exact_only = name in EXPLICIT_ONLY and entry != name
    assert subscribes(endpoint(entry, version=version), event) != exact_only


@given(st.sampled_from([V1, V2]), st.text(max_size=40))
def test_anything_else_is_refused(version: WebhookVersion, entry: str) -> None:
    """A filter is either refused, or there is an event that it lets through."""
    try:
        check_filter(version, [entry])
    except InputError:
        return
    assert entry == "*" or entry in event_names(version)


@given(st.lists(st.sampled_from([*event_names(V2), "*", "transaction.*", "transaction.deposit.*"]), max_size=4))
def test_more_filters_never_take_away(filters: list[str]) -> None:
    """Adding an entry to a filter that is not empty lets the same events through, and perhaps more."""
    for name in event_names(V2):
        event = feed_event(name)
        alone = [subscribes(endpoint(entry), event) for entry in filters]
        if filters:
            assert subscribes(endpoint(*filters), event) == any(alone)


def test_names_of_each_version() -> None:
    """Version 2 knows every type, version 1 its own fewer ones."""
    assert event_names(V2) == sorted(V1_TYPES)
    assert event_names(V1) == [
        "transaction.awaiting_confirmation",
        "transaction.failed",
        "transaction.incoming",
        "transaction.new",
        "transaction.pending",
        "transaction.pending_approval",
        "transaction.processing",
        "transaction.queue",
        "transaction.success",
    ]
