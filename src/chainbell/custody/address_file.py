"""Which addresses a file asks to be watched, and which of its lines are wrong: fed piece by piece, never held whole."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from chainbell.custody.address_record import CsvReader, Fields, LineReader, NdjsonReader
from chainbell.domain.address import AddressFormat, parse_address
from chainbell.domain.errors import InputError
from chainbell.domain.label import check_label
from chainbell.domain.watch import Purpose, check_purpose

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_ADDRESS = 128
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FileFormat(StrEnum):
    """How a file is written. UTF-8 in any case, lines ended by LF or CRLF; a line of nothing but blanks says nothing."""

    CSV = "csv"
    NDJSON = "ndjson"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is taken."""

    lines: int = 100_000
    """With something on them, beside the header."""
    line_bytes: int = 4_096
    bad_lines_kept: int = 100
    """How many bad lines are told one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One address to watch."""

    line: int
    """Where it stands in the file, from 1; the header of CSV is line 1."""
    address: bytes
    label: str | None
    customer_id: str | None
    purpose: Purpose = Purpose.DEPOSIT


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be registered, and why, in words for people."""

    line: int
    reason: str


@dataclass(slots=True)
class BadLines:
    """Bad lines: the first of them, and how many there are."""

    most: int
    first: list[BadLine] = field(default_factory=list)
    total: int = 0

    @property
    def summary(self) -> str:
        """How many they are, and what that means."""
        return f"{'1 line is' if self.total == 1 else f'{self.total} lines are'} wrong, and nothing was registered"

    def add(self, line: int, reason: str) -> None:
        """Note a bad line."""
        self.total += 1
        if len(self.first) < self.most:
            self.first.append(BadLine(line, reason))


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file says. While it has bad lines, nothing of it is registered."""

    entries: list[Entry]
    bad: BadLines


class AddressFile:
    """Reads a file of addresses as one chain writes them."""

    def __init__(self, addresses: AddressFormat, file_format: FileFormat, limits: Limits | None = None) -> None:
        self._addresses = addresses
        self._limits = limits or Limits()
        self._reader: LineReader | None = NdjsonReader() if file_format is FileFormat.NDJSON else None
        self._line = bytearray()
        self._number = 1
        self._taken = 0
        self._first_at: dict[bytes, int] = {}
        self._content = FileContent([], BadLines(self._limits.bad_lines_kept))
        self._given_up = False

    @property
    def given_up(self) -> bool:
        """Whether the rest does not matter any more: there are too many lines, or the header is wrong."""
        return self._given_up

    def feed(self, data: bytes) -> None:
        """Take the next piece of the file, cut anywhere."""
        first, *others = data.split(b"\n")
        self._extend(first)
        for other in others:
            self._end_line()
            self._extend(other)

    def finish(self) -> FileContent:
        """Return what the file says, once all of it was fed."""
        self._end_line()
        if not self._content.entries and not self._content.bad.total:
            self._content.bad.add(1, "the file names no address: there is nothing to register")
        return self._content

    def _extend(self, piece: bytes) -> None:
        # Two bytes more than a line may have are enough to see that it is too long, with or without its CR.
        self._line += piece[: max(0, self._limits.line_bytes + 2 - len(self._line))]

    def _end_line(self) -> None:
        line, number = bytes(self._line), self._number
        self._line.clear()
        self._number += 1
        if self._given_up:
            return
        try:
            self._take(number, line.removesuffix(b"\r"))
        except InputError as error:
            self._content.bad.add(number, str(error))

    def _take(self, number: int, line: bytes) -> None:
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line.strip():
            return
        if self._reader is None:
            self._reader = self._read_header(line)
            return
        if self._taken == self._limits.lines:
            self._given_up = True
            message = f"the file has more than {self._limits.lines} lines: split it, and register the parts in turn"
            raise InputError(message)
        self._taken += 1
        self._content.entries.append(self._entry(number, self._reader.read(self._text(line))))

    def _read_header(self, line: bytes) -> LineReader:
        try:
            return CsvReader(self._text(line))
        except InputError:
            self._given_up = True
            raise

    def _text(self, line: bytes) -> str:
        if len(line) > self._limits.line_bytes:
            message = f"the line is longer than {self._limits.line_bytes} bytes"
            raise InputError(message)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            message = "the line is not UTF-8: save the file in that encoding"
            raise InputError(message) from error

    def _entry(self, number: int, fields: Fields) -> Entry:
        if len(fields.address) > _LONGEST_ADDRESS:
            message = f"the address has more than {_LONGEST_ADDRESS} characters: no chain has such"
            raise InputError(message)
        address = parse_address(self._addresses, fields.address)
        first = self._first_at.setdefault(address, number)
        if first != number:
            message = f"the same address stands in line {first}: leave one of them out"
            raise InputError(message)
        if fields.label is not None:
            check_label(fields.label)
        purpose = _purpose(fields.purpose)
        check_purpose(self._addresses.kind, purpose)
        return Entry(number, address, fields.label, _customer(fields.customer), purpose)


def _purpose(text: str | None) -> Purpose:
    if text is None:
        return Purpose.DEPOSIT
    try:
        return Purpose(text)
    except ValueError as error:
        message = f"the purpose is none of ours: write {', '.join(Purpose)}, or nothing"
        raise InputError(message) from error


def _customer(text: str | None) -> str | None:
    if text is None:
        return None
    customer_id = text.lower()
    if not _UUID.fullmatch(customer_id):
        message = "the customer is no UUID: write the customer's id, or nothing"
        raise InputError(message)
    return customer_id
