"""From the bytes of a real block of Bitcoin to everything that the database knows of it, among a million watched scripts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from bench.block_scan import BLOCK
from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Size, percentile
from bench.profiling import profiled
from bench.scripts import own_outputs, watch_scripts
from chainbell.config.chains import load_chains
from chainbell.domain.chain import COIN, BlockRef, ChainDefinition
from chainbell.domain.following import CoverageChange, KeptLedger, Leased
from chainbell.domain.utxo import Lacking, Prevout, Prevouts, UtxoBlock, with_prevouts
from chainbell.events.publish import publish
from chainbell.nodes.utxo.scan import scan_block
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.ledger import LedgerStore
from chainbell.telemetry.clock import now
from chainbell.tracker.look_up import Found, UtxoMatcher
from chainbell.tracker.matching import AssetFacts
from chainbell.tracker.spending import Maturities

SCRIPTS = {Size.SMOKE: 10_000, Size.SHORT: 1_000_000, Size.LONG: 5_000_000}
"""Watched scripts, and as many known outputs of theirs."""
TIMES = {Size.SMOKE: 3, Size.SHORT: 61, Size.LONG: 301}
PAID, SPENDING = 5, 3
"""Transactions of the block that pay a watched script, and others that spend from one."""
_WARM = 6
"""Look-ups before the first that counts: by then PostgreSQL has settled on its plans."""
_HEIGHT = 2
_STRANGER = Prevout(b"\x00\x14" + bytes(20), 10**9)


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``bitcoin_block_scan_ms``."""
    definition = load_chains()["bitcoin"]
    raw = BLOCK.read_bytes()
    ours = _choose(scan_block(raw, _HEIGHT))
    async with fresh_database() as own:
        await _start(own.database, definition)
        await watch_scripts(own.database, definition, SCRIPTS[size], [])
        await own_outputs(own.database, definition, SCRIPTS[size], {})
        reading = _Reading(own.database, definition, raw)
        with profiled("block_look_up"):
            foreign = await reading.often(_Ours(), TIMES[size])
            await watch_scripts(own.database, definition, len(ours.scripts), ours.scripts)
            await own_outputs(own.database, definition, len(ours.outputs), ours.outputs)
            with_ours = await reading.often(ours, TIMES[size])
    details: dict[str, object] = {
        "watched_scripts": SCRIPTS[size],
        "transactions_of_ours": len(ours.prevouts),
        "first_look_up_ms": _median(with_ours, lambda one: one.first_look_up),
        "nothing_of_ours_ms": _median(foreign, lambda one: one.milliseconds),
        "nothing_of_ours_cold_ms": round(foreign[0].milliseconds, 1),
    }
    counted = [one.milliseconds for one in with_ours[_WARM:]]
    spread = (min(counted), max(counted))
    value = percentile(counted, 0.5)
    return [Measurement("bitcoin_block_scan_ms", value, "ms", (Aim.AT_MOST, 80.0), spread, details)]


@dataclass(frozen=True, slots=True)
class _Took:
    """How long one reading took, in milliseconds."""

    milliseconds: float
    """Scan, and the look-up that counts."""
    first_look_up: float
    """The look-up before it, which only told what the node must be asked; 0 where there was none."""


def _median(readings: Sequence[_Took], figure: Callable[[_Took], float]) -> float:
    return round(percentile([figure(one) for one in readings[_WARM:]], 0.5), 1)


@dataclass(frozen=True, slots=True)
class _Ours:
    """What of the block is ours."""

    scripts: Sequence[bytes] = ()
    outputs: Mapping[bytes, Prevout] = field(default_factory=dict)
    """Outputs that the block spends, by outpoint."""
    prevouts: Prevouts = field(default_factory=dict)
    """What the node would say of the transactions that concern us."""


def _choose(block: UtxoBlock) -> _Ours:
    """Make some transactions ours, all over the block."""
    step = len(block.transactions) // (PAID + SPENDING)
    chosen = block.transactions[step // 2 :: step]
    paid, spending = chosen[:PAID], chosen[PAID : PAID + SPENDING]
    scripts = list(dict.fromkeys(transaction.scripts[0] for transaction in paid))
    outputs = {transaction.outpoints[0]: Prevout(scripts[0], _STRANGER.amount) for transaction in spending}
    prevouts = {
        transaction.hash: tuple(outputs.get(spent, _STRANGER) for spent in transaction.outpoints) for transaction in chosen
    }
    return _Ours(scripts, outputs, prevouts)


async def _start(database: Database, definition: ChainDefinition) -> None:
    """Put the cursor just below the block, with everything covered."""
    states = ChainStates(database)
    below = BlockRef(_HEIGHT - 1, bytes(32), bytes(32))
    await states.start(definition, definition.genesis_hash or bytes(32), KeptLedger((below,)), now())
    lease = await states.acquire(definition.name, "bench", timedelta(hours=2))
    if not isinstance(lease, Leased):
        message = "somebody else holds the chain of a fresh database"
        raise TypeError(message)
    await states.cover(definition, lease.fence, CoverageChange((), ()), now())


class _Reading:
    """Reads one block as the follower and the tracker do, up to where the tracker begins to write."""

    def __init__(self, database: Database, definition: ChainDefinition, raw: bytes) -> None:
        self._store = LedgerStore(database, publish)
        self._definition = definition
        self._matcher = UtxoMatcher(Maturities(definition.coinbase_maturity or 0, definition.pegout_maturity or 0))
        self._assets = {COIN: AssetFacts(definition.native.symbol, definition.native.decimals)}
        self._raw = raw

    async def often(self, ours: _Ours, times: int) -> list[_Took]:
        """Read it so many times."""
        return [await self._once(ours) for _ in range(_WARM + times)]

    async def _once(self, ours: _Ours) -> _Took:
        began = time.perf_counter()
        block = scan_block(self._raw, _HEIGHT)
        scanned = time.perf_counter()
        found, first = await self._look_up(block), 0.0
        if isinstance(found, Lacking):
            first = time.perf_counter() - scanned
            transactions = with_prevouts(block.transactions, ours.prevouts)
            found = await self._look_up(replace(block, transactions=transactions))
        took = time.perf_counter() - began - first
        if isinstance(found, Lacking) or len(found.blocks[0].transactions) != len(ours.prevouts):
            message = f"not the {len(ours.prevouts)} transactions that should be ours were found"
            raise RuntimeError(message)
        return _Took(took * 1000, first * 1000)

    async def _look_up(self, block: UtxoBlock) -> Found | Lacking:
        async with self._store.begin(self._definition.name) as commit:
            standing = await commit.standing()
            return await self._matcher.look_up(commit, [block], standing.chain, self._assets, now())
