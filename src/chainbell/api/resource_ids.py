"""Ids in paths and queries: what cannot be one is not there, and never reaches the database."""

import re

from chainbell.domain.errors import NotFoundError

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
_PREFIXES = {"event": "evt_", "transaction": "trx_"}


def require_id(text: str, what: str) -> str:
    """Return an id of ours as it is. Raises `NotFoundError` for text that cannot be one."""
    prefix = _PREFIXES[what]
    if not (_ID.fullmatch(text) and text.startswith(prefix)):
        message = f"this is no {what} id, which begins with {prefix}: list the {what}s, and copy one whole"
        raise NotFoundError(message)
    return text
