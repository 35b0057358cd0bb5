"""The delivery loop: claim, sign, POST, record. No transaction is open while a POST runs."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from chainbell.delivery.outcome import Attempt, Failure, Outcome
from chainbell.delivery.port import Claim, Claimed, DeliveryStore, Room, Sender
from chainbell.delivery.recorder import Batching, Recorder, names_of
from chainbell.delivery.signature import sign
from chainbell.domain.errors import DatabaseError
from chainbell.telemetry import clock, metrics
from chainbell.telemetry.checkpoints import Checkpoint, reached

_log = structlog.get_logger()

_NOT_SIGNED = (
    "the endpoint's signing secret cannot be opened, so nothing was sent: restore its row in endpoint_secrets from a "
    "backup, or register the endpoint anew; then replay what was exhausted"
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a worker does at a time, and how long it waits."""

    concurrency: int = 50
    """POSTs in flight."""
    ahead: int = 50
    """Deliveries claimed beyond those, so that a place that becomes free is filled without a look at the database."""
    per_endpoint: int = 8
    """POSTs in flight at one endpoint, and claimed for it."""
    unrecorded: int = 200
    """Results that are not written yet: with so many, nothing more is claimed."""
    lease_margin: timedelta = timedelta(seconds=10)
    """How much longer a lease is than the longest POST. Half of it may pass between claim and POST."""
    poll: timedelta = timedelta(seconds=5)
    """Longest wait for a wake-up that never comes, and for the lease of a worker that died."""
    breath: timedelta = timedelta(milliseconds=5)
    """Least time between two looks for work: what is freed meanwhile is filled by one query."""
    housekeeping: timedelta = timedelta(minutes=1)


class DeliveryWorker:
    """Sends what is due until it is cancelled; then it claims no more, lets running POSTs end, and records them.

    `wake` is set by whoever knows that there is work, such as a LISTEN. `jitter` returns a random fraction, 0 up to 1.
    """

    def __init__(
        self,
        store: DeliveryStore,
        sender: Sender,
        *,
        wake: asyncio.Event,
        jitter: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._wake = wake
        self._pace = pace or Pace()
        self._lease = sender.timeout + self._pace.lease_margin
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._claiming: asyncio.Task[Claimed] | None = None
        self._places = asyncio.Semaphore(self._pace.concurrency)
        self._stopping = False
        batching = Batching(breath=self._pace.breath)
        self._recorder = Recorder(store, batching, jitter=jitter, told=self._told)
        metrics.begin_deliveries(Outcome)
        self._next_look = 0.0
        self._next_housekeeping = 0.0

    async def run(self) -> None:
        """Work until cancelled, then drain. A second cancellation ends the drain."""
        try:
            while True:
                self._wake.clear()
                await self._breathe()
                room = self._room()
                if room.total <= 0:
                    await self._wake.wait()
                elif not await self._look_for_work(room):
                    await self._rest()
        finally:
            await self._drain()

    async def _look_for_work(self, room: Room) -> bool:
        """Start what is due and fits; return whether to look again at once."""
        try:
            requeued = await self._keep_house()
            found, lease_ends = await self._claim(room)
        except DatabaseError as error:
            _log.warning("deliveries_wait_for_database", reason=str(error))
            return False
        for claim in found.claims:
            self._start(claim, lease_ends)
        return found.more or requeued

    async def _claim(self, room: Room) -> tuple[Claimed, float]:
        lease_ends = _monotonic() + self._lease.total_seconds()  # counted from before the database counts: never longer
        self._claiming = asyncio.create_task(self._store.claim(room, self._lease, clock.now()))
        found = await asyncio.shield(self._claiming)
        self._claiming = None
        return found, lease_ends

    def _room(self) -> Room:
        concurrency = self._pace.concurrency
        return Room(
            total=min(
                concurrency + self._pace.ahead - len(self._running), self._pace.unrecorded - self._recorder.unrecorded
            ),
            per_endpoint=min(self._pace.per_endpoint, concurrency),
            failing=max(1, concurrency // 2),
            busy=Counter(claim.endpoint_id for claim in self._running.values()),
        )

    def _start(self, claim: Claim, lease_ends: float) -> None:
        if claim.rescued:
            metrics.RESCUES.inc()
            _log.warning("delivery_rescued", **names_of(claim))
        task = asyncio.create_task(self._deliver(claim, lease_ends), name=f"delivery {claim.delivery_id}")
        self._running[task] = claim
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        claim = self._running.pop(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery_crashed", **names_of(claim), exc_info=error)

    async def _deliver(self, claim: Claim, lease_ends: float) -> None:
        reached(Checkpoint.DELIVERY_CLAIMED)
        async with self._places:
            if not self._may_still_send(claim, lease_ends):
                await self._give_back([claim])
                return
            attempt = await self._post(claim)
        reached(Checkpoint.DELIVERY_POSTED)
        self._recorder.add(claim, attempt, lease_ends)

    def _may_still_send(self, claim: Claim, lease_ends: float) -> bool:
        """Tell whether a claim that waited for its place is still sent; a POST must end within its lease."""
        latest_start = lease_ends - (self._sender.timeout + self._pace.lease_margin / 2).total_seconds()
        if _monotonic() > latest_start:
            _log.warning("delivery_given_back", **names_of(claim), reason="its lease was nearly over before it was sent")
            return False
        return not self._stopping

    async def _post(self, claim: Claim) -> Attempt:
        if not claim.secrets:
            return Attempt(clock.now(), timedelta(), failure=Failure.NOT_SIGNED, detail=_NOT_SIGNED)
        headers = sign(claim.secrets, claim.event_id, clock.now(), claim.body, claim.version)
        return await self._sender.post(claim.url, headers, claim.body)

    def _told(self, recovered: bool) -> None:  # noqa: FBT001 - called back with nothing else
        """Look again after results were written: they may have set free what waited."""
        if recovered:
            self._next_housekeeping = 0.0
        self._wake.set()

    async def _keep_house(self) -> bool:
        """Queue once more what an outage exhausted, seldom, and at once when one ended; tell whether there may be more."""
        if _monotonic() < self._next_housekeeping:
            return False
        requeued = await self._store.requeue_after_outage(clock.now())
        if requeued:
            _log.info("deliveries_requeued_after_outage", count=requeued)
            return True
        self._next_housekeeping = _monotonic() + self._pace.housekeeping.total_seconds()
        return False

    async def _breathe(self) -> None:
        delay = self._next_look - _monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        self._next_look = _monotonic() + self._pace.breath.total_seconds()

    async def _rest(self) -> None:
        """Wait for a wake-up, for the next delivery to become due, or for the next poll, whichever is first."""
        now = clock.now()
        wait = self._pace.poll
        try:
            due = await self._store.next_due(now)
        except DatabaseError:
            due = None
        if due is not None:
            wait = min(wait, _until(due, now))
        try:
            async with asyncio.timeout(wait.total_seconds()):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _drain(self) -> None:
        """End in order: give back what was claimed and not started, let POSTs end, and record them."""
        self._stopping = True
        if self._claiming is not None:
            await self._return_unstarted(self._claiming)
        if self._running or self._recorder.unrecorded:
            _log.info("deliveries_draining", running=len(self._running), unrecorded=self._recorder.unrecorded)
        try:
            async with asyncio.timeout(self._lease.total_seconds()):
                if self._running:
                    await asyncio.wait(list(self._running))
                await self._recorder.finish()
        except TimeoutError:
            late = list(self._running)
            _log.warning(
                "deliveries_not_drained",
                count=len(late) + self._recorder.unrecorded,
                effect="they will be sent once more",
            )
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await self._recorder.stop()

    async def _return_unstarted(self, claiming: asyncio.Task[Claimed]) -> None:
        await asyncio.wait([claiming])
        if not claiming.cancelled() and claiming.exception() is None:
            await self._give_back(claiming.result().claims)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        try:
            await self._store.give_back(claims)
        except DatabaseError as error:
            _log.warning("deliveries_not_given_back", count=len(claims), reason=str(error), effect="their leases will end")


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _until(moment: datetime, now: datetime) -> timedelta:
    return max(moment - now, timedelta(milliseconds=1))
