"""Accounts: who may see which rows, and whether an account that somebody names is there."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from chainbell.domain.chain import Mode
from chainbell.domain.errors import InputError
from chainbell.storage.database import Connection


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose rows a listing may show; None stands for all. The operator, who is none of ours to limit, has two Nones."""

    mode: Mode | None = None
    account_id: str | None = None

    @property
    def parameters(self) -> tuple[str | None, str | None]:
        """Mode and account as SQL gets them."""
        return None if self.mode is None else self.mode.value, self.account_id


OPERATOR = Viewer()
"""Sees everything."""


async def check_accounts(connection: Connection, mode: Mode, ids: Collection[str]) -> None:
    """Raise `InputError` unless every one of these accounts is there and of this mode.

    One of the other mode is not told from one that is not there: nothing crosses from one mode to the other.
    """
    wanted = {id_: _parse(id_) for id_ in ids}
    rows = await connection.fetch(
        "select id from accounts where mode = $1 and id = any($2::uuid[])", mode.value, list(wanted.values())
    )
    found = {row["id"] for row in rows}
    missing = sorted(id_ for id_, parsed in wanted.items() if parsed not in found)
    if missing:
        message = f"there is no account {missing[0]} of mode {mode.value}: leave it out for the default one"
        raise InputError(message)


def _parse(id_: str) -> UUID:
    try:
        return UUID(id_)
    except ValueError as error:
        message = f"{id_!r} is not the id of an account: that is a UUID"
        raise InputError(message) from error
