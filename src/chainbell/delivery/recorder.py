"""Writes results in batches, beside the POSTs: one transaction for all that came while the last one was written."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from chainbell.delivery.outcome import Attempt, classify
from chainbell.delivery.port import Claim, DeliveryStore, Recorded, Result
from chainbell.domain.errors import DatabaseError
from chainbell.telemetry import clock, metrics
from chainbell.telemetry.checkpoints import Checkpoint, reached

_log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds before a result that could not be written is tried again."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How results are put together."""

    most: int = 100
    """Results in one transaction."""
    at_once: int = 2
    """Transactions at a time, so that deliveries leave database connections to everybody else."""
    breath: timedelta = timedelta(milliseconds=5)
    """Least time between two of them: the first result is written at once, those that come meanwhile go together."""


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    result: Result
    lease_ends: float


class Recorder:
    """Keeps results until they are written, or given up because their lease ends; then they are sent once more.

    `told` is called after each batch that was written, with whether an endpoint's outage ended. One result that cannot be
    written holds up no other: a batch that fails is tried again in halves, down to each alone.
    """

    def __init__(
        self, store: DeliveryStore, batching: Batching, *, jitter: Callable[[], float], told: Callable[[bool], None]
    ) -> None:
        self._store = store
        self._batching = batching
        self._jitter = jitter
        self._told = told
        self._waiting: list[_Unrecorded] = []
        self._collecting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(batching.at_once)
        self.unrecorded = 0
        """Results that are not written yet."""

    def add(self, claim: Claim, attempt: Attempt, lease_ends: float) -> None:
        """Take a result; `lease_ends` is by the event loop's clock."""
        self._waiting.append(_Unrecorded(Result(claim, attempt, self._jitter()), lease_ends))
        self.unrecorded += 1
        if not self._collecting:
            self._collecting = True
            self._start(self._collect())

    async def finish(self) -> None:
        """Wait until everything is written or given up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Give up what is not written."""
        for task in self._tasks:
            task.cancel()
        await self.finish()

    async def _collect(self) -> None:
        while self._waiting:
            await self._slots.acquire()
            most = self._batching.most
            batch, self._waiting = self._waiting[:most], self._waiting[most:]
            self._start(self._write(batch, _FIRST_PAUSE))
            await asyncio.sleep(self._batching.breath.total_seconds())
        self._collecting = False

    async def _write(self, batch: Sequence[_Unrecorded], pause: float) -> None:
        """Try to write a batch in the slot that we have; `pause` is how long to wait where that fails."""
        try:
            writing = self._store.record([one.result for one in batch], clock.now())
            (outcome,) = await asyncio.gather(writing, return_exceptions=True)
        finally:
            self._slots.release()
        if isinstance(outcome, BaseException):
            self._failed(batch, outcome, pause)
            return
        self.unrecorded -= len(batch)
        for one, recorded in zip(batch, outcome, strict=True):
            reached(Checkpoint.DELIVERY_RECORDED)
            _tell(one.result, recorded)
        self._told(any(recorded is not None and recorded.recovered for recorded in outcome))

    def _failed(self, batch: Sequence[_Unrecorded], error: BaseException, pause: float) -> None:
        soon = _monotonic() + pause
        hopeless = len(batch) == 1 and not isinstance(error, DatabaseError)
        kept = [one for one in batch if one.lease_ends >= soon and not hopeless]
        for one in batch:
            if one not in kept:
                self._give_up(one, error)
        middle = (len(kept) + 1) // 2
        for half in (kept[:middle], kept[middle:]):
            if half:
                self._start(self._write_again(half, pause))
        self._told(False)  # noqa: FBT003 - nothing recovered

    async def _write_again(self, batch: Sequence[_Unrecorded], pause: float) -> None:
        await asyncio.sleep(pause)
        await self._slots.acquire()
        await self._write(batch, min(pause * 2, _LONGEST_PAUSE))

    def _give_up(self, one: _Unrecorded, error: BaseException) -> None:
        self.unrecorded -= 1
        metrics.RESULTS_LOST.inc()
        expected = isinstance(error, DatabaseError)
        _log.error(
            "delivery_result_lost",
            **names_of(one.result.claim),
            reason=str(error),
            effect="it will be sent once more",
            exc_info=None if expected else error,
        )

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("recording_crashed", exc_info=error)


def names_of(claim: Claim) -> dict[str, object]:
    """Return what a log line about a claim is found by."""
    return {
        "delivery_id": claim.delivery_id,
        "event_id": claim.event_id,
        "uid": claim.resource_id,
        "endpoint_id": claim.endpoint_id,
    }


def _tell(result: Result, recorded: Recorded | None) -> None:
    claim, attempt = result.claim, result.attempt
    if recorded is None:
        _log.warning("delivery_result_thrown_away", **names_of(claim), reason="somebody else owns it by now")
        return
    decision = recorded.decision
    outcome = classify(attempt).value
    metrics.ATTEMPTS.labels(outcome).inc()
    metrics.POST_SECONDS.observe(attempt.duration.total_seconds())
    _log.info(
        "delivery_attempted",
        **names_of(claim),
        outcome=outcome,
        status_code=attempt.status,
        failure=attempt.failure,
        duration_ms=round(attempt.duration / timedelta(milliseconds=1)),
        delivery_status=decision.status.value,
        next_attempt_at=decision.next_attempt_at and decision.next_attempt_at.isoformat(),
    )
    if decision.disable:
        _log.error("endpoint_disabled", endpoint_id=claim.endpoint_id, reason="it answered 410 Gone")


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
