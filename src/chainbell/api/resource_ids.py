"""Ids in paths and queries: what cannot be one is not there, and never reaches the database."""

import re

from chainbell.domain.errors import NotFoundError

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def require_id(text: str, what: str) -> str:
    """Return an id of ours as it is. Raises `NotFoundError` for text that cannot be one."""
    if not _ID.fullmatch(text):
        message = f"there is no {what} of this id"
        raise NotFoundError(message)
    return text
