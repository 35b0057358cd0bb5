"""A key that somebody asks to be watched, and how much work it may make. Pure."""

from dataclasses import dataclass

from chainbell.custody.template import Template
from chainbell.custody.window import (
    DEFAULT_GAP_LIMIT,
    END,
    MOST_DERIVATIONS,
    MOST_FIRST_INDEX,
    MOST_GAP,
    derived_until,
    watched_until,
)
from chainbell.domain.errors import InputError
from chainbell.domain.label import check_label


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that somebody asks to be watched. Without an account: the default one of the chain's mode."""

    chain: str
    template: Template
    account_id: str | None = None
    label: str | None = None
    gap_limit: int = DEFAULT_GAP_LIMIT
    first_index: int = 0

    def __post_init__(self) -> None:
        """Raise `InputError` for numbers out of range, or too large together, and for a label that is none."""
        if not 1 <= self.gap_limit <= MOST_GAP:
            message = f"the gap limit is from 1 to {MOST_GAP}: so many unused addresses are watched ahead"
            raise InputError(message)
        if not 0 <= self.first_index <= MOST_FIRST_INDEX:
            message = f"the first index is from 0 to {MOST_FIRST_INDEX}: all addresses below it are watched too"
            raise InputError(message)
        if self.first_index and not self.template.ranged:
            message = "this descriptor names one address: a first index is for those that end in /*"
            raise InputError(message)
        self._check_cost()
        if self.label is not None:
            check_label(self.label)

    def _check_cost(self) -> None:
        keys, branches = self.template.keys_derived, len(self.template.branches)
        derivations = keys * branches * self.derived
        if derivations <= MOST_DERIVATIONS:
            return
        most = MOST_DERIVATIONS // (keys * branches)
        message = (
            f"this takes {derivations:,} derivations of public keys ({keys} for each address, {self.derived:,} addresses of "
            f"each branch, branches: {branches}), and at most {MOST_DERIVATIONS:,} are made: lower the first index or the "
            f"gap limit, until the first index plus four times the gap limit is {most:,} or less"
        )
        raise InputError(message)

    @property
    def end_index(self) -> int:
        """Index behind the last address of a branch."""
        return END if self.template.ranged else 1

    @property
    def window(self) -> int:
        """Index behind the last address that is watched at first."""
        return watched_until(self.first_index, self.gap_limit, 0, self.end_index)

    @property
    def derived(self) -> int:
        """Index behind the last address that is derived at first."""
        return derived_until(self.window, self.gap_limit, self.end_index)
