"""How many webhooks are delivered, with claim, fence, order and bookkeeping, against a client that only signs and sends."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench.database import BenchDatabase, fresh_database
from bench.measurement import Aim, Measurement, Size, in_pairs
from bench.receiver import receiver_process
from bench.sending import BOX, LOOPBACK, Task, sending_process
from chainbell.domain.chain import Mode
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.telemetry.clock import now

ENDPOINTS = 10
EVENTS = {Size.SMOKE: 100, Size.SHORT: 1500, Size.LONG: 6000}
WORKERS = (1, 2, 4)
_LOOK_SECONDS = 0.05

# Four events for each transaction, a hundred events apart, each with a body as long as a deposit's; to every endpoint.
_BACKLOG = """
with event as (
    insert into events (position, id, type, resource_id, sequence, occasion, mode, chain, account_id, generation, created_at,
                        body_v2)
    select n, 'evt_' || md5(n::text), 'transaction.deposit.pending', 'trx_' || md5((n / 400 * 100 + n % 100)::text),
        n / 100 % 4 + 1, decode(md5(n::text), 'hex'), 'test', 'anvil', a.id, 0, $3,
        convert_to(rpad('{"id":"evt_' || md5(n::text) || '","data":"', 1100, 'x') || '"}', 'utf8')
    from generate_series($1::bigint, $1::bigint + $2::integer - 1) n, accounts a where a.mode = 'test' and a.is_default
    returning position, resource_id, account_id
)
insert into deliveries (endpoint_id, event_position, resource_id, account_id, status, next_attempt_at, created_at,
                        updated_at)
select p.id, v.position, v.resource_id, v.account_id, 'pending', $3, $3, $3
from event v cross join endpoints p order by v.position, p.id
"""
_PENDING = """
select exists (select from endpoints p
    where exists (select from deliveries d where d.endpoint_id = p.id and d.status = 'pending'))
"""
_UNDELIVERED = "select count(*) from deliveries where status <> 'succeeded'"


async def measure(size: Size) -> Sequence[Measurement]:
    """Measure ``delivery_vs_bare_client``, and ``deliveries_per_s`` of several workers."""
    async with _backlogged(EVENTS[size]) as backlog:
        transport: list[float] = []

        async def bare() -> float:
            transport.append(await backlog.sent_bare("transport"))
            return await backlog.sent_bare("bare")

        await backlog.delivered_by(1)  # the first run fills caches
        pairs = await in_pairs(lambda: backlog.delivered_by(1), bare)
        ratio = pairs.measurement("delivery_vs_bare_client", (Aim.AT_LEAST, 0.75))
        ratio.details["straight through the transport"] = [round(rate) for rate in transport]
        ratio.details["ratio to that"] = round(statistics.median(pairs.ours) / statistics.median(transport), 3)
        rates = [
            Measurement(f"deliveries_per_s ({workers} workers)", await backlog.delivered_by(workers), "per s")
            for workers in WORKERS
        ]
    return [ratio, *rates]


@asynccontextmanager
async def _backlogged(events: int) -> AsyncIterator["_Backlog"]:
    async with fresh_database() as own, receiver_process() as url:
        store = EndpointStore(own.database, BOX, LOOPBACK)
        secret = ""
        for number in range(ENDPOINTS):
            _, secret = await store.create(NewEndpoint(f"{url}/{number}", Mode.TEST), now())
        yield _Backlog(own, url, secret, events)


class _Backlog:
    """Deliveries that are due, each time new ones."""

    def __init__(self, own: BenchDatabase, url: str, secret: str, events: int) -> None:
        self._own = own
        self._url = url
        self._secret = secret
        self._events = events
        self._position = 0

    async def delivered_by(self, workers: int) -> float:
        """Queue a backlog and let so many worker processes deliver it; return deliveries per second."""
        await self._fill()
        async with AsyncExitStack() as stack:
            task = Task(self._own.dsn)
            started = [await stack.enter_async_context(sending_process("deliver", task)) for _ in range(workers)]
            began = time.perf_counter()
            for process in started:
                process.begin()
            while await self._ask(_PENDING):
                if any(process.ended for process in started):
                    message = "a delivery worker ended by itself"
                    raise RuntimeError(message)
                await asyncio.sleep(_LOOK_SECONDS)
            seconds = time.perf_counter() - began
        if left := await self._ask(_UNDELIVERED):
            message = f"{left} deliveries did not succeed"
            raise RuntimeError(message)
        return self._events * ENDPOINTS / seconds

    async def sent_bare(self, mode: str) -> float:
        """Sign and send the same bodies as often, without bookkeeping; return POSTs per second."""
        task = Task(self._own.dsn, f"{self._url}/bare", self._secret, self._position, ENDPOINTS)
        async with sending_process(mode, task) as process:
            process.begin()
            return float(await process.line())

    async def _fill(self) -> None:
        self._position += self._events
        async with self._own.database.connection() as connection:
            await connection.execute(_BACKLOG, self._position, self._events, now(), timeout=300)
            await connection.execute("vacuum analyze deliveries, events, attempts", timeout=300)
            await connection.execute("checkpoint")

    async def _ask(self, question: str) -> int:
        async with self._own.database.connection() as connection:
            answer: int = await connection.fetchval(question)
        return answer
