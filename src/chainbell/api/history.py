"""What somebody asks for of the past: from which height on, and whether endpoints are told of it."""

from typing import Annotated

from pydantic import Field

from chainbell.domain.errors import InputError
from chainbell.domain.history import History

MAX_HEIGHT = 2**63 - 1

FromHeight = Annotated[int, Field(strict=True, ge=0, le=MAX_HEIGHT, examples=[21000000])]
Notify = Annotated[bool, Field(strict=True)]


def asked_history(from_height: int | None, notify: bool | None) -> History | None:  # noqa: FBT001 - a member of a request
    """Return what is asked for; None: nothing. Raises `InputError` where one of the two is missing: nobody guesses."""
    if from_height is None:
        if notify is None:
            return None
        message = "notify says what becomes of the past that fromHeight asks for: give fromHeight as well, or leave it out"
        raise InputError(message)
    if notify is None:
        message = (
            "fromHeight needs notify, since receivers act on webhooks: true rings endpoints for deposits of the past too, "
            "false puts them on the feed and into listings only"
        )
        raise InputError(message)
    return History(from_height, notify)
