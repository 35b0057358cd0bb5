"""What a million watched scripts cost the watcher in memory, against a thousand, on a chain of a real bitcoind."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from bench.database import BenchDatabase, fresh_database
from bench.measurement import Aim, Measurement, Size, in_pairs
from bench.scripts import script_of, watch_scripts
from bench.service import chainbell, followed
from bench.watching import forget_the_chain
from chainbell.config.chains import load_chains
from tests.bitcoin import Bitcoind

CHAIN = "bitcoin-regtest"
BLOCKS = {Size.SMOKE: 8, Size.SHORT: 100, Size.LONG: 500}
"""With payments; the node has some more, so that its coins are mature."""
OUTPUTS, WATCHED_IN_A_BLOCK = 200, 2
FEW = 1_000
MANY = {Size.SMOKE: 10_000, Size.SHORT: 1_000_000, Size.LONG: 5_000_000}
PAIRS = {Size.SMOKE: 1, Size.SHORT: 3, Size.LONG: 5}
_AMOUNT, _FEE = 10_000, 100_000


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``utxo_memory_growth``."""
    definition = load_chains()[CHAIN]
    recipients = [script_of(number) for number in range(min(WATCHED_IN_A_BLOCK * BLOCKS[size], FEW))]
    async with Bitcoind() as node, fresh_database() as small, fresh_database() as large:
        await _fill(node, BLOCKS[size])
        await watch_scripts(small.database, definition, FEW, recipients)
        await watch_scripts(large.database, definition, MANY[size], recipients)

        async def with_few() -> float:
            return await _resident_mb(node, small, BLOCKS[size])

        async def with_many() -> float:
            return await _resident_mb(node, large, BLOCKS[size])

        memory = await in_pairs(with_many, with_few, PAIRS[size])
    return [memory.measurement("utxo_memory_growth", (Aim.AT_MOST, 1.2))]


async def _fill(node: Bitcoind, blocks: int) -> None:
    """Mine blocks with one payment each to many scripts, a few of them watched."""
    await node.fund(blocks)
    for block, coin in enumerate((await node.coins())[:blocks]):
        first = block * WATCHED_IN_A_BLOCK
        scripts = [script_of(first + place) for place in range(WATCHED_IN_A_BLOCK)]
        scripts += [_stranger(block, place) for place in range(OUTPUTS - WATCHED_IN_A_BLOCK)]
        rest = coin.amount - OUTPUTS * _AMOUNT - _FEE
        paid = [(script, _AMOUNT) for script in scripts]
        await node.raw_transaction([(coin.txid, coin.vout)], [*paid, (_stranger(block, OUTPUTS), rest)])
        await node.mine()


def _stranger(block: int, place: int) -> bytes:
    return b"\x00\x14" + sha256(b"stranger %d %d" % (block, place)).digest()[:20]


async def _resident_mb(node: Bitcoind, own: BenchDatabase, blocks: int) -> float:
    """Follow the chain from its first block to its tip in a fresh watcher, and look at its memory then."""
    await forget_the_chain(own.database)
    async with chainbell(own, CHAIN, node.url, {"start_height": 1}, "--role", "watcher") as pid:
        await followed(own, await node.height())
        resident = _resident(pid)
    async with own.database.connection() as connection:
        told = await connection.fetchval("select count(*) from transactions")
    if told != WATCHED_IN_A_BLOCK * blocks:
        message = f"{told} deposits were found, not {WATCHED_IN_A_BLOCK} in each of {blocks} blocks"
        raise RuntimeError(message)
    return resident


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(resident) / 1024
