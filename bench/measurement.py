"""What a measurement says, and how pairs of runs become one: ratios of the same minutes on the same machine."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

PAIRS = 5
"""Runs of the baseline and of ours, in turn; the median of their ratios counts."""


class Size(Enum):
    """How much is measured."""

    SMOKE = "smoke"
    """So little that it only shows that everything runs."""
    SHORT = "short"
    LONG = "long"


class Aim(Enum):
    """Which side of its aim a figure should be on."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure under its name. Without an aim it is only printed."""

    name: str
    value: float
    unit: str = "ratio"
    aim: tuple[Aim, float] | None = None
    spread: tuple[float, float] | None = None
    """Lowest and highest of the runs that it was made of."""
    details: dict[str, object] = field(default_factory=dict)
    """What else was measured beside it, for results.json."""

    @property
    def verdict(self) -> str:
        """``ok`` or ``missed`` where there is an aim, else nothing."""
        if self.aim is None:
            return ""
        side, bound = self.aim
        return "ok" if (self.value >= bound if side is Aim.AT_LEAST else self.value <= bound) else "missed"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Ours and the baseline, pair by pair, in the order they ran."""

    ours: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours over the baseline of the same pair."""
        return [mine / base for mine, base in zip(self.ours, self.baseline, strict=True)]

    def measurement(self, name: str, aim: tuple[Aim, float]) -> Measurement:
        """Return the median ratio under a name, with all runs."""
        details: dict[str, object] = {"ours": _rounded(self.ours), "baseline": _rounded(self.baseline)}
        ratios = self.ratios
        return Measurement(name, statistics.median(ratios), "ratio", aim, (min(ratios), max(ratios)), details)


async def in_pairs(
    ours: Callable[[], Awaitable[float]], baseline: Callable[[], Awaitable[float]], pairs: int = PAIRS
) -> Pairs:
    """Run both in turn, whoever was second in one pair first in the next, so that neither has the warmer machine."""
    mine: list[float] = []
    base: list[float] = []
    for number in range(pairs):
        for run, into in ((ours, mine), (baseline, base))[:: 1 if number % 2 else -1]:
            into.append(await run())
    return Pairs(tuple(mine), tuple(base))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share (0 to 1) of the values does not exceed: one of them, never between two."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
