"""``chainbell replay`` and ``replays``, installed, on a real database."""

import asyncio
import os
import pty
import signal
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chainbell.cli.main import app
from chainbell.storage.locks import LANE_LOCKS, lock_lanes
from tests.api_client import ApiHouse, api_house
from tests.command import COMMAND, SECRET_KEY, chainbell, environment
from tests.receivers import receiving, until
from tests.running import running

pytestmark = pytest.mark.timeout(300)

EVERY_LANE = [(f"{number}", "") for number in range(LANE_LOCKS * 20)]
_WAITS = """
select exists (select from pg_locks l join pg_database b on b.oid = l.database
    where b.datname = current_database() and l.locktype = 'advisory' and not l.granted)
"""


async def _endpoint(house: ApiHouse, url: str = "https://example.com/hook") -> str:
    async with house.client(await house.key()) as client:
        return str((await client.post("/v2/endpoints", json={"url": url})).json()["id"])


async def _waiting(house: ApiHouse, url: str = "https://example.com/hook") -> str:
    """Tell something, and let an endpoint be registered that misses it."""
    for number in (1, 2, 3):
        await house.tell(number)
    return await _endpoint(house, url)


async def test_much_is_replayed_and_listed(database_url: str, tmp_path: Path) -> None:
    """Each form queues what its words say, tells on stderr how much, prints the job as JSON, and is listed afterwards."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house:
        endpoint = await _waiting(house)
        missing = run("replay", "--endpoint", endpoint, "--missing", "--since", "2020-01-01T00:00:00Z", "--json")
        assert missing.code == 0, missing.err
        (job,) = missing.lines
        assert (job["what"], job["total"], job["checked"], job["queued"]) == ("missing", 6, 6, 6)
        assert f"replay {job['id']}: 6 events to look at" in missing.err
        assert "6 deliveries are queued: `chainbell run` sends them" in missing.err
        async with house.database.connection() as connection:
            await connection.execute(
                "update deliveries set status = 'exhausted', exhausted_at = created_at, attempted_at = created_at "
                "where event_position <= 4"
            )
            await connection.execute(
                "insert into attempts (delivery_id, account_id, started_at, duration_ms, outcome, status_code, error) "
                "select id, account_id, now(), 7, 'failed', case when event_position < 4 then 503 end, "
                "case when event_position = 4 then 'timeout: no complete answer within 20 s' end from deliveries"
            )
        shown = run("deliveries", "--status", "exhausted")
        assert shown.out.count("failed: 503") == 3
        assert "timeout: no complete answer within 20 s" in shown.out
        listed = run("deliveries", "--status", "exhausted", "--json").lines
        assert sorted(str(one["lastAttempt"]["statusCode"]) for one in listed) == ["503", "503", "503", "None"]
        failed = run("replay", "--endpoint", endpoint, "--failed")
        assert (failed.code, failed.out) == (0, "")
        assert "4 exhausted deliveries to look at" in failed.err
        feed = run("events", "--json").lines
        words = ("--after", feed[0]["cursor"], "--through", feed[2]["cursor"])
        (ranged,) = run("replay", "--endpoint", endpoint, *words, "--json").lines
        assert (ranged["what"], ranged["queued"]) == ("range", 2)
        assert "nothing was to be queued" in run("replay", "--endpoint", endpoint, "--failed").err
        jobs = run("replays", "--json").lines
        assert [one["what"] for one in jobs] == ["failed", "range", "failed", "missing"]
        assert jobs[-1] == job
        table = run("replays", "--endpoint", endpoint, "--limit", "2")
        assert "2 of 2" in table.out
        assert "finished" in table.out
        assert "--cursor" in table.err


async def test_an_interrupted_replay_goes_on_in_the_service(database_url: str, tmp_path: Path) -> None:
    """Ctrl-C says that the job is not cancelled; nothing is half done, and a deliverer queues and sends all of it."""
    settings = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
    async with api_house(database_url) as house, receiving() as receiver:
        endpoint = await _waiting(house, f"{receiver.url}/hook")
        words = ("replay", "--endpoint", endpoint, "--missing", "--since", "2020-01-01T00:00:00Z")
        async with house.database.transaction() as holder:
            await lock_lanes(holder, EVERY_LANE)
            command = await asyncio.create_subprocess_exec(
                COMMAND, *words, cwd=tmp_path, env=environment(**settings), stderr=asyncio.subprocess.PIPE
            )

            async def waits() -> bool:
                assert command.returncode is None
                return bool(await holder.fetchval(_WAITS))

            await until(waits)
            command.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                _, stderr = await command.communicate()
        told = stderr.decode()
        assert command.returncode == 130, told
        assert "Traceback" not in told
        (job,) = chainbell("replays", "--json", cwd=tmp_path, **settings).lines
        assert f"replay {job['id']} is not cancelled: `chainbell run` goes on with it" in told
        assert (job["checked"], job["queued"], job["finishedAt"]) == (0, 0, None)
        assert await house.fetchval("select count(*) from deliveries") == 0
        assert "going on" in chainbell("replays", cwd=tmp_path, **settings).out
        async with running(tmp_path, "delivery", DATABASE_URL=database_url, ALLOWED_NETWORKS="127.0.0.0/8") as service:
            finished = await service.event("replay_finished")
            assert (finished["replay_id"], finished["queued"]) == (job["id"], 6)
            await receiver.wait_for(6)
            assert await service.stop() == 0
    assert len(set(receiver.ids())) == 6


def _drawn(terminal: int) -> str:
    """Read a terminal until nobody writes to it any more."""
    drawn = b""
    while True:
        try:
            drawn += os.read(terminal, 65536)
        except OSError:  # so Linux tells that the other side is closed
            return drawn.decode()


async def test_a_terminal_shows_a_bar(database_url: str, tmp_path: Path) -> None:
    """On a terminal progress is drawn, on stderr; stdout has the answer alone."""
    async with api_house(database_url) as house:
        endpoint = await _waiting(house)
    words = ("replay", "--endpoint", endpoint, "--missing", "--since", "2020-01-01T00:00:00Z", "--json")
    ours, theirs = pty.openpty()
    env = environment(DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY) | {"TERM": "xterm"}
    command = await asyncio.create_subprocess_exec(
        COMMAND, *words, cwd=tmp_path, env=env, stderr=theirs, stdout=asyncio.subprocess.PIPE
    )
    os.close(theirs)
    async with asyncio.timeout(90):
        drawn, (stdout, _) = await asyncio.gather(asyncio.to_thread(_drawn, ours), command.communicate())
    os.close(ours)
    assert command.returncode == 0, drawn
    assert stdout.count(b"\n") == 1
    assert "6 of 6 events" in drawn
    assert "6 queued" in drawn


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "the id of a delivery, or --endpoint"),
        (("--failed",), "the id of a delivery, or --endpoint"),
        (("42", "--failed"), "leave the options away"),
        (("42", "--since", "2020-01-01T00:00:00Z"), "leave the options away"),
        (("--endpoint", "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"), "say from when on"),
        (("--endpoint", "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11", "--missing"), "say from when on"),
        (("--endpoint", "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11", "--missing", "--failed"), "are two replays"),
        (("--endpoint", "nonsense", "--failed"), "UUID"),
    ],
)
def test_what_says_nothing_or_two_things_is_wrong_usage(words: tuple[str, ...], part: str) -> None:
    """Code 2, and words that say which options belong together; nothing is opened for it."""
    ended = CliRunner().invoke(app, ["replay", *words])
    assert ended.exit_code == 2
    assert part in " ".join(ended.output.replace("│", " ").split())


async def test_what_cannot_be_replayed_is_one_line(database_url: str, tmp_path: Path) -> None:
    """Code 1 and what to do instead."""
    run = partial(chainbell, "replay", "--endpoint", cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house:
        endpoint = await _endpoint(house)
    for words, part in (
        (("7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11", "--failed"), "chainbell endpoint list"),
        ((endpoint, "--since", "yesterday"), "--since: a time is wanted as in 2026-11-22T10:00:00Z"),
        ((endpoint, "--after", "nonsense"), "no cursor of the feed"),
    ):
        ended = run(*words)
        assert (ended.code, ended.out) == (1, ""), words
        assert ended.err.count("\n") == 1, ended.err
        assert part in ended.err
