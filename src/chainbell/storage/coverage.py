"""What is covered: the heights of each chain in which a capability, or a token, was scanned."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chainbell.storage.database import Database, Record

_RANGES = "select * from coverage where chain = any($1::text[]) order by chain, capability, token, from_height, id"


@dataclass(frozen=True, slots=True)
class CoverageRange:
    """Heights that were scanned for one thing, without a hole."""

    chain: str
    capability: str
    """``coin``, ``logs``, or ``token`` for one listed token."""
    token: bytes | None
    """Contract of the token; None for what is not a token's."""
    from_height: int
    through_height: int
    """Last height scanned; below ``from_height``: none yet."""
    ended_at: datetime | None
    """When it was switched off; None while it grows with the cursor."""
    ended_reason: str | None


async def coverage_of(database: Database, chains: Collection[str]) -> Mapping[str, Sequence[CoverageRange]]:
    """Return every range of these chains, by chain; a chain that was never started has none."""
    async with database.connection() as connection:
        rows = await connection.fetch(_RANGES, list(chains))
    ranges: dict[str, list[CoverageRange]] = defaultdict(list)
    for row in rows:
        ranges[row["chain"]].append(_to_range(row))
    return ranges


def _to_range(row: Record) -> CoverageRange:
    return CoverageRange(
        chain=row["chain"],
        capability=row["capability"],
        token=row["token"] or None,
        from_height=row["from_height"],
        through_height=row["through_height"],
        ended_at=row["ended_at"],
        ended_reason=row["ended_reason"],
    )
