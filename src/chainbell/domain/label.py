"""What may stand in a label: words of the operator's own, which webhooks carry as they are."""

import unicodedata

from chainbell.domain.errors import InputError

MAX_LABEL_LENGTH = 200

_UNSEEN = {"Cc", "Cs"}
"""Unicode's control characters, and halves of surrogate pairs."""


def check_label(label: str) -> None:
    """Raise `InputError` for a label that is empty, too long, or holds what cannot be shown."""
    if not 1 <= len(label) <= MAX_LABEL_LENGTH or any(unicodedata.category(character) in _UNSEEN for character in label):
        message = f"a label must have 1 to {MAX_LABEL_LENGTH} characters, and no control characters"
        raise InputError(message)
