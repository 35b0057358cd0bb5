"""Who gets an event, and which filters there can be. Pure."""

import difflib
from collections.abc import Sequence

from chainbell.domain.delivery import Endpoint, FeedEvent, WebhookVersion
from chainbell.domain.errors import InputError
from chainbell.events.catalogue import EXPLICIT_ONLY, V1_TYPES


def subscribes(endpoint: Endpoint, event: FeedEvent) -> bool:
    """Tell whether an endpoint gets an event: its mode, version, chains, accounts and filter must all allow it.

    Nobody gets a silent one.
    """
    name = event.type if endpoint.version is WebhookVersion.V2 else event.v1_type
    return (
        name is not None
        and not event.silent
        and endpoint.mode is event.mode
        and (not endpoint.chains or event.chain in endpoint.chains)
        and (not endpoint.accounts or event.account_id in endpoint.accounts)
        and _passes(endpoint.events, name)
    )


def _passes(filters: Sequence[str], name: str) -> bool:
    if name in filters:
        return True
    if name in EXPLICIT_ONLY:
        return False
    return not filters or any(_is_wildcard(entry) and name.startswith(entry[:-1]) for entry in filters)


def check_filter(version: WebhookVersion, filters: Sequence[str]) -> None:
    """Raise `InputError` when a filter names no event of this version, saying which one was probably meant."""
    known = event_names(version)
    for entry in filters:
        if _is_wildcard(entry) and any(name.startswith(entry[:-1]) for name in known):
            continue
        if entry not in known:
            near = difflib.get_close_matches(entry, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/webhooks.md lists them all"
            message = f"there is no event {entry!r} in version {version.value}: {hint}"
            raise InputError(message)


def event_names(version: WebhookVersion) -> list[str]:
    """Return every event that a version of the webhooks knows, sorted."""
    if version is WebhookVersion.V2:
        return sorted(V1_TYPES)
    return sorted({legacy for legacy in V1_TYPES.values() if legacy is not None})


def _is_wildcard(entry: str) -> bool:
    return entry == "*" or entry.endswith(".*")
