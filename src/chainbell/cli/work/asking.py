"""Questions before what cannot be undone."""

import sys

import typer

from chainbell.domain.errors import InputError


def require_consent(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless the answer was given beforehand. Raises `InputError` when it is no, or nobody is there."""
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nothing was changed, for nobody can be asked here: read what is shown, and add --yes"
        raise InputError(message)
    if not typer.confirm(question, err=True):
        message = "nothing was changed"
        raise InputError(message)
