"""What ``chainbell doctor`` does."""

import asyncio
from collections.abc import Sequence

import orjson

from chainbell.app.doctor.examine import examine_nodes
from chainbell.app.doctor.finding import Diagnosis, lost_chains
from chainbell.cli.work.output import answer, print_lines, print_table, say
from chainbell.config.chains import configured_chains
from chainbell.config.settings import load_settings
from chainbell.domain.errors import ConfigurationError
from chainbell.telemetry.log import configure_logging

_COLUMNS = ("aspect", "state", "found", "what Chainbell loses")


def show(*, as_json: bool) -> int:
    """Examine every node and print what was found; 1 when a chain cannot be followed through any of its nodes."""
    settings = load_settings()
    configure_logging("debug" if settings.log_level == "debug" else "warning", settings.log_format)
    chains = configured_chains(settings)
    if not settings.nodes:
        message = "no chain has a node: set CHAINBELL_NODES__<CHAIN>, as in CHAINBELL_NODES__BITCOIN=http://user:password@127.0.0.1:8332"
        raise ConfigurationError(message)
    diagnoses = asyncio.run(examine_nodes(settings, chains))
    if as_json:
        print_lines(orjson.dumps(_document(each)) for each in diagnoses)
    else:
        _print(diagnoses)
    lost = lost_chains(diagnoses)
    for name in lost:
        say(f"chain {name} cannot be followed: none of its nodes can be used")
    return 1 if lost else 0


def _print(diagnoses: Sequence[Diagnosis]) -> None:
    for each in diagnoses:
        answer(f"{each.chain}: {each.node}" + ("" if each.is_usable else " (unusable)"))
        rows = [(finding.aspect, finding.grade.value, finding.found, finding.loses) for finding in each.findings]
        print_table(_COLUMNS, rows, "")


def _document(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "chain": diagnosis.chain,
        "node": diagnosis.node,
        "usable": diagnosis.is_usable,
        "findings": [
            {"aspect": finding.aspect, "state": finding.grade.value, "found": finding.found, "loses": finding.loses}
            for finding in diagnosis.findings
        ],
    }
