"""Run measurements, print a table, and write results.json beside this file: ``python -m bench [NAME...] [--long]``."""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import structlog
from rich.console import Console
from rich.table import Table

from bench import block_look_up, block_scan, catchup, commit, delivery, growth, idle, latency, utxo_growth, utxo_latency
from bench.machine import machine_facts
from bench.measurement import Measurement, Size

RESULTS = Path(__file__).with_name("results.json")
_LIMIT_SECONDS = {Size.SMOKE: 120.0, Size.SHORT: 400.0, Size.LONG: 3600.0}
"""How long one group of measurements may take; one that takes longer is said not to have finished."""

Bench: TypeAlias = Callable[[Size], Awaitable[Sequence[Measurement]]]
BENCHES: dict[tuple[str, ...], Bench] = {
    ("evm_catchup_vs_raw_fetch",): catchup.measure,
    ("evm_catchup_addresses_growth", "watcher_memory_growth"): growth.measure,
    (
        "evm_latency_poll_ms_p50",
        "evm_latency_poll_ms_p99",
        "evm_latency_hint_ms_p50",
        "evm_latency_hint_ms_p99",
    ): latency.measure,
    ("delivery_vs_bare_client", "deliveries_per_s"): delivery.measure,
    ("idle_rpc_calls_per_poll",): idle.measure,
    ("commit_ms_p99",): commit.measure,
    ("bitcoin_block_scan_pure_ms", "bitcoin_block_scan_vs_bitcoinlib"): block_scan.measure,
    ("bitcoin_block_scan_ms",): block_look_up.measure,
    (
        "bitcoin_latency_poll_ms_p50",
        "bitcoin_latency_poll_ms_p99",
        "bitcoin_latency_zmq_ms_p50",
        "bitcoin_latency_zmq_ms_p99",
    ): utxo_latency.measure,
    ("utxo_memory_growth",): utxo_growth.measure,
}


def main() -> int:
    """Run what the command line names; 1 when something did not finish. An aim that is missed is no failure."""
    arguments = _parse(sys.argv[1:])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    chosen = {names: bench for names, bench in BENCHES.items() if not arguments.names or set(names) & set(arguments.names)}
    facts = machine_facts()
    measured: list[Measurement] = []
    unfinished: dict[str, str] = {}
    began = time.monotonic()
    for names, bench in chosen.items():
        print(f"measuring {', '.join(names)} ...", file=sys.stderr, flush=True)
        outcome = asyncio.run(_run(bench, arguments.size))
        if isinstance(outcome, BaseException):
            unfinished |= dict.fromkeys(names, f"{type(outcome).__name__}: {outcome}")
        else:
            measured += outcome
    facts["seconds"] = round(time.monotonic() - began)
    _print(measured, unfinished, facts)
    report = {
        "machine": facts,
        "size": arguments.size.value,
        "measurements": [_to_json(one) for one in measured],
        "unfinished": unfinished,
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if unfinished else 0


async def _run(bench: Bench, size: Size) -> Sequence[Measurement] | BaseException:
    """Return what went wrong instead of raising it: the other measurements go on."""
    limited = asyncio.wait_for(bench(size), _LIMIT_SECONDS[size])
    (outcome,) = await asyncio.gather(limited, return_exceptions=True)
    return outcome


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    known = [name for names in BENCHES for name in names]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    sizes = parser.add_mutually_exclusive_group()
    sizes.set_defaults(size=Size.SHORT)
    sizes.add_argument("--long", dest="size", action="store_const", const=Size.LONG, help="larger sizes, up to an hour each")
    sizes.add_argument("--smoke", dest="size", action="store_const", const=Size.SMOKE, help="only show that everything runs")
    parsed = parser.parse_args(arguments)
    if unknown := set(parsed.names) - set(known):
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return parsed


def _print(measured: Sequence[Measurement], unfinished: dict[str, str], facts: dict[str, object]) -> None:
    table = Table(title="Chainbell, measured")
    for heading in ("measurement", "value", "aim", "", "spread"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for one in measured:
        aim = "" if one.aim is None else f"{one.aim[0].value} {one.aim[1]:g}"
        spread = "" if one.spread is None else f"{one.spread[0]:.4g} .. {one.spread[1]:.4g}"
        table.add_row(one.name, f"{one.value:.4g} {one.unit}", aim, one.verdict, spread)
    for name, reason in unfinished.items():
        table.add_row(name, "-", "", "did not finish", reason)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), soft_wrap=True)


def _to_json(one: Measurement) -> dict[str, object]:
    aim = None if one.aim is None else f"{one.aim[0].value} {one.aim[1]:g}"
    return asdict(one) | {"aim": aim, "verdict": one.verdict}


if __name__ == "__main__":
    sys.exit(main())
