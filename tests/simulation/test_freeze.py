"""Many processes on one database, killed and frozen: one follows at a time, who wakes writes nothing, nothing is lost."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import ApiKeyStore, NewApiKey, Scope, write_key
from chainbell.telemetry.checkpoints import Checkpoint
from chainbell.telemetry.clock import now
from tests.crash_run import DELIVERY_LEASE_SECONDS, LEASE_SECONDS
from tests.house import ALICE, House, caught_up, house, started
from tests.merchant import Receiver, receiving
from tests.nodes import Anvil
from tests.processes import Life, life
from tests.soak import Walk, define, judge, soak_environment, subscribe, told_to_the_end

pytestmark = pytest.mark.timeout(300)

TAKEN_OVER_SECONDS = 10.0
"""With leases of 1.5 s: enough for a machine under load, and far below the 30 s of the server's own timeout."""

JOURNAL = """
create table journal (
    id bigint generated always as identity, fence bigint, follower text, was bytea, is_now bytea
);
create function note() returns trigger language plpgsql as $$ begin
    insert into journal (fence, follower, was, is_now) values (new.fence, new.follower, old.cursor_hash, new.cursor_hash);
    return new;
end $$;
create trigger note after update of cursor_hash on chains for each row
    when (old.cursor_hash is distinct from new.cursor_hash) execute function note();
"""


async def keep_journal(home: House) -> None:
    """Have the database write down who moved the cursor, in the order of the commits."""
    async with home.database.connection() as connection:
        await connection.execute(JOURNAL)


async def check_one_followed_at_a_time(home: House) -> int:
    """Check that nobody committed after another had taken the lease; return how many leases were used."""
    rows = await home.fetch("select * from journal order by id")
    fences = [row["fence"] for row in rows]
    assert fences == sorted(fences)
    followers: dict[int, set[str]] = {}
    for row in rows:
        followers.setdefault(row["fence"], set()).add(row["follower"])
    assert all(len(names) == 1 for names in followers.values()), followers
    assert all(later["was"] == earlier["is_now"] for earlier, later in itertools.pairwise(rows))
    return len(followers)


def the_environment(home: House, database_url: str, folder: Path) -> dict[str, str]:
    environment = soak_environment(home, database_url, folder)
    return environment | {"CHAINBELL_DATA_DIR": str(folder / "data"), "CHAINBELL_LOG_LEVEL": "info"}


async def _something_to_commit(home: House, point: Checkpoint) -> None:
    """Give the follower what leads it to a point."""
    await home.anvil.send(home.anvil.accounts[0], ALICE, 7)
    await home.anvil.mine()
    if point is Checkpoint.RETRACTION_WRITTEN:
        await caught_up(home)
        await home.anvil.reorg(1)


@pytest.mark.parametrize(
    ("point", "times", "words"),
    [
        (Checkpoint.BLOCKS_READ, 1, "another process follows this chain now"),
        (Checkpoint.LEDGER_WRITTEN, 1, "PostgreSQL"),
        (Checkpoint.EVENTS_WRITTEN, 2, "PostgreSQL"),  # first when it settles what stands at its start
        (Checkpoint.RETRACTION_WRITTEN, 1, "PostgreSQL"),
    ],
)
async def test_another_takes_over_from_a_frozen_leader_and_what_it_commits_on_waking_is_thrown_away(
    point: Checkpoint, times: int, words: str, manual_anvil: Anvil, database_url: str, tmp_path: Path
) -> None:
    """Within seconds, also where it holds the locks of an open commit; the chain stays without trouble."""
    anvil = manual_anvil
    define(tmp_path, await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12))
    async with house(anvil, database_url) as home, AsyncExitStack() as lives:
        environment = the_environment(home, database_url, tmp_path)
        await keep_journal(home)
        freezes = life(environment, tmp_path / "first.log", ["watcher"], point=f"freeze:{point.value}", times=times)
        first = await lives.enter_async_context(freezes)
        await first.event("following")
        await home.watch(ALICE)
        second = await lives.enter_async_context(life(environment, tmp_path / "second.log", ["watcher"]))
        await second.says("follows this chain")
        await _something_to_commit(home, point)
        await first.frozen()
        frozen_at = time.monotonic()
        await second.event("following")
        await caught_up(home)
        assert time.monotonic() - frozen_at < TAKEN_OVER_SECONDS
        first.send(signal.SIGCONT)
        await first.says(words)
        await first.says("follows this chain")
        await anvil.mine()
        await caught_up(home)
        assert await check_one_followed_at_a_time(home) == (2 if point is Checkpoint.RETRACTION_WRITTEN else 1)
        assert not await home.in_trouble()
        await home.check_stories()
        assert [name for name in await home.told() if name.endswith("created")] == ["deposit.created"]
        assert await first.end() == 0
        assert await second.end() == 0


@pytest.mark.parametrize(
    ("point", "words", "posts"),
    [
        (Checkpoint.DELIVERY_CLAIMED, "its lease was nearly over", 1),
        (Checkpoint.DELIVERY_POSTED, "somebody else owns it by now", 2),
    ],
)
async def test_another_sends_what_a_frozen_deliverer_had_claimed(
    point: Checkpoint, words: str, posts: int, manual_anvil: Anvil, database_url: str, tmp_path: Path
) -> None:
    """It waits for the lease; who wakes sends nothing any more, and its result is thrown away."""
    anvil = manual_anvil
    define(tmp_path, await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12))
    async with house(anvil, database_url) as home, receiving() as receiver, AsyncExitStack() as lives:
        environment = the_environment(home, database_url, tmp_path)
        watcher = await lives.enter_async_context(life(environment, tmp_path / "watcher.log", ["watcher"]))
        await watcher.event("following")
        await home.watch(ALICE)
        await subscribe(home, receiver)
        freezes = life(environment, tmp_path / "first.log", ["delivery"], point=f"freeze:{point.value}")
        first = await lives.enter_async_context(freezes)
        await first.event("running")
        await anvil.send(anvil.accounts[0], ALICE, 7)
        await anvil.mine()
        await first.frozen()
        second = await lives.enter_async_context(life(environment, tmp_path / "second.log", ["delivery"]))
        await second.event("running")
        await told_to_the_end(home)
        first.send(signal.SIGCONT)
        await first.says(words)
        arrivals = [webhook_id for _, webhook_id in receiver.arrivals]
        assert max(arrivals.count(webhook_id) for webhook_id in arrivals) == posts
        assert receiver.complaints == []
        assert (await home.fetch("select count(*) as sent from deliveries where status = 'succeeded'"))[0]["sent"] == len(
            set(arrivals)
        )


class Fate(Enum):
    """What befalls a process."""

    KILL = auto()
    FREEZE = auto()
    """For longer than its lease."""


@dataclass
class Crowd:
    """Two watchers, two deliverers and an API on one database, and what befalls them."""

    environment: dict[str, str]
    folder: Path
    chance: random.Random
    logs: list[Path] = field(default_factory=list)

    @asynccontextmanager
    async def life(self, role: str, number: int) -> AsyncIterator[Life]:
        """Begin a life with a log of its own."""
        log = self.folder / f"{role}-{number}-{len(self.logs)}.log"
        self.logs.append(log)
        async with life(self.environment, log, [role]) as begun:
            await begun.event("running")
            yield begun

    async def torment(self, role: str, number: int, lease: float, fates: Sequence[Fate]) -> None:
        """Let these befall one process of this role, with a new life after each kill; the last one ends in order."""
        left = list(fates)
        while True:
            async with self.life(role, number) as living:
                while left:
                    await asyncio.sleep(self.chance.uniform(0.2, lease))
                    if left.pop() is Fate.KILL:
                        await living.kill()
                        break
                    living.send(signal.SIGSTOP)
                    await asyncio.sleep(lease * self.chance.uniform(1.1, 2.0))
                    living.send(signal.SIGCONT)
                else:
                    assert await living.end() == 0
                    return

    def said(self, words: str) -> int:
        """Count a phrase in all logs."""
        return sum(log.read_text().count(words) for log in self.logs)


@dataclass
class Registrar:
    """Registers addresses through the API of one process, whatever befalls the others."""

    session: aiohttp.ClientSession
    url: str
    key: str

    async def register(self, address: str) -> None:
        """Register an address; try again while the API says that it cannot now."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": address}
        wanted = {"chain": "anvil", "address": address}
        async with asyncio.timeout(60):
            while True:
                async with self.session.post(f"{self.url}/addresses", json=wanted, headers=headers) as response:
                    if response.status == 201:
                        return
                    assert response.status == 503, await response.text()
                await asyncio.sleep(0.1)

    async def register_guests(self, walk: Walk, chance: random.Random) -> None:
        """Register one address after another; each is paid to from then on."""
        while True:
            address = "0x" + chance.randbytes(20).hex()
            await self.register(address)
            walk.guests.append(address)
            await asyncio.sleep(chance.uniform(0.2, 2))


@asynccontextmanager
async def registering(home: House, api: dict[str, Any], walk: Walk, chance: random.Random) -> AsyncIterator[None]:
    """Register addresses meanwhile; what goes wrong fails the test."""
    key = write_key(Mode.TEST, bytes(range(32)))
    await ApiKeyStore(home.database).add(NewApiKey("soak", Mode.TEST, (Scope.READ, Scope.WRITE), None), key, now())
    async with aiohttp.ClientSession() as session:
        registrar = Registrar(session, str(api["api"]), key)
        task = asyncio.create_task(registrar.register_guests(walk, chance))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


async def _torment_all(crowd: Crowd, rounds: int) -> None:
    """Two kills and four freezes of each role in every round."""
    async with asyncio.TaskGroup() as group:
        for role, lease in (("watcher", LEASE_SECONDS), ("delivery", DELIVERY_LEASE_SECONDS)):
            for number in (1, 2):
                fates = [Fate.KILL, Fate.FREEZE, Fate.FREEZE] * rounds
                crowd.chance.shuffle(fates)
                group.create_task(crowd.torment(role, number, lease, fates))


async def _end_in_peace(home: House, crowd: Crowd, receiver: Receiver) -> None:
    """Let one watcher and one deliverer bring everything to its end."""
    await home.anvil.mine(4)
    async with crowd.life("watcher", 3) as watcher, crowd.life("delivery", 3) as deliverer:
        await told_to_the_end(home)
        assert await watcher.end() == 0
        assert await deliverer.end() == 0


@pytest.mark.timeout(3600)
async def test_no_freeze_and_no_kill_loses_or_doubles_anything(
    manual_anvil: Anvil, database_url: str, tmp_path: Path, seed: int, soak: bool
) -> None:
    """Two watchers and two deliverers, killed and frozen at random, while the API registers and the chain reorganises."""
    anvil, chance = manual_anvil, random.Random(seed)
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    define(tmp_path, token)
    async with house(anvil, database_url) as home, receiving() as receiver:
        await keep_journal(home)
        crowd = Crowd(the_environment(home, database_url, tmp_path), tmp_path, chance)
        walk = Walk(home, token, chance, first=await anvil.height() + 1)
        async with crowd.life("watcher", 0) as one:
            await started(home)
            assert await one.end() == 0
        for address in walk.people:
            await home.watch(address)
        await subscribe(home, receiver)
        async with crowd.life("api", 0) as api, walk.going_on():
            async with registering(home, await api.event("running"), walk, chance):
                await _torment_all(crowd, rounds=40 if soak else 1)
            assert await api.end() == 0
        await _end_in_peace(home, crowd, receiver)
        label = f"seed {seed}"
        await judge(home, walk, receiver, label)
        leases = await check_one_followed_at_a_time(home)
        assert leases > 1, label
        assert walk.reorgs > 0, label
        assert walk.guests, label
        refused = crowd.said("another process follows this chain now") + crowd.said("stood still")
        print(  # noqa: T201 - figures of a soak
            f"{label}: {len(crowd.logs)} lives, {leases} leases used, {refused} commits refused or ended, "
            f"{len(walk.guests)} addresses registered, {walk.reorgs} reorgs"
        )
