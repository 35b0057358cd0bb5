"""What one line of an address file says: CSV (RFC 4180) under its header, or one JSON object (NDJSON)."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chainbell.domain.errors import InputError
from chainbell.domain.quoting import quoted

COLUMNS = ("address", "label", "customer", "purpose")
"""Of the CSV header, in any order; only the first must be there."""
MEMBERS = ("address", "label", "customerId", "purpose")
"""Of a JSON object; only the first must be there."""

_SHOWN = 40
"""Characters of what somebody wrote that a reason repeats."""
_FIELD = r'(?:"[^"]*(?:""[^"]*)*"|[^",\r\n]*)'
_RECORD = re.compile(rf"{_FIELD}(?:,{_FIELD})*")


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of one line, as they were written. None: nothing was."""

    address: str
    label: str | None
    customer: str | None
    purpose: str | None = None


class LineReader(Protocol):
    """Reads a line of one format. Raises `InputError` that says what is wrong with it."""

    def read(self, text: str) -> Fields:
        """Return what the line says."""
        ...


class CsvReader:
    """Reads the lines of a CSV file, whose header it is made of."""

    def __init__(self, header: str) -> None:
        """Raise `InputError` for a header that is not ours."""
        columns = _split(header)
        if unknown := [column for column in columns if column not in COLUMNS]:
            message = (
                f"{quoted(unknown[0], _SHOWN)} is no column of ours: the first line names the columns, {', '.join(COLUMNS)}"
            )
            raise InputError(message)
        if len(set(columns)) != len(columns):
            message = "the first line names a column twice: name each once"
            raise InputError(message)
        if "address" not in columns:
            message = f"the first line names no column address: it names the columns, {', '.join(COLUMNS)}"
            raise InputError(message)
        self._columns = columns

    def read(self, text: str) -> Fields:
        """Return what the line says; an empty value is none."""
        values = _split(text)
        if len(values) != len(self._columns):
            message = (
                f"the line has {len(values)} values and the header {len(self._columns)} columns: "
                "put a value that holds a comma in double quotes"
            )
            raise InputError(message)
        named = dict(zip(self._columns, values, strict=True))
        return Fields(named["address"], *(named.get(column) or None for column in COLUMNS[1:]))


class NdjsonReader:
    """Reads the lines of an NDJSON file."""

    def read(self, text: str) -> Fields:
        """Return what the line says; null is none."""
        members = _json_object(text)
        for name, value in members.items():
            if name not in MEMBERS:
                message = f"{quoted(name, _SHOWN)} is no member of ours: there are {', '.join(MEMBERS)}"
                raise InputError(message)
            if not isinstance(value, str) and (value is not None or name == "address"):
                message = f"{name} must be a string{'' if name == 'address' else ' or null'}"
                raise InputError(message)
        if "address" not in members:
            message = 'the member address is missing: write {"address": "0x..."}'
            raise InputError(message)
        return Fields(*(members.get(name) for name in MEMBERS))  # type: ignore[arg-type] # checked just above


def _split(text: str) -> Sequence[str]:
    # The csv module reads on where RFC 4180 sees a stray quote, and would make it a part of the value.
    if not _RECORD.fullmatch(text):
        message = (
            "the quotes are wrong: a value that holds a comma or a quote stands in double quotes, "
            "with each quote in it doubled, and ends on its line"
        )
        raise InputError(message)
    return next(csv.reader([text], strict=True))


def _json_object(text: str) -> dict[str, object]:
    try:
        parsed: object = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        message = 'the line is no JSON object: write {"address": "0x...", "label": "...", "customerId": "..."}'
        raise InputError(message)
    return parsed


def _each_once(members: Sequence[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in members]
    if len(set(names)) != len(names):
        message = "the line names a member twice: name each once"
        raise InputError(message)
    return dict(members)
