"""Which ``CHAINBELL_`` variables there are, and what they are called."""

import difflib
import re
from collections.abc import Iterable, Mapping

PREFIX = "CHAINBELL_"
NODES = f"{PREFIX}NODES__"
"""Followed by a chain's name: its nodes."""
_CHAIN_IN_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def variable(field: str) -> str:
    """Return the variable that sets a field of the settings."""
    return PREFIX + field.upper()


def node_variable(chain: str) -> str:
    """Return the variable that names a chain's nodes: ``-`` is no character of a shell's names, and is ``_``."""
    return NODES + chain.upper().replace("-", "_")


def chain_of_node_variable(suffix: str) -> str:
    """Return the chain that the rest of a variable's name, after ``CHAINBELL_NODES__``, means."""
    return suffix.lower().replace("_", "-")


def unknown_variables(names: Iterable[str], fields: Iterable[str]) -> list[str]:
    """Say of each of these variables that is Chainbell's by its prefix, and unknown, what may have been meant.

    ``fields`` are the plain settings; nodes of any chain are known beside them. Case counts, as it does in a shell.
    """
    known = {variable(field) for field in fields}
    ours = sorted(name for name in names if name.upper().startswith(PREFIX))
    return [_unknown(name, known) for name in ours if name not in known and not _names_nodes(name)]


def set_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return Chainbell's variables that hold something: an empty one, as ``docker compose`` passes it, is unset."""
    return {name: value for name, value in variables.items() if name.startswith(PREFIX) and value.strip()}


def _names_nodes(name: str) -> bool:
    return name.startswith(NODES) and _CHAIN_IN_VARIABLE.fullmatch(name.removeprefix(NODES)) is not None


def _unknown(name: str, known: set[str]) -> str:
    near = _nearest(name.upper().removeprefix(PREFIX), {other.removeprefix(PREFIX) for other in known})
    if near is not None:
        return f"{name}: there is no such setting; did you mean {PREFIX}{near}?"
    return f"{name}: there is no such setting; the known ones are {', '.join(sorted(known))} and {NODES}<CHAIN>"


def _nearest(words: str, known: set[str]) -> str | None:
    """Compare without the prefix, which all names share and which would make any two look alike."""
    start, _, chain = words.partition("__")
    if difflib.get_close_matches(start, ["NODES"]):
        return f"NODES__{chain or '<CHAIN>'}"
    return next(iter(difflib.get_close_matches(words, known, n=1)), None)
