"""How long the scan of one real block of Bitcoin takes, and how much faster it is than bitcoinlib's parse of it."""

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from bench.measurement import PAIRS, Aim, Measurement, Size, in_pairs
from chainbell.nodes.utxo.scan import scan_block

BLOCK = (
    Path(__file__).parents[1]
    / "tests/data/bitcoin-mainnet-000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae.raw"
)
"""2,500 transactions, 6,518 inputs, 6,015 outputs; see tests/data/README.md."""
SCANS = {Size.SMOKE: 5, Size.SHORT: 31, Size.LONG: 301}
"""Scans of each run; their median is what the run took."""


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``bitcoin_block_scan_pure_ms`` and ``bitcoin_block_scan_vs_bitcoinlib`` in the same minutes."""
    raw = BLOCK.read_bytes()
    with _bitcoinlib(raw) as parse:

        async def ours() -> float:
            return 1 / statistics.median(_seconds(lambda: scan_block(raw, 0)) for _ in range(SCANS[size]))

        async def bitcoinlib() -> float:
            return 1 / _seconds(parse)

        pairs = await in_pairs(ours, bitcoinlib, 1 if size is Size.SMOKE else PAIRS)
    took = [1000 / blocks_per_second for blocks_per_second in pairs.ours]
    pure = Measurement(
        "bitcoin_block_scan_pure_ms", statistics.median(took), "ms", (Aim.AT_MOST, 30.0), (min(took), max(took))
    )
    return [pure, pairs.measurement("bitcoin_block_scan_vs_bitcoinlib", (Aim.AT_LEAST, 40.0))]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _bitcoinlib(raw: bytes) -> Iterator[Callable[[], object]]:
    """Give bitcoinlib's parse of a block, loaded and run once; its files go to a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BCL_DATA_DIR": folder}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from bitcoinlib.blocks import Block  # noqa: PLC0415 - it makes files where the variable says when it is imported

        def parse() -> object:
            return Block.parse_bytes(raw, parse_transactions=True)

        parse()
        yield parse
