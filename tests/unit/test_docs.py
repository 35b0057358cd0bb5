"""The documents against the code: what they name is there, and what is there is named."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from chainbell.cli.main import app
from chainbell.delivery.schedule import DEFAULT_SCHEDULE
from chainbell.domain.identity import event_id, movement_uid
from chainbell.domain.transaction import BlockPoint, Conflict, Execution, Origin, TransactionEvent
from chainbell.events import v1, v2
from chainbell.events.catalogue import V1_TYPES
from chainbell.storage.paging import MAX_LIMIT
from chainbell.telemetry.checkpoints import Checkpoint
from chainbell.tracker.confirmation import Policy
from tests import told_utxo
from tests.builders import deepened, deposit, included, point, subject, tx_hash, view, walk

CHECKOUT = Path(__file__).parents[2]
ROOMS = CHECKOUT / "src" / "chainbell"
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
TX = bytes.fromhex("5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060")
BLOCK = bytes.fromhex("88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6")
MERCHANT = bytes.fromhex("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
PAYER = bytes.fromhex("fB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")
# Written in parts, because no file may hold one.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npm" + "js", "org"),
        ("npm" + "js", "com"),
        ("yarn" + "pkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
    )
]


def read(name: str) -> str:
    return (CHECKOUT / name).read_text()


def section(document: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{document}".partition(f"\n{heading}\n")
    assert found, f"there is no {heading}"
    return re.split(rf"^#{{1,{level}}} ", rest, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of a text's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_inside_of_the_repository_leads_somewhere(document: Path) -> None:
    """Files that documents link to are there, and so are the headings in them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_every_make_target_that_a_document_names_is_there() -> None:
    """Whoever types what stands in the documents reaches a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text()
        shell = "\n".join(blocks(text, "sh"))
        for line in [*re.findall(r"`(make [^`]+)`", text), *re.findall(r"^(make .+)$", shell, re.MULTILINE)]:
            named.update(word for word in line.partition("#")[0].split()[1:2] + _more_targets(line))
    assert {"demo", "test", "check", "soak", "run"} <= named
    assert named <= targets


def _more_targets(line: str) -> list[str]:
    words = line.partition("#")[0].split()[2:]
    return [word for word in words if re.fullmatch("[a-z]+", word)]


def commands() -> dict[tuple[str, ...], set[str]]:
    """Return every command of `chainbell` with its options."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found: dict[tuple[str, ...], set[str]] = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= {(name, inner): _options(one) for inner, one in command.commands.items()}
        else:
            found[name,] = _options(command)
    return found


def _options(command: Any) -> set[str]:
    written = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    return {"--help", *(option for option in written if option.startswith("--"))}


def test_the_readme_lists_every_command_and_no_other() -> None:
    """The table of commands is what `chainbell --help` shows."""
    listed = set()
    for row in rows(section(read("README.md"), "## Commands")):
        first, *others = re.findall(r"`([^`]+)`", row[0])
        words = tuple(first.split()[1:])
        listed |= {words, *((words[0], other) for other in others)}
    assert listed == set(commands())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_line_in_a_document_can_be_typed(document: Path) -> None:
    """Commands and their options are there, in running text and in examples."""
    known = commands()
    for line in _command_lines(document.read_text()):
        words = shlex.split(line, comments=True)
        name = tuple(words[:2]) if tuple(words[:2]) in known else tuple(words[:1])
        assert name in known or any(command[:1] == name for command in known), line
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= known.get(name, {"--help"}), line


def _command_lines(text: str) -> Iterator[str]:
    yield from re.findall(r"`chainbell ([a-z][^`]*)`", text)
    for block in blocks(text, "sh"):
        yield from re.findall(r"chainbell ([a-z].*)$", block, re.MULTILINE)


def documented_events() -> dict[str, str | None]:
    """Return what docs/webhooks.md lists: the v2 name, and the v1 name or None."""
    listed = rows(section(read("docs/webhooks.md"), "## Events"))
    names = [row[0].strip("`") for row in listed]
    assert len(names) == len(set(names))
    return {row[0].strip("`"): None if row[1] == "none" else row[1].strip("`") for row in listed}


def test_every_event_is_documented_with_its_legacy_name() -> None:
    """The tables of events are the catalogue."""
    assert documented_events() == V1_TYPES


def story() -> TransactionEvent:
    """Return the deposit that the documents show, as it succeeds."""
    shown = subject(tx_hash=TX, address=MERCHANT)
    uid = movement_uid(shown.type, shown.chain.caip2, TX, shown.asset, MERCHANT, 0)
    record = replace(deposit(), uid=uid, subject=shown, counterparty=PAYER, origin=Origin(PAYER, 7))
    block = BlockPoint(21_000_000, BLOCK)
    seen = included(counterparty=PAYER, block=block, view=view(block.height))
    _, told = walk(record, [seen, deepened(block.height + 11)], Policy(required_depth=12, screening=False))
    return told[-1]


def test_the_bodies_in_the_document_are_what_is_sent() -> None:
    """The v2 and the v1 example are rendered by the code from one deposit."""
    event = story()
    id_ = event_id(event.transaction.uid, event.type, event.occasion, 0)
    shown = [json.loads(block) for block in blocks(read("docs/webhooks.md"), "json")]
    assert shown[0] == json.loads(v2.render(event, id_, 0))
    assert shown[1] == json.loads(v1.render(event) or b"{}")
    assert f"webhook-id: {id_}\n" in read("docs/webhooks.md")
    assert f"webhook-timestamp: {int(event.at.timestamp())}\n" in read("docs/webhooks.md")


@pytest.mark.parametrize(
    ("heading", "path"),
    [
        ("### Members of the envelope", ()),
        ("### Members of `data`", ("data",)),
    ],
)
def test_every_v2_member_is_documented_in_order(heading: str, path: Sequence[str]) -> None:
    """The tables of members are those that each event has."""
    body = json.loads(v2.render(story(), "evt_one", 0))
    for step in path:
        body = body[step]
    assert [row[0].strip("`") for row in rows(section(read("docs/webhooks.md"), heading))] == list(body)


def test_every_v1_member_is_documented_in_order() -> None:
    """The table of legacy members is what is sent."""
    body = json.loads(v1.render(story()) or b"{}")
    listed = rows(section(read("docs/webhooks.md"), "### Members of v1 `data`"))
    assert [row[0].strip("`") for row in listed] == list(body["data"])


def test_every_member_that_most_events_lack_is_documented() -> None:
    """A record with everything that can stand behind a member shows what the table lists."""
    event = story()
    record = replace(
        event.transaction,
        execution=Execution.REVERTED,
        conflict=Conflict(tx_hash(9), point()),
        replaced_by=tx_hash(9),
        replaces=tx_hash(8),
        historical_until=1,
    )
    spent = v2.members(told_utxo.TOLD["deposit.pending"])
    unusual = (set(v2.members(replace(event, transaction=record))) | set(spent)) - set(v2.members(event))
    listed = rows(section(read("docs/webhooks.md"), "### Members that most events do not have"))
    assert {row[0].strip("`") for row in listed} == unusual


def test_the_documented_retries_are_the_schedule() -> None:
    """Number of attempts and hours in all are those of the code."""
    hours = sum(delay.total_seconds() for delay in DEFAULT_SCHEDULE) / 3600
    text = re.sub(r"\s+", " ", read("docs/webhooks.md"))
    assert f"{len(DEFAULT_SCHEDULE)} attempts in {hours:.1f} hours" in text
    assert f"limit=<1..{MAX_LIMIT}>" in text


def test_the_architecture_names_the_rooms_and_layers_that_there_are() -> None:
    """Its layers are those that import-linter enforces, and each room has its line."""
    text = read("ARCHITECTURE.md")
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    drawn = re.findall(r"```\n(.*?)```", section(text, "## Import layers"), re.DOTALL)[0]
    assert [line.strip() for line in drawn.strip().splitlines()] == contract["layers"]
    listed = "".join(row[0] for row in rows(section(text, "## Rooms")))
    rooms = {path.name for path in ROOMS.iterdir() if path.is_dir() and path.name not in {"__pycache__", "chains"}}
    assert set(re.findall(r"`(\w+)/`", listed)) == rooms


def test_every_file_that_the_architecture_names_is_there() -> None:
    """Paths in running text are paths in the tree."""
    names = {path.name for path in ROOMS.rglob("*.py")}
    for document in ("ARCHITECTURE.md", "CONTRIBUTING.md", *(f"docs/adr/{path.name}" for path in adrs())):
        for path in re.findall(r"`([\w/]+\.py)(?::[^`]*)?`", read(document)):
            inside = (ROOMS / path).exists() or (CHECKOUT / path).exists()
            assert inside or ("/" not in path and path in names), f"{document}: {path}"


def test_the_commit_points_that_the_architecture_names_are_there() -> None:
    """Checkpoints in running text are checkpoints in code."""
    named = re.findall(r"\(`([a-z_]+)`, `([a-z_]+)`, ", section(read("ARCHITECTURE.md"), "## Stopping, and dying"))
    assert named
    assert {name for pair in named for name in pair} <= set(Checkpoint)


def adrs() -> list[Path]:
    return sorted((CHECKOUT / "docs" / "adr").glob("[0-9]*.md"))


def test_decisions_are_numbered_listed_and_complete() -> None:
    """Each record has its number, its line in the index under its own title, and its three sections."""
    index = read("docs/adr/README.md")
    assert [int(path.name[:4]) for path in adrs()] == list(range(1, len(adrs()) + 1))
    for path in adrs():
        text = path.read_text()
        title = text.splitlines()[0].removeprefix(f"# {path.name[:4]}. ")
        assert f"| [{path.name[:4]}]({path.name}) | {title} |" in index
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name


def test_no_file_names_a_package_registry() -> None:
    """Lock files and documents work with whatever registry the machine is set up for."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        path = CHECKOUT / name
        if name and path.is_file():
            content = path.read_bytes()
            assert not [host for host in REGISTRIES if host.encode() in content], name
