"""Which chains there are: definitions from the built-in ``chains/*.toml`` and from an operator's directory.

An error in any file is a `ConfigurationError` that lists every problem found, one file a line, each with its key.
"""

import difflib
import importlib.resources
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from chainbell.config.settings import Settings
from chainbell.config.variables import node_variable
from chainbell.domain.address import EVM_ADDRESSES, parse_address
from chainbell.domain.chain import AddressTable, ChainDefinition, NativeAsset, Token
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import ConfigurationError, InputError

_CHECKOUT = Path(__file__).resolve().parents[3] / "chains"
_MODELS: dict[str | int, type[BaseModel]] = {"native": NativeAsset, "tokens": Token, "addresses": AddressTable}
_MESSAGES = {
    "missing": "is missing",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
    "frozen_set_type": "must be an array",
}


@dataclass(frozen=True, slots=True)
class _Source:
    """One file of a chain: how messages name it, and where it is read."""

    label: str
    file: Traversable

    @property
    def chain(self) -> str:
        return self.file.name.removesuffix(".toml")


def configured_chains(settings: Settings) -> dict[str, ChainDefinition]:
    """Return every chain that this configuration defines, by name, after a look at the settings that name chains.

    Raises `ConfigurationError` for a definition that is wrong, and for nodes of a chain that nobody defined,
    and for an option that nodes of its chain do not have.
    """
    chains = load_chains(settings.chains_dir)
    unknown = [name for name in settings.nodes if name not in chains]
    if unknown:
        raise ConfigurationError("\n".join(_unknown_chain(name, chains) for name in unknown))
    misplaced = [
        f"{node_variable(name)}: URL {number} {problem}"
        for name, urls in settings.nodes.items()
        for number, url in enumerate(urls, start=1)
        if (problem := url.misplaced(chains[name].kind)) is not None
    ]
    if misplaced:
        raise ConfigurationError("\n".join(misplaced))
    return chains


def load_chains(extra_dir: Path | None = None) -> dict[str, ChainDefinition]:
    """Return the chain definitions by name, in alphabetical order.

    The files of ``extra_dir`` add to the built-in ones, or replace whole the one of the same name. Raises
    `ConfigurationError` that names each file and key that is wrong, and what is allowed there.
    """
    sources = {source.chain: source for source in _built_in()}
    if extra_dir is not None:
        sources |= {source.chain: source for source in _of_operator(extra_dir)}
    chains: dict[str, ChainDefinition] = {}
    problems: list[str] = []
    for name, source in sorted(sources.items()):
        outcome = _read(source)
        if isinstance(outcome, ChainDefinition):
            chains[name] = outcome
        else:
            problems.append(f"{source.label}: {'; '.join(outcome)}")
    problems += _shared_identities(chains, sources)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return {name: chain.among(_alike(chain, chains)) for name, chain in chains.items()}


def built_in_definition(name: str) -> str:
    """Return the text of a built-in chain definition, to make a changed one of. Raises `KeyError` when there is none."""
    return {source.chain: source.file for source in _built_in()}[name].read_text("utf-8")


def _built_in() -> list[_Source]:
    # A wheel carries the files inside of the package; an editable install has them beside it, in the checkout.
    packaged = importlib.resources.files("chainbell") / "chains"
    directory: Traversable = packaged if packaged.is_dir() else _CHECKOUT
    if not directory.is_dir():
        message = "chainbell's own chains/*.toml are not installed: install chainbell again"
        raise ConfigurationError(message)
    return [_Source(f"chains/{file.name}", file) for file in _toml_files(directory.iterdir())]


def _of_operator(directory: Path) -> list[_Source]:
    try:
        files = _toml_files(directory.iterdir())
    except OSError as error:
        message = f"CHAINBELL_CHAINS_DIR: {directory} cannot be read ({error.strerror}): name a directory of *.toml files"
        raise ConfigurationError(message) from error
    if not files:
        message = f"CHAINBELL_CHAINS_DIR: {directory} holds no *.toml file: put one there, or leave the setting out"
        raise ConfigurationError(message)
    return [_Source(str(directory / file.name), file) for file in files]


def _toml_files(files: Iterable[Traversable]) -> list[Traversable]:
    return sorted((file for file in files if file.name.endswith(".toml")), key=lambda file: file.name)


def _read(source: _Source) -> ChainDefinition | list[str]:
    """Return the definition in a file, or everything that is wrong with it."""
    try:
        content = tomllib.loads(source.file.read_bytes().decode())
        chain = ChainDefinition.model_validate(content)
    except OSError as error:
        return [f"cannot be read ({error.strerror})"]
    except UnicodeDecodeError as error:
        return [f"is not UTF-8 text (byte {error.start})"]
    except tomllib.TOMLDecodeError as error:
        return [f"is not TOML: {error}"]
    except ValidationError as error:
        return [_problem(details) for details in error.errors(include_url=False)]
    problems = list(_bad_checksums(content))
    if chain.name != source.chain:
        problems.append(f"name: is {chain.name!r}, must be the file's own name, {source.chain!r}")
    return problems or chain


def _problem(details: ErrorDetails) -> str:
    path = details["loc"]
    if details["type"] == "extra_forbidden":
        return f"{_dotted(path)}: {_unknown_key(path)}"
    text = _MESSAGES.get(details["type"])
    if text is None:
        text = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{_dotted(path)}: {text}" if path else text


def _dotted(path: tuple[str | int, ...]) -> str:
    """Write ``("tokens", 2, "decimals")`` as ``tokens[2].decimals``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _unknown_key(path: tuple[str | int, ...]) -> str:
    model = ChainDefinition if len(path) == 1 else _MODELS[path[0]]
    keys = [field.alias or name for name, field in model.model_fields.items()]
    near = difflib.get_close_matches(str(path[-1]), keys, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"unknown key{hint} (allowed here: {', '.join(keys)})"


def _bad_checksums(content: Mapping[str, Any]) -> Iterator[str]:
    for index, token in enumerate(content.get("tokens", ())):
        try:
            parse_address(EVM_ADDRESSES, token["contract"])
        except InputError as error:
            yield f"tokens[{index}].contract: {error}"


def _alike(chain: ChainDefinition, chains: Mapping[str, ChainDefinition]) -> list[ChainDefinition]:
    return [other for other in chains.values() if other.kind is ChainKind.UTXO is chain.kind]


def _shared_identities(chains: Mapping[str, ChainDefinition], sources: Mapping[str, _Source]) -> Iterator[str]:
    owners: dict[tuple[str, str], str] = {}
    for name, chain in chains.items():
        for key, value in (("caip2", chain.caip2), ("wire_name", chain.wire_name)):
            owner = owners.setdefault((key, value), name)
            if owner != name:
                other = sources[owner].label
                yield f"{sources[name].label}: {key}: is {value}, as in {other}: no two chains may share it"


def _unknown_chain(name: str, chains: Mapping[str, ChainDefinition]) -> str:
    near = difflib.get_close_matches(name, chains, n=1)
    hint = f"did you mean {node_variable(near[0])}?" if near else "define it in CHAINBELL_CHAINS_DIR, or remove it."
    return f"{node_variable(name)}: there is no chain {name!r}; {hint} (known: {', '.join(chains)})"
