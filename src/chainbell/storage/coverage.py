"""What is covered: written with what it says, under the chain's exclusive lock, and read as ranges and gaps."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from chainbell.domain.chain import Capability, ChainDefinition
from chainbell.domain.coverage import Coverage, Step, coverage, fallen_back, scanned_again, switched
from chainbell.domain.following import CoverageChange
from chainbell.storage.database import Connection, Database, Record

_STEPS = "select * from coverage where chain = $1 order by capability, token, from_height"
_READ = """
select c.*, h.cursor_height from coverage c join chains h on h.name = c.chain
where c.chain = any($1::text[]) order by c.chain, c.capability, c.token, c.from_height
"""
_FORGET = "delete from coverage where chain = $1 and capability = $2 and token = $3"
_WRITE = """
insert into coverage (chain, capability, token, from_height, reason, changed_at) values ($1, $2, $3, $4, $5, $6)
"""

GROWING = """
select c.capability, c.token from coverage c
where c.chain = $1 and c.reason is null and c.capability <> 'mempool' and not exists (
    select from coverage later where later.chain = c.chain and later.capability = c.capability and later.token = c.token
        and later.from_height > c.from_height
)
"""
"""SQL: what the next block of chain ``$1`` is scanned for; a mempool is in no block."""

KEY = "case when g.token = '' then g.capability else 'token:' || encode(g.token, 'hex') end"
"""SQL: how `scans.covers` names what a row ``g`` of `GROWING` is about, as `subject_key`."""

_GROWING_KEYS = f"select {KEY} from ({GROWING}) g"  # noqa: S608 - constants of this module
# What is switched off, a scan that goes on does not look for any more.
_LOOK_FOR_NO_MORE = f"""
update scans set covers = array(select unnest(covers) intersect {_GROWING_KEYS})
where chain = $1 and finished_at is null and not covers <@ array({_GROWING_KEYS})
"""  # noqa: S608 - constants of this module
# Of what is off, nobody reads a new branch: a scan that read the old one cannot answer for it.
_CLAIM_NO_MORE = f"""
update scans set covers = array(select unnest(covers) intersect {_GROWING_KEYS})
where chain = $1 and through_height > $2 and not covers <@ array({_GROWING_KEYS})
"""  # noqa: S608 - constants of this module

Subject: TypeAlias = tuple[str, bytes]
"""A capability and a token's contract; empty for what is not a token's."""


@dataclass(frozen=True, slots=True)
class SubjectCoverage:
    """What is covered of a chain for one thing."""

    capability: str
    """``coin``, ``logs``, ``mempool``, or ``token`` for one listed token."""
    token: bytes | None
    """Contract of the token; None for what is not a token's."""
    cursor: int
    coverage: Coverage

    @property
    def key(self) -> str:
        """How `Scan.covers` names it."""
        return subject_key(self.capability, self.token or b"")


def subject_key(capability: str, token: bytes) -> str:
    """Return how `Scan.covers` names a capability or a token."""
    return f"token:{token.hex()}" if token else capability


async def coverage_of(database: Database, chains: Collection[str]) -> Mapping[str, Sequence[SubjectCoverage]]:
    """Return what is known of each thing, by chain; of a chain that was never started there is nothing."""
    async with database.connection() as connection:
        rows = await connection.fetch(_READ, list(chains))
    cursors = {row["chain"]: row["cursor_height"] for row in rows}
    steps: dict[tuple[str, str, bytes], list[Step]] = defaultdict(list)
    for row in rows:
        steps[row["chain"], row["capability"], row["token"]].append(_to_step(row))
    found: dict[str, list[SubjectCoverage]] = defaultdict(list)
    for (chain, capability, token), of_subject in steps.items():
        known = coverage(of_subject, cursors[chain])
        found[chain].append(SubjectCoverage(capability, token or None, cursors[chain], known))
    return found


async def switch(
    connection: Connection, definition: ChainDefinition, change: CoverageChange, cursor: int, now: datetime
) -> None:
    """Switch on and off what the chain is scanned for from the block behind the cursor on."""
    wanted = {(capability.value, b"") for capability in definition.capabilities}
    if Capability.LOGS in definition.capabilities:
        wanted |= {("token", contract) for contract in change.tokens}
    reasons = {("token", contract): reason for contract, reason in change.switched_off}
    steps = await _steps(connection, definition.name)
    growing = {subject for subject, of_subject in steps.items() if of_subject[-1].covered}
    for subject in sorted(growing - wanted):
        reason = reasons.get(subject, "not in the chain's definition any more")
        await _write(connection, definition.name, subject, switched(steps[subject], Step(cursor + 1, reason, now)))
    for subject in sorted(wanted - growing):
        await _write(connection, definition.name, subject, switched(steps.get(subject, ()), Step(cursor + 1, None, now)))
    for subject in sorted(reasons.keys() - wanted - steps.keys()):
        await _write(connection, definition.name, subject, (Step(cursor + 1, reasons[subject], now),))
    if growing - wanted:
        await connection.execute(_LOOK_FOR_NO_MORE, definition.name)


async def fall_back(connection: Connection, chain: str, ancestor: int) -> None:
    """Take back what was covered above an ancestor; what still grows covers the new branch from there on."""
    for subject, steps in (await _steps(connection, chain)).items():
        kept = fallen_back(steps, ancestor)
        if kept != tuple(steps):
            await _write(connection, chain, subject, kept)
    await connection.execute(_CLAIM_NO_MORE, chain, ancestor)


async def cover_again(  # noqa: PLR0913 - which scan has read what, and when
    connection: Connection, chain: str, covers: Collection[str], lowest: int, highest: int, now: datetime
) -> None:
    """Add what a scan of all addresses has read, for everything that it looked for from its first block to its last."""
    cursor = await connection.fetchval("select cursor_height from chains where name = $1", chain)
    for subject, steps in (await _steps(connection, chain)).items():
        if subject_key(*subject) in covers:
            after = scanned_again(steps, lowest, min(highest, cursor), now)
            await _write(connection, chain, subject, after)


async def _steps(connection: Connection, chain: str) -> dict[Subject, list[Step]]:
    found: dict[Subject, list[Step]] = defaultdict(list)
    for row in await connection.fetch(_STEPS, chain):
        found[row["capability"], row["token"]].append(_to_step(row))
    return dict(found)


async def _write(connection: Connection, chain: str, subject: Subject, steps: Sequence[Step]) -> None:
    await connection.execute(_FORGET, chain, *subject)
    await connection.executemany(
        _WRITE, [(chain, *subject, step.from_height, step.reason, step.changed_at) for step in steps]
    )


def _to_step(row: Record) -> Step:
    return Step(row["from_height"], row["reason"], row["changed_at"])
