"""What the lines of a streamed answer to a bulk registration say: one for each batch, and a last one."""

from http import HTTPStatus
from typing import Literal, Self
from uuid import UUID

from chainbell.api.views.wire import Wire
from chainbell.custody.address_file import BadLine, BadLines
from chainbell.custody.registration import Batch, Refusal, Refused, Tally
from chainbell.domain.address import AddressFormat, show_address
from chainbell.domain.errors import ChainbellError

_REASONS = {
    Refusal.WATCHED_ELSEWHERE: "another account watches this address already: remove it there first, or leave the line out",
    Refusal.UNKNOWN_CUSTOMER: "the account has this customer no more",
}


class BadLineView(Wire):
    """A line that is wrong."""

    line: int
    reason: str

    @classmethod
    def of(cls, bad: BadLine) -> Self:
        """Show a bad line."""
        return cls(line=bad.line, reason=bad.reason)


class BadLinesView(Wire):
    """What is wrong with a file, nothing of which was registered."""

    bad_lines: list[BadLineView]
    """The first of them."""
    bad_line_total: int

    @classmethod
    def of(cls, bad: BadLines) -> Self:
        """Show bad lines."""
        return cls(bad_lines=[BadLineView.of(line) for line in bad.first], bad_line_total=bad.total)


class ConflictView(Wire):
    """A line that was not registered, though nothing is wrong with the line itself."""

    line: int
    address: str
    code: Refusal
    reason: str

    @classmethod
    def of(cls, refused: Refused, addresses: AddressFormat) -> Self:
        """Show a line that was refused."""
        return cls(
            line=refused.entry.line,
            address=show_address(addresses, refused.entry.address),
            code=refused.refusal,
            reason=_REASONS[refused.refusal],
        )


class BatchView(Wire):
    """One batch: committed when this line is read."""

    type: Literal["batch"] = "batch"
    first_line: int
    last_line: int
    registered: int
    already: int
    """Addresses that this account watched before: nothing about them was changed."""
    conflicts: list[ConflictView]
    watched_from: int | None
    """First block height that is covered for what was registered; null where nothing was."""
    scan_id: UUID | None
    """The scan of its past; null where none was asked for, or there is nothing to read."""

    @classmethod
    def of(cls, batch: Batch, addresses: AddressFormat) -> Self:
        """Show a batch."""
        return cls(
            first_line=batch.first_line,
            last_line=batch.last_line,
            registered=batch.registered,
            already=batch.already,
            conflicts=[ConflictView.of(refused, addresses) for refused in batch.refused],
            watched_from=batch.watched_from,
            scan_id=None if batch.scan_id is None else UUID(batch.scan_id),
        )


class SummaryView(Wire):
    """The last line when every line of the file was dealt with."""

    type: Literal["summary"] = "summary"
    registered: int
    already: int
    conflicts: int

    @classmethod
    def of(cls, tally: Tally) -> Self:
        """Show what all batches came to."""
        return cls(registered=tally.registered, already=tally.already, conflicts=tally.refused)


class BrokenOffView(Wire):
    """The last line when it could not go on. What the lines before it say was registered stands."""

    type: Literal["error"] = "error"
    status: int
    detail: str
    registered: int
    already: int
    conflicts: int

    @classmethod
    def of(cls, error: ChainbellError, tally: Tally) -> Self:
        """Show why it broke off, and how to go on."""
        return cls(
            status=HTTPStatus.SERVICE_UNAVAILABLE.value,
            detail=f"{error}. What was registered stands: repeat the whole call to go on, it registers only what is missing",
            registered=tally.registered,
            already=tally.already,
            conflicts=tally.refused,
        )
