"""docs/state-machine.md says what `transition` does: every status and observation is tried, and compared with the page."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chainbell.domain.transaction import Execution, ScreeningStatus, Status, Transaction, TransactionEvent
from chainbell.tracker.observations import Observation, Outbid, Sighted, Vanished
from chainbell.tracker.transitions import transition
from tests.builders import (
    NOW,
    OFF,
    block_hash,
    conflicted,
    deepened,
    deposit,
    failing,
    included,
    orphaned,
    screened,
    transfer,
    tx_hash,
    walk,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "state-machine.md").read_text(encoding="utf-8")

OWN, BRANCH, RIVAL, GENERATION = 100, 1, 9, 7
"""Height of its block, and of the conflict's on another branch; the rival transaction; a generation that is no depth."""

OBSERVATIONS: dict[str, Observation] = {
    "Included": included(OWN),
    "Included (failed)": failing(OWN),
    "Orphaned (its block)": orphaned(OWN),
    "Orphaned (the conflict's block)": orphaned(OWN, BRANCH),
    "ConflictMined": conflicted(OWN, BRANCH, by=RIVAL),
    "Deepened (shallow)": deepened(OWN + 1),
    "Deepened (deep)": deepened(OWN + 2),
    "Sighted": Sighted(GENERATION),
    "Vanished": Vanished(GENERATION),
    "Outbid": Outbid(tx_hash(RIVAL)),
}
OCCASIONS = {
    block_hash(OWN): "its block",
    block_hash(OWN, BRANCH): "the conflict's block",
    tx_hash(RIVAL): "the rival",
    str(GENERATION).encode(): "the generation",
    b"2": "the depth",
    b"3": "the depth",
}


def label(record: Transaction) -> str:
    """Name a state as the page does."""
    marks = {
        "failed": record.status is Status.AWAITING_CONFIRMATION and record.execution is not Execution.SUCCEEDED,
        "held": record.status is Status.AWAITING_CONFIRMATION and record.screening is ScreeningStatus.FLAGGED,
        "made by its block": record.block is not None and not record.may_return,
        "conflicted": record.conflict is not None and not record.final,
        "final": record.final and record.block is None,
    }
    named = [mark for mark, applies in marks.items() if applies]
    return f"{record.status} ({', '.join(named)})" if named else record.status.value


def states(newborn: Transaction) -> dict[str, Transaction]:
    """Return a record in every state that there is."""
    once = replace(newborn, may_return=False)
    seen, gone, outbid = OBSERVATIONS["Sighted"], OBSERVATIONS["Vanished"], OBSERVATIONS["Outbid"]
    rival, deep = OBSERVATIONS["ConflictMined"], deepened(OWN + 2)
    orphan = orphaned(OWN)
    histories: list[tuple[Transaction, list[Observation]]] = [
        (newborn, [seen]),
        (newborn, [seen, rival]),
        (newborn, [included(OWN)]),
        (newborn, [failing(OWN)]),
        (newborn, [included(OWN), deep]),
        (newborn, [failing(OWN), deep]),
        (newborn, [seen, gone]),
        (newborn, [seen, gone, rival]),
        (newborn, [seen, outbid]),
        (newborn, [seen, outbid, rival]),
        (newborn, [seen, rival, deep]),
        (newborn, [included(OWN), deep, orphan]),
        (newborn, [included(OWN), deep, orphan, rival]),
        (once, [included(OWN)]),
        (once, [failing(OWN)]),
        (once, [included(OWN), deep]),
        (once, [failing(OWN), deep]),
        (once, [included(OWN), orphan]),
        (once, [included(OWN), deep, orphan]),
    ]
    records = [newborn] + [walk(record, history)[0] for record, history in histories]
    waiting = records[3]
    return {label(record): record for record in [*records, screened(waiting, ScreeningStatus.FLAGGED)]}


def cell(event: TransactionEvent) -> str:
    occasion = ", ".join(OCCASIONS[part] for part in event.occasion)
    return f"{event.name} [{occasion}]" if occasion else event.name


def rows(newborn: Transaction) -> Iterator[tuple[str, str, str, str]]:
    """Yield (state, observation, becomes, events) of everything that changes something."""
    for name, record in states(newborn).items():
        for seen, observation in OBSERVATIONS.items():
            if newborn == record and not seen.startswith(("Included", "Sighted")):
                continue
            if record.block is not None and seen.startswith("Included"):
                continue
            result = transition(record, observation, OFF, NOW)
            if result.transaction != record:
                yield name, seen, label(result.transaction), ", ".join(map(cell, result.events)) or "none"


def edges(newborn: Transaction) -> set[tuple[str, str, str]]:
    """Return (from, to, label) of each arrow: what is told, by the first word of the observation."""
    found = set()
    for name, seen, becomes, told in rows(newborn):
        before, after = ("[*]" if text == "UNSEEN" else text.partition(" ")[0] for text in (name, becomes))
        if told != "none":
            found.add((before, after, f"{seen.partition(' ')[0]} / {told}"))
    return found


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def documented_rows() -> list[tuple[str, str, str, str]]:
    """Read the table; its first column may name several states."""
    found = []
    for line in section("Every change").splitlines():
        columns = [column.strip() for column in line.strip("|").split("|")]
        if len(columns) == 4 and columns[0].startswith("`"):
            becomes = columns[2].strip("`")
            for state in re.findall(r"`([^`]+)`", columns[0]):
                after = state if becomes == "unchanged" else becomes
                found.append((state, columns[1].strip("`"), after, columns[3]))
    return found


def documented_edges(title: str) -> set[tuple[str, str, str]]:
    arrows = re.findall(r"^ *(\S+) --> (\S+): (.+)$", section(title), flags=re.MULTILINE)
    return {(before, after, text.strip()) for before, after, text in arrows}


def test_the_table_is_what_the_code_does() -> None:
    """Each row is true, none is missing and none is there twice; whatever is not listed changes nothing."""
    assert sorted(documented_rows()) == sorted(rows(deposit()))


def test_transfers_differ_from_deposits_in_two_words_only() -> None:
    """In no block they are `PROCESSING`, and their depths are not told."""
    spoken = {
        tuple(text.replace("PROCESSING", "PENDING").replace("processing [", "pending [") for text in row)
        for row in rows(transfer())
    }
    silent = {
        (*row[:3], row[3].removeprefix("confirmation [its block, the depth], "))
        for row in rows(deposit())
        if row[3] != "confirmation [its block, the depth]"
    }
    assert spoken == silent


@pytest.mark.parametrize(("title", "newborn"), [("Deposits", deposit()), ("Transfers", transfer())])
def test_the_diagram_is_what_the_code_does(title: str, newborn: Transaction) -> None:
    """Each arrow is there with its observation, event and occasion, and no other arrow is."""
    assert documented_edges(title) == edges(newborn)


def test_every_status_has_its_state() -> None:
    """No status of the code is left out of what is tried."""
    tried = {record.status for newborn in (deposit(), transfer()) for record in states(newborn).values()}
    assert tried == set(Status)
