"""How far something long is: a bar on a terminal, now and then a line elsewhere; on stderr, where no program reads it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chainbell.cli.work.output import say

_LINE_SECONDS = 2.0

Show = Callable[[int, str], None]
"""Takes how much is done, and what else there is to say."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Show]:
    """Give what shows progress: a bar that goes away at the end, or at most a line every two seconds.

    `what` names what is counted, as in ``events``.
    """
    with _bar(what, total) if sys.stderr.isatty() else _lines(what, total) as show:
        yield show


@contextmanager
def _bar(what: str, total: int) -> Iterator[Show]:
    columns = (BarColumn(), TextColumn("{task.completed:,} of {task.total:,} {task.description}"), TimeElapsedColumn())
    note = TextColumn("{task.fields[note]}")
    with Progress(*columns, note, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, more: bar.update(task, completed=done, note=more)


@contextmanager
def _lines(what: str, total: int) -> Iterator[Show]:
    told = time.monotonic()

    def show(done: int, more: str) -> None:
        nonlocal told
        if time.monotonic() - told >= _LINE_SECONDS:
            told = time.monotonic()
            say(f"{done:,} of {total:,} {what}, {more}")

    yield show
