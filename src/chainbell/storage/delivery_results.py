"""Writes what came of attempts: many in one transaction, each decided in turn under the locks of their lanes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chainbell.delivery.outcome import Attempt, Circumstances, Decision, Outcome, Standing, classify, decide
from chainbell.delivery.port import Recorded, Result
from chainbell.storage.database import Connection, Record
from chainbell.storage.endpoints import disable_endpoint
from chainbell.storage.locks import lock_feed, lock_lanes

_OWNED = """
select d.id, d.fence, d.endpoint_id, d.resource_id, d.attempts, d.blocking, d.alone, d.attempted_at, d.requeued,
    p.failing_since
from unnest($1::bigint[], $2::bigint[]) as mine (id, fence) join deliveries d using (id)
join endpoints p on p.id = d.endpoint_id
where d.fence = mine.fence and d.status = 'pending'
order by d.id for update of d
"""

_RECORD = """
with told as materialized (
    select * from unnest($2::bigint[], $3::text[], $4::boolean[], $5::integer[], $6::integer[], $7::timestamptz[],
        $8::boolean[], $9::timestamptz[], $10::integer[], $11::text[], $12::integer[], $13::text[], $14::bytea[])
    with ordinality as told (id, status, blocking, attempts, alone, next_attempt_at,
        outage, started_at, duration_ms, outcome, status_code, error, response, n)
), attempt as (
    insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome, status_code, error, response)
    select id, account_id, told.started_at, duration_ms, outcome, status_code, error, response
    from told join deliveries using (id) order by n
)
update deliveries d set status = told.status, blocking = told.blocking, waiting = false, attempts = told.attempts,
    alone = told.alone, attempted_at = $1::timestamptz, next_attempt_at = coalesce(told.next_attempt_at, d.next_attempt_at),
    outage = told.outage, exhausted_at = case told.status when 'exhausted' then $1::timestamptz end, lease_until = null,
    updated_at = $1
from told where d.id = told.id
"""

# Only while it is as we found it: another worker may have noted the same. Rows in key order: no two wait for each other.
_HEALTH = """
with noted as (
    select e.id, told.since from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as told (id, found, since)
    join endpoints e using (id) where e.failing_since is not distinct from told.found order by e.id
    for no key update of e
)
update endpoints e set failing_since = noted.since from noted where e.id = noted.id
"""

# All that wait in a lane, up to and with the first that holds up the rest.
_SET_FREE = """
update deliveries d set waiting = false
from unnest($1::uuid[], $2::text[]) as lane (endpoint_id, resource_id)
where d.endpoint_id = lane.endpoint_id and d.resource_id = lane.resource_id and d.status = 'pending' and d.waiting
    and d.event_position <= coalesce((
        select min(b.event_position) from deliveries b
        where b.endpoint_id = lane.endpoint_id and b.resource_id = lane.resource_id and b.status = 'pending' and b.blocking
    ), 9223372036854775807)
"""


@dataclass(frozen=True, slots=True)
class _Told:
    """A result that counts, and what follows from it."""

    row: Record
    attempt: Attempt
    decision: Decision
    recovered: bool


async def record_results(
    connection: Connection, results: Sequence[Result], schedule: Sequence[timedelta], now: datetime
) -> list[Recorded | None]:
    """Write attempts and what follows from each, in an open transaction; None where the fence is not in force any more."""
    if any(classify(result.attempt) is Outcome.GONE for result in results):
        await lock_feed(connection)
    await lock_lanes(connection, {(result.claim.endpoint_id, result.claim.resource_id) for result in results})
    claims = [result.claim for result in results]
    rows = await connection.fetch(_OWNED, [claim.delivery_id for claim in claims], [claim.fence for claim in claims])
    told = _decide_each(results, {(row["id"], row["fence"]): row for row in rows}, schedule, now)
    if told:
        await _write(connection, told.values(), now)
    return [_recorded(told.get(number)) for number in range(len(results))]


def _decide_each(
    results: Sequence[Result], owned: Mapping[tuple[int, int], Record], schedule: Sequence[timedelta], now: datetime
) -> dict[int, _Told]:
    """Decide in the order given: what one result says of its endpoint's health counts for the next."""
    failing = {row["endpoint_id"]: row["failing_since"] for row in owned.values()}
    told: dict[int, _Told] = {}
    for number, result in enumerate(results):
        row = owned.get((result.claim.delivery_id, result.claim.fence))
        if row is None:
            continue
        before = failing[row["endpoint_id"]]
        decision = decide(_to_standing(row), result.attempt, Circumstances(now, result.jitter, schedule, before))
        failing[row["endpoint_id"]] = decision.failing_since
        recovered = before is not None and decision.failing_since is None
        told[number] = _Told(row, result.attempt, decision, recovered)
    return told


async def _write(connection: Connection, told: Iterable[_Told], now: datetime) -> None:
    health: dict[UUID, tuple[datetime | None, datetime | None]] = {}
    free: set[tuple[UUID, str]] = set()
    gone: set[str] = set()
    for one in told:
        endpoint_id = one.row["endpoint_id"]
        health[endpoint_id] = (one.row["failing_since"], one.decision.failing_since)
        if not one.decision.blocking:
            free.add((endpoint_id, one.row["resource_id"]))
        if one.decision.disable:
            gone.add(str(endpoint_id))
    changed = [(endpoint_id, found, since) for endpoint_id, (found, since) in sorted(health.items()) if found != since]
    if changed:
        await connection.execute(_HEALTH, *_columns(changed))
    for gone_id in sorted(gone):
        await disable_endpoint(connection, gone_id, "it answered 410 Gone: it wants no more webhooks", now)
    await connection.execute(_RECORD, now, *_columns([_to_row(one) for one in told]))
    if free:
        await connection.execute(_SET_FREE, *_columns(sorted(free)))


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Turn rows into the arrays that `unnest` makes rows of again."""
    return [list(column) for column in zip(*rows, strict=True)]


def _to_row(told: _Told) -> tuple[object, ...]:
    attempt, decision = told.attempt, told.decision
    return (
        told.row["id"],
        decision.status.value,
        decision.blocking,
        decision.attempts,
        decision.alone,
        decision.next_attempt_at,
        decision.outage,
        attempt.started_at,
        round(attempt.duration / timedelta(milliseconds=1)),
        classify(attempt).value,
        attempt.status,
        attempt.failure and f"{attempt.failure.value}: {attempt.detail}",
        attempt.response,
    )


def _to_standing(row: Record) -> Standing:
    return Standing(
        attempts=row["attempts"],
        blocking=row["blocking"],
        alone=row["alone"],
        attempted_at=row["attempted_at"],
        requeued=row["requeued"],
    )


def _recorded(told: _Told | None) -> Recorded | None:
    return None if told is None else Recorded(told.decision, told.recovered)
