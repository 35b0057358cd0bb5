"""From a mempool or a block that a bitcoind has to the webhook that its deposit rings: the whole product, on its own.

Both clocks start before the node is asked, to take a payment or to mine, so that the node's own work is counted too, and
stop when the last byte of the first webhook that says so has come.
"""

import asyncio
import random
import time
from collections.abc import Sequence

from bench.database import fresh_database
from bench.measurement import Aim, Measurement, Size, percentile
from bench.receiver import receiver_here
from bench.scripts import script_of, watch_scripts
from bench.sending import LOOPBACK
from bench.service import KEY, Heard, chainbell, followed
from chainbell.config.chains import load_chains
from chainbell.domain.chain import Mode
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from tests.bitcoin import Bitcoind

CHAIN = "bitcoin-regtest"
PAYMENTS = {Size.SMOKE: 8, Size.SHORT: 75, Size.LONG: 1000}
"""Each is seen twice: in the mempool, then in a block."""
HINTED_POLL_SECONDS = 30.0
"""So seldom that a hint has to do it for a block; a mempool is looked at twice a second at least."""
WATCHED = 10_000
_CUSTOMERS = 10
_WARM = 5
"""Payments before the first that counts."""
_FEE = 10_000


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``bitcoin_latency_poll_ms_*`` and ``bitcoin_latency_zmq_ms_*``."""
    measured: list[Measurement] = []
    for name, hinted, aim in (("poll", False, 500.0), ("zmq", True, 150.0)):
        seen, mined = await _payments(PAYMENTS[size], hinted=hinted)
        both = seen + mined
        spread = (min(both), max(both))
        details: dict[str, object] = {"payments": len(seen)}
        for what, milliseconds in (("mempool", seen), ("block", mined)):
            details |= {f"{what}_ms_p{share}": round(percentile(milliseconds, share / 100), 1) for share in (50, 99)}
        measured += [
            Measurement(f"bitcoin_latency_{name}_ms_p50", percentile(both, 0.5), "ms", spread=spread, details=details),
            Measurement(f"bitcoin_latency_{name}_ms_p99", percentile(both, 0.99), "ms", (Aim.AT_MOST, aim), spread, details),
        ]
    return measured


async def _payments(count: int, *, hinted: bool) -> tuple[list[float], list[float]]:
    """Let payments come at random moments, one block each; return how long mempool and block took to ring, in ms."""
    chance = random.Random(1)  # noqa: S311 - when a payment comes is no secret
    definition = load_chains()[CHAIN]
    changes = {"poll_seconds": HINTED_POLL_SECONDS} if hinted else {}
    pause = definition.poll_seconds
    heard = Heard()
    topics = ("hashblock", "rawtx", "sequence") if hinted else ()
    async with Bitcoind(zmq=topics) as node, receiver_here(heard.take) as url, fresh_database() as own:
        await node.fund(_WARM + count)
        payments = await _signed(node, _WARM + count)
        store = EndpointStore(own.database, SecretBox(KEY), LOOPBACK)
        await store.create(NewEndpoint(f"{url}/hook", Mode.TEST), now())
        async with chainbell(own, CHAIN, f"{node.url}?zmq={node.zmq_url}" if hinted else node.url, changes):
            await followed(own)
            await watch_scripts(own.database, definition, WATCHED, [script_of(number) for number in range(_CUSTOMERS)])
            seen, mined = [], []
            for payment in payments:
                await asyncio.sleep(chance.uniform(0.02, 0.02 + pause))
                began = time.perf_counter()
                txid = await node.send_raw(payment)
                seen.append((await heard.of(txid) - began) * 1000)
                await asyncio.sleep(chance.uniform(0.02, 0.02 + pause))
                began = time.perf_counter()
                await node.mine()
                mined.append((await heard.of(txid, in_block=True) - began) * 1000)
    return seen[_WARM:], mined[_WARM:]


async def _signed(node: Bitcoind, count: int) -> list[str]:
    """Sign payments to customers beforehand, each of a coin of its own."""
    coins = (await node.coins())[:count]
    return [
        await node.raw_transaction(
            [(coin.txid, coin.vout)], [(script_of(number % _CUSTOMERS), coin.amount - _FEE)], send=False
        )
        for number, coin in enumerate(coins)
    ]
