"""What commands print: tables for people, JSON lines for programs, hints on stderr."""

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_A_FILE = 400
"""Characters: where nobody looks at a terminal, nothing is broken or cut."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], nothing: str) -> None:
    """Print rows under their headings; without any, say so on stderr."""
    if not rows:
        say(nothing)
        return
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Text, not markup: a label may hold brackets.
        table.add_row(*(Text(cell or "-", overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False).print(table)


def answer(text: str) -> None:
    """Print what was asked for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_lines(lines: Iterable[bytes]) -> None:
    """Print JSON objects, one a line."""
    for line in lines:
        sys.stdout.write(f"{line.decode()}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell people something that is not part of the answer: on stderr, where no program reads it."""
    sys.stderr.write(f"{text}\n")


def say_next(option: str, cursor: str | None) -> None:
    """Tell how to get the next page, if there is one."""
    if cursor is not None:
        say(f"more: add {option} {cursor}")
