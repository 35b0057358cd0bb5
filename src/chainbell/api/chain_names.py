"""Which chain a request means: by the name of its definition, or by its name on the wire."""

import difflib
from collections.abc import Mapping, Sequence

from chainbell.domain.address import parse_address
from chainbell.domain.chain import ChainDefinition, Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError, NotFoundError
from chainbell.domain.quoting import LONGEST_NAME, quoted
from chainbell.storage.transaction_list import AddressOf


def named_chain(chains: Mapping[str, ChainDefinition], text: str, mode: Mode | None) -> ChainDefinition:
    """Return the chain of this name (``anvil``, or ``ANVIL``), of any mode without one.

    Raises `InputError` for a chain that is unknown, or of the other mode.
    """
    found = _find(chains, text)
    if found is None:
        near = difflib.get_close_matches(text.lower(), chains, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(chains)}"
        message = f"there is no chain {quoted(text, LONGEST_NAME)}: {hint}"
        raise InputError(message)
    if mode not in {None, found.mode}:
        message = f"{found.name} is of mode {found.mode.value}, and what you ask for of the other: nothing crosses modes"
        raise InputError(message)
    return found


def chain_in_path(chains: Mapping[str, ChainDefinition], text: str, mode: Mode) -> ChainDefinition:
    """Return the chain that a path names. Raises `NotFoundError` for one unknown or of the other mode."""
    found = _find(chains, text)
    if found is None or found.mode is not mode:
        message = f"there is no chain {quoted(text, LONGEST_NAME)} of mode {mode.value}: GET /v2/chains lists them"
        raise NotFoundError(message)
    return found


def named_chains(chains: Mapping[str, ChainDefinition], texts: Sequence[str], mode: Mode | None) -> list[str]:
    """Return the definitions' names of these chains. Raises as `named_chain`."""
    return [named_chain(chains, text, mode).name for text in texts]


def addressed(chains: Sequence[ChainDefinition], text: str) -> Mapping[str, bytes]:
    """Return the bytes of an address, by name of each of these chains that can read it.

    Raises `InputError` when none can: in the words of the chain, where there is only one, or of the kind that it looks like.
    """
    found: dict[str, bytes] = {}
    problems: dict[str, InputError] = {}
    for chain in chains:
        try:
            found[chain.name] = parse_address(chain.addresses, text)
        except InputError as error:
            problems.setdefault(chain.kind, error)
    if found:
        return found
    if len(problems) == 1 or (ChainKind.EVM in problems and text.startswith("0x")):
        raise next(iter(problems.values())) if len(problems) == 1 else problems[ChainKind.EVM]
    message = (
        f"{quoted(text)} is an address of none of {', '.join(chain.name for chain in chains)}: name its chain to be told why"
    )
    raise InputError(message)


def address_of(chains: Sequence[ChainDefinition], text: str) -> AddressOf:
    """Return an address, and on which of these chains this text means it. Raises as `addressed`."""
    found = addressed(chains, text)
    address = next(iter(found.values()))
    return AddressOf(address, [name for name, read in found.items() if read == address])


def _find(chains: Mapping[str, ChainDefinition], text: str) -> ChainDefinition | None:
    if text in chains:
        return chains[text]
    return next((chain for chain in chains.values() if chain.wire_name == text), None)
