"""What was found out about a node, aspect by aspect. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import shown
from chainbell.nodes.identity import NodeIdentity, complaint

_OLD = timedelta(hours=1)
_OLD_BLOCKS = 12
"""As for the alarm of a chain that stands still."""


BLOCKS: Final = "blocks"
"""The aspect without which nothing can be done."""


class NotAskedError(NodeError):
    """The time was over before the question was put."""


NOT_ASKED: Final = NotAskedError("it was not asked: the time for all questions was over")
"""In place of an answer."""


def asked(*answers: object) -> bool:
    """Tell whether these questions were all put."""
    return all(answer is not NOT_ASKED for answer in answers)


class Grade(StrEnum):
    """What an aspect of a node means for Chainbell."""

    GOOD = "ok"
    LESS = "limited"
    """Chainbell does without, and loses what the finding says."""
    BAD = "unusable"
    """Chainbell cannot follow the chain through this node."""
    UNUSED = "not used"
    """It makes no difference to Chainbell."""
    UNKNOWN = "unknown"
    """The node did not say, or could not show it now."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One aspect of a node."""

    aspect: str
    grade: Grade
    found: str
    loses: str | None = None
    """What Chainbell cannot do, or does worse, for it; None: nothing."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One node."""

    chain: str
    node: str
    """Its URL without secrets."""
    findings: tuple[Finding, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the chain can be followed through it: it showed that it can, and nothing says otherwise."""
        shown_whole = any(finding.aspect == BLOCKS and finding.grade is Grade.GOOD for finding in self.findings)
        return shown_whole and all(finding.grade is not Grade.BAD for finding in self.findings)


def lost_chains(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """Return the chains that none of their nodes can follow, in order."""
    usable = {each.chain for each in diagnoses if each.is_usable}
    return [name for name in dict.fromkeys(each.chain for each in diagnoses) if name not in usable]


def judge_identity(answer: NodeIdentity | NodeError, definition: ChainDefinition) -> Finding:
    """Judge whether a node answers, and is of the chain it is configured for."""
    if isinstance(answer, NodeError):
        return Finding("chain", Grade.BAD, str(answer), "the chain cannot be followed through this node")
    if reason := complaint(answer, definition, None):
        return Finding("chain", Grade.BAD, reason, f"it is never read; point it at a node of {definition.name}")
    return Finding("chain", Grade.GOOD, f"{definition.name}, {answer}")


def judge_proof(failure: NodeError | None) -> Finding:
    """Judge whether a node showed what the chain's definition promises of it."""
    if failure is not None:
        return Finding(BLOCKS, Grade.BAD, str(failure), "the chain cannot be followed through this node as it is now")
    return Finding(BLOCKS, Grade.GOOD, "its newest block was read whole, and checked")


def judge_tip(height: int, mined_at: datetime, definition: ChainDefinition, now: datetime) -> Finding:
    """Judge whether a node keeps up with its chain. A development chain stands still for as long as it likes."""
    found = f"{height}, of {mined_at:%Y-%m-%d %H:%M:%S}Z"
    allowed = max(_OLD, _OLD_BLOCKS * timedelta(seconds=definition.block_seconds))
    if definition.mode is Mode.LIVE and now - mined_at > allowed:
        hours = (now - mined_at) / timedelta(hours=1)
        return Finding("newest block", Grade.LESS, f"{found}: {hours:.0f} hours old", "what came since is told late")
    return Finding("newest block", Grade.GOOD, found)


def judge_batches(size: int | NodeError, most: int) -> Finding:
    """Judge how many requests a node takes at once; ``most`` is what is ever asked."""
    if isinstance(size, NodeError):
        return Finding("batches", Grade.UNKNOWN, str(size))
    if size < most:
        found = "one request at a time" if size == 1 else f"{size} requests at once"
        return Finding("batches", Grade.LESS, found, "catching up, and scans of the past, take longer")
    return Finding("batches", Grade.GOOD, f"{size} requests at once")


def judge_version(aspect: str, text: object) -> Finding:
    """Tell what a node says it is."""
    if isinstance(text, str):
        return Finding(aspect, Grade.GOOD, shown(text))
    return Finding(aspect, Grade.UNKNOWN, words(text))


def member(answer: object, name: str, kind: type) -> Any:  # noqa: ANN401 - JSON, of the kind that was asked for
    """Return a member of an object that a node answered; None where it has none of that kind."""
    value = answer.get(name) if isinstance(answer, dict) else None
    return value if type(value) is kind else None


def words(answer: object) -> str:
    """Say what stands in place of a usable answer."""
    return str(answer) if isinstance(answer, NodeError) else f"it answered {shown(answer)}"
