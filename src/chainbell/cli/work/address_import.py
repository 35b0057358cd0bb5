"""What ``chainbell address import`` does."""

from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import BinaryIO
from uuid import UUID

from chainbell.api.chain_names import named_chain
from chainbell.api.views.bulk_registration import BadLinesView, BatchView, ConflictView, SummaryView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, say
from chainbell.cli.work.progress import progress
from chainbell.cli.work.session import with_services
from chainbell.config.chains import configured_chains
from chainbell.config.settings import load_settings
from chainbell.custody.address_file import AddressFile, BadLines, FileContent, FileFormat
from chainbell.custody.registration import Batch, Order, Tally, all_bad_lines, register_in_batches
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import InputError, UnavailableError
from chainbell.domain.history import History
from chainbell.telemetry.clock import now

CONFLICTS = 3
"""Exit code: all lines are sound, and some could not be registered."""

_INTERRUPTED = 130
_PIECE_BYTES = 1 << 16
_CONFLICTS_SHOWN = 100
_SUFFIXES = {".csv": FileFormat.CSV, ".ndjson": FileFormat.NDJSON, ".jsonl": FileFormat.NDJSON}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to register, and where."""

    chain: str
    file: BinaryIO
    file_format: str | None
    account: UUID | None
    from_height: int | None
    notify: bool

    @property
    def history(self) -> History | None:
        """What of the past is asked for."""
        return None if self.from_height is None else History(self.from_height, self.notify)


@dataclass(slots=True)
class _Report:
    """What came of it so far."""

    chain: ChainDefinition
    as_json: bool
    tally: Tally = field(default_factory=Tally)
    conflicts: list[ConflictView] = field(default_factory=list)
    latest: int | None = None
    """Height from which on all that was registered is covered."""
    scans: int = 0
    """How many scans of the past were begun."""

    def add(self, batch: Batch) -> None:
        self.tally.add(batch)
        self.latest = batch.watched_from or self.latest
        self.scans += batch.scan_id is not None
        if self.as_json:
            print_lines([BatchView.of(batch, self.chain.addresses).to_json()])
        else:
            room = _CONFLICTS_SHOWN - len(self.conflicts)
            self.conflicts += [ConflictView.of(refused, self.chain.addresses) for refused in islice(batch.refused, room)]

    def end(self) -> None:
        """Print what it came to."""
        if self.as_json:
            print_lines([SummaryView.of(self.tally).to_json()])
            return
        for conflict in self.conflicts:
            say(f"line {conflict.line}: {conflict.address}: {conflict.reason}")
        if len(self.conflicts) < self.tally.refused:
            say(f"... and {self.tally.refused - len(self.conflicts):,} more lines like these; --json tells all of them")
        covered = f", covered from block {self.latest} on at the latest" if self.tally.registered else ""
        answer(
            f"{self.chain.name}: {self.tally.registered:,} registered{covered}; {self.tally.already:,} watched before; "
            f"{self.tally.refused:,} not registered"
        )
        if self.scans:
            answer(
                "their past is read by `chainbell run`: `chainbell scan list --unfinished "
                f"--chain {self.chain.name}` shows how far that is"
            )

    def say_how_to_go_on(self) -> None:
        say(
            f"broken off: {self.tally.registered:,} addresses were registered and stand. "
            "The same command again goes on: it registers only what is missing"
        )


def import_file(wanted: Wanted, *, as_json: bool) -> None:
    """Check a file whole, then register its addresses."""
    chain = named_chain(configured_chains(load_settings()), wanted.chain, None)
    content = _read(wanted, chain)
    if content.bad.total:
        _refuse(content.bad, as_json=as_json)
    report = _Report(chain, as_json)

    async def work(services: Services) -> None:
        await _register(services, wanted, content, report)

    try:
        with_services(work)
    except KeyboardInterrupt:
        report.say_how_to_go_on()
        raise SystemExit(_INTERRUPTED) from None
    except UnavailableError:
        if report.tally.lines:
            report.say_how_to_go_on()
        raise
    report.end()
    if report.tally.refused:
        raise SystemExit(CONFLICTS)


def _read(wanted: Wanted, chain: ChainDefinition) -> FileContent:
    file = AddressFile(chain.addresses, _format(wanted))
    while not file.given_up and (piece := wanted.file.read(_PIECE_BYTES)):
        file.feed(piece)
    return file.finish()


def _format(wanted: Wanted) -> FileFormat:
    if wanted.file_format is not None:
        return FileFormat(wanted.file_format)
    found = _SUFFIXES.get(PurePath(str(wanted.file.name)).suffix.lower())
    if found is None:
        message = f"the name does not say how the file is written: end it in {', '.join(_SUFFIXES)}, or add --format"
        raise InputError(message)
    return found


def _refuse(bad: BadLines, *, as_json: bool) -> None:
    if as_json:
        print_lines([BadLinesView.of(bad).to_json()])
    else:
        for line in bad.first:
            say(f"line {line.line}: {line.reason}")
        if len(bad.first) < bad.total:
            say(f"... and {bad.total - len(bad.first):,} more")
    message = f"{bad.summary}: mend the file, and run the same command again"
    raise InputError(message)


async def _register(services: Services, wanted: Wanted, content: FileContent, report: _Report) -> None:
    account = None if wanted.account is None else str(wanted.account)
    account_id = await services.registry.holding_account(report.chain.name, account)
    bad = await all_bad_lines(services.registry, account_id, content)
    if bad.total:
        _refuse(bad, as_json=report.as_json)
    order = Order(report.chain.name, account_id, wanted.history)
    with progress("addresses", len(content.entries)) as show:
        async with aclosing(register_in_batches(services.registry, order, content.entries, now)) as batches:
            async for batch in batches:
                report.add(batch)
                show(report.tally.lines, f"{report.tally.refused:,} not registered")
