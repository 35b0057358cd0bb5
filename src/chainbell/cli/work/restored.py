"""What ``chainbell restored`` does."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from chainbell.app.restoring import Findings, begin, find
from chainbell.app.services import Services
from chainbell.cli.work.asking import require_consent
from chainbell.cli.work.losses import LostFile, Names, todo
from chainbell.cli.work.output import answer, print_lines, say
from chainbell.cli.work.session import with_services
from chainbell.domain.errors import InputError
from chainbell.domain.watch import Purpose
from chainbell.events.v2 import wire_time
from chainbell.storage.chunks import chunks
from chainbell.storage.journal import moment_of
from chainbell.storage.losses import Line, Losses, LostAddress
from chainbell.storage.restore import NewGeneration

SOMETHING_TO_DO = 3
_ENDPOINT = ("id", "url", "version", "mode", "events", "chains", "accounts", "accountId", "enabled")
_API_KEY = ("id", "name", "mode", "prefix", "scopes", "accountId")
_EXTENDED_KEY = ("chain", "accountId", "key", "label", "gapLimit", "firstIndex", "watchedFrom")
_LINES_A_FILE = 100_000
"""As many as `chainbell address import` takes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command."""

    journals: Sequence[Path] | None
    above: int
    lost_addresses: Path | None
    yes: bool
    as_json: bool


def restored(asked: Asked) -> int:
    """Show what came back and what did not, ask, and begin the next generation. Return the exit code."""

    async def work(services: Services) -> tuple[Findings, NewGeneration, Names]:
        findings = await find(services, asked.journals, asked.above)
        names = Names({name: definition.addresses for name, definition in services.chains.items()})
        _introduce(findings)
        require_consent(f"Begin generation {findings.next_generation}?", yes=asked.yes)
        return findings, await begin(services, findings), names

    findings, begun, names = with_services(work, migrating=True)
    files = _write_files(findings, names, asked.lost_addresses)
    if asked.as_json:
        print_lines([_to_json(findings, begun, names)])
    else:
        answer(f"generation {begun.generation} has begun, behind feed position {begun.began_behind}")
        for line in todo(findings, names, files):
            answer(line)
    return SOMETHING_TO_DO if findings.losses.any else 0


def _introduce(findings: Findings) -> None:
    """Say, on stderr, what the database holds and what will happen."""
    state, lines = findings.state, findings.lines
    reach = "nothing at all" if state.reach is None else f"nothing newer than {wire_time(state.reach)}"
    say(f"this database is of generation {state.generation} and knows {reach}")
    for chain, height in state.cursors.items():
        say(f"  {chain}: goes on from its cursor at block {height}, and tells again what it told, under the same ids")
    if state.generation and not state.told_since and state.began_at is not None:
        say(
            f"generation {state.generation} began at {wire_time(state.began_at)} and nothing was told in it yet: "
            "`chainbell restored` was run already. Run it again only after another restore"
        )
    say(f"  {state.pending} deliveries that the backup holds as pending are sent, perhaps once more, under their ids")
    say(
        f"generation {findings.next_generation} begins: payloads and feed cursors carry it, and no process from before the "
        "restore can write any more. Every `chainbell run` must be stopped until this is done"
    )
    for chain, follower in state.followers.items():
        say(f"BUT {follower} follows {chain} at this moment: stop it first, or what it writes meanwhile belongs to no life")
    _say_what_journals_know(findings)
    if lines.damaged:
        say(f"  {len(lines.damaged)} lines cannot be read, the first at {lines.damaged[0]}: look at them by hand")
    if lines.foreign:
        say(f"  {lines.foreign} lines are of other databases, and are left out")


def _say_what_journals_know(findings: Findings) -> None:
    reach, begins = findings.state.reach, findings.lines.begins_at
    since = "" if reach is None else f" since {wire_time(reach)}"
    if begins is None:
        say(
            f"no journal of this database was found: register again whatever was registered or removed{since}. Where it was "
            "restored before, name the highest generation that any payload carried with --above-generation"
        )
        return
    say(f"journals read: {', '.join(str(path) for path in findings.journals)}")
    if reach is not None and begins > reach:
        say(f"  they begin at {wire_time(begins)}: what was registered between the backup and then is in neither")


def _write_files(findings: Findings, names: Names, folder: Path | None) -> list[LostFile]:
    """Write the lost addresses, by chain and account, as `chainbell address import` reads them."""
    if folder is None:
        return []
    groups: dict[tuple[str, str], list[LostAddress]] = defaultdict(list)
    for lost in findings.losses.addresses:
        groups[lost.chain, lost.account_id].append(lost)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for (chain, account_id), group in groups.items():
            for number, part in enumerate(chunks(group, _LINES_A_FILE), start=1):
                path = folder / f"{chain}-{account_id}-{number}.ndjson"
                path.write_bytes(b"".join(_import_line(lost, names) for lost in part))
                written.append(LostFile(path, part))
    except OSError as error:
        message = f"the lost addresses cannot be written to {folder} ({error.strerror}); run the command again"
        raise InputError(message) from error
    return written


def _import_line(lost: LostAddress, names: Names) -> bytes:
    facts = {"address": names.address(lost.chain, lost.address), "label": lost.label, "customerId": lost.customer_id}
    if lost.purpose is not Purpose.DEPOSIT:
        facts["purpose"] = lost.purpose.value
    return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)


def _to_json(findings: Findings, begun: NewGeneration, names: Names) -> bytes:
    reach, found = findings.state.reach, findings.losses
    return orjson.dumps(
        {
            "generation": begun.generation,
            "beganBehind": begun.began_behind,
            "backupReaches": None if reach is None else wire_time(reach),
            "cursors": findings.state.cursors,
            "journals": [str(path) for path in findings.journals],
            "damagedLines": list(findings.lines.damaged),
            **_lost_json(found, names),
        }
    )


def _lost_json(found: Losses, names: Names) -> dict[str, object]:
    return {
        "lostAddresses": [
            {
                "chain": lost.chain,
                "address": names.address(lost.chain, lost.address),
                "accountId": lost.account_id,
                "customerId": lost.customer_id,
                "label": lost.label,
                "watchedFrom": lost.watched_from,
                "purpose": lost.purpose.value,
            }
            for lost in found.addresses
        ],
        "lostKeys": [_shown(line, _EXTENDED_KEY) for line in found.keys],
        "addressesToRemove": [
            {"chain": one.chain, "address": names.address(one.chain, one.address), "accountId": one.account_id}
            for one in found.watched_again
        ],
        "retiredAddresses": [
            {"chain": one.chain, "address": names.address(one.chain, one.address)} for one in found.retired
        ],
        "lostEndpoints": [_shown(line, _ENDPOINT, "savedAt") for line in found.endpoints],
        "changedEndpoints": [_shown(line, _ENDPOINT, "savedAt") for line in found.changed_endpoints],
        "endpointsToRemove": [_shown(line, _ENDPOINT) for line in found.endpoints_again],
        "lostApiKeys": [_shown(line, _API_KEY, "createdAt") for line in found.api_keys],
        "apiKeysToRevoke": list(found.valid_again),
    }


def _shown(line: Line, members: Sequence[str], at: str | None = None) -> dict[str, object]:
    """Return what a line of the journal tells of a resource, in the words of the API, and when it was written as `at`."""
    shown = {name: line[name] for name in members if name in line}
    return shown if at is None else {**shown, at: wire_time(moment_of(dict(line)))}
