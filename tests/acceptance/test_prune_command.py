"""`chainbell prune` as an operator types it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from chainbell.storage.database import Database
from tests.builders_delivery import make_endpoint, make_event
from tests.command import SECRET_KEY, chainbell

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


async def test_it_says_what_goes_and_what_holds_it_back(database_url: str, tmp_path: Path) -> None:
    """It asks before it deletes, names who waits, and ends with another code where something older stays."""
    async with Database.open(database_url) as database:
        endpoint, _ = await make_endpoint(database)
        for number in range(3):
            await make_event(database, at=LONG_AGO + timedelta(days=number))
        await make_event(database, at=LONG_AGO + timedelta(days=5), endpoints=[endpoint])
        await make_event(database, at=datetime.now(UTC))

        def prune(*words: str) -> tuple[int, str, str]:
            ended = chainbell("prune", *words, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
            return ended.code, ended.out, ended.err

        async def positions() -> list[int]:
            async with database.connection() as connection:
                return [row["position"] for row in await connection.fetch("select position from events order by position")]

        code, _, told = prune("--before", "2999-01-01")
        assert (code, "must lie in the past" in told) == (1, True)
        for wrong in ("yesterday", "2025-06-01T00:00:00", "2025-13-01"):
            code, shown, told = prune("--before", wrong)
            assert (code, shown) == (1, ""), wrong
            assert "--before: a time is wanted as in 2026-11-22T10:00:00Z" in told
        code, _, told = prune("--before", "2025-06-01T00:00:00.000000Z")
        assert (code, "3 events before 2025-06-01T00:00:00.000000Z can go" in told) == (1, True)
        code, _, told = prune("--before", "2025-06-01")
        assert (code, "--yes" in told, "3 events" in told) == (1, True, True)
        assert await positions() == [1, 2, 3, 4, 5]
        code, shown, told = prune("--before", "2025-06-01", "--yes")
        assert code == 3, told
        assert endpoint in shown
        assert "deleted: 3 events" in shown
        assert await positions() == [4, 5]
        async with database.connection() as connection:
            await connection.execute("update deliveries set status = 'succeeded'")
        code, shown, _ = prune("--before", "2025-06-01T00:00:00+02:00", "--yes")
        assert (code, "deleted: 1 events, 1 deliveries" in shown) == (0, True)
        assert await positions() == [5]
