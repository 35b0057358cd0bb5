"""A database restored from a backup taken before, between and after a reorg: nothing is missed, and all is told."""

import base64
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chain_truth import read_truth
from tests.house import ALICE, BOB, ETHER, until
from tests.nodes import Anvil
from tests.postgres import TestCluster
from tests.receivers import Receiver, receiving
from tests.restoring import Place, ask_feed, back_up, read_feed, restore

pytestmark = pytest.mark.timeout(300)

CAROL = "0x" + "ca" * 20
DAVE = "0x" + "da" * 20
REORG = 4


def _cursor(text: str) -> tuple[int, int]:
    generation, position = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(":")
    return int(generation), int(position)


class Story:
    """One life of an installation, backed up three times, and what was told in it."""

    def __init__(self, place: Place, anvil: Anvil, receiver: Receiver) -> None:
        self.place = place
        self.anvil = anvil
        self.receiver = receiver
        self.key = self.revoked = ""
        self.backups: dict[str, Path] = {}
        self.positions: dict[str, int] = {}
        self.read: list[dict[str, Any]] = []
        self.read_to = ""
        self.ids: dict[str, str] = {}

    async def live(self) -> None:
        """Deposits, a reorg, backups between, and registrations after the last of them."""
        place, anvil = self.place, self.anvil
        async with place.running() as api:
            await self._following()
            self.first = (await anvil.height()) + 1
            await place.watch(ALICE, "till 7")
            await place.watch(DAVE)
            await place.endpoint(self.receiver.url + "/v2")
            _, self.key = await place.api_key("reader")
            self.revoked, _ = await place.api_key("leaked")
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await anvil.mine(REORG)
            await self._back_up("before")
            sent = await anvil.send(anvil.accounts[0], ALICE, 2 * ETHER)
            raw = await anvil.raw(sent)
            await anvil.mine(REORG - 1)
            await self._told_to_the_end()
            await anvil.reorg(REORG)
            await self._back_up("between")
            await anvil.resend(raw)
            await anvil.mine(REORG)
            await self._back_up("after")
            await place.ran("address", "add", "anvil", CAROL, "--label", "it's new")
            await place.ran("address", "remove", "anvil", DAVE)
            await place.ran("api-key", "remove", self.revoked)
            await place.endpoint(self.receiver.url + "/late")
            await anvil.send(anvil.accounts[0], CAROL, 3 * ETHER)
            await anvil.send(anvil.accounts[0], ALICE, 4 * ETHER)
            await anvil.mine(REORG)
            await self._told_to_the_end()
            self.read, self.read_to = await read_feed(api, self.key, None)
        self.ids = await self.block_decided(place)

    async def block_decided(self, place: Place, above: int = 0) -> dict[str, str]:
        """Ids of what blocks decided, to their types; depths are left out, because a catch-up may jump."""
        rows = await place.fetch("select id, type from events where position > $1", above)
        return {row["id"]: row["type"] for row in rows if not row["type"].endswith(".confirmation")}

    async def standing(self, place: Place) -> set[str]:
        """Ids of what blocks decided that are on the chain now, and of what needs no block."""
        rows = await place.fetch("select id, type, occasion from events")
        hashes = [await self.anvil.block_hash(height) for height in range(await self.anvil.height() + 1)]
        best = {bytes.fromhex(hash_[2:]) for hash_ in hashes}
        return {
            row["id"]
            for row in rows
            if not row["occasion"]
            or (not row["type"].endswith((".confirmation", ".pending", ".reverted")) and row["occasion"][4:36] in best)
        }

    async def _following(self) -> None:
        async def started() -> bool:
            return bool(await self.place.fetch("select name from chains"))

        await until(started, "the chain is followed", 60)

    async def _told_to_the_end(self) -> None:
        await told_to_the_end(self.place, self.anvil)

    async def _back_up(self, name: str) -> None:
        await self._told_to_the_end()
        self.backups[name] = back_up(self.place.url, self.place.folder / f"{name}.dump")
        (row,) = await self.place.fetch("select feed_position from installation")
        self.positions[name] = row["feed_position"]


async def told_to_the_end(place: Place, anvil: Anvil) -> None:
    async def quiet() -> bool:
        tip = bytes.fromhex((await anvil.block_hash())[2:])
        (chain,) = await place.fetch("select cursor_hash from chains")
        (pending,) = await place.fetch("select count(*) as pending from deliveries where status = 'pending'")
        return bool(chain["cursor_hash"] == tip and pending["pending"] == 0)

    await until(quiet, "the cursor is the tip and all is delivered", 60)


async def test_a_restored_database_tells_the_same_again(
    anvil: Anvil, database_url: str, postgres_cluster: TestCluster, tmp_path: Path
) -> None:
    """From each backup: ids unchanged, the truth of the chain, the reader sent back, and what is lost listed."""
    async with receiving() as receiver:
        story = Story(Place.make(tmp_path, anvil.url, database_url, reorg_limit=64), anvil, receiver)
        await story.live()
        types = {type_.removeprefix("transaction.deposit.") for type_ in story.ids.values()}
        assert {"created", "awaiting_confirmation", "success", "reverted"} <= types
        reader = story.read_to
        for generation, name in enumerate(("before", "between", "after"), start=1):
            with postgres_cluster.database(None) as url:
                restore(story.backups[name], url)
                place = replace(story.place, url=url)
                found = (await place.ran("restored", "--yes", "--json", code=3)).lines[0]
                assert found["generation"] == generation, name
                assert found["beganBehind"] == story.positions[name]
                _check_losses(story, found)
                await place.watch(CAROL, "it's new")
                await _live_again(story, place, generation, name, reader)


def _check_losses(story: Story, found: dict[str, Any]) -> None:
    (address,) = found["lostAddresses"]
    assert (address["address"].lower(), address["label"]) == (CAROL, "it's new")
    assert address["watchedFrom"] > story.first
    assert [entry["address"].lower() for entry in found["addressesToRemove"]] == [DAVE]
    assert {entry["accountId"] for entry in found["addressesToRemove"]} == {address["accountId"]}
    (endpoint,) = found["lostEndpoints"]
    assert endpoint["url"] == story.receiver.url + "/late"
    assert endpoint["savedAt"].endswith("Z")
    assert not {"at", "action", "installation", "generation"} & endpoint.keys()
    assert found["apiKeysToRevoke"] == [story.revoked]
    assert found["damagedLines"] == []


async def _live_again(story: Story, place: Place, generation: int, name: str, reader: str) -> None:
    story.receiver.got.clear()
    async with place.running() as api:
        await told_to_the_end(place, story.anvil)
        refused = await ask_feed(api, story.key, reader)
        assert refused.status_code == 409, refused.text
        resume = refused.json()["resumeFrom"]
        assert _cursor(resume) == (generation, story.positions[name])
        again, _ = await read_feed(api, story.key, resume)
    # What the reader had read up to there, and what it reads on, is all that this life of the database knows.
    known = {event["id"] for event in story.read[: story.positions[name]]} | {event["id"] for event in again}
    assert known == {row["id"] for row in await place.fetch("select id from events")}
    told = await story.block_decided(place)
    assert await story.standing(story.place) <= told.keys(), name
    assert {id_: told[id_] for id_ in told if id_ in story.ids} == told, f"{name}: another id for the same"
    assert {event["generation"] for event in again} <= {generation}
    told_now = await story.block_decided(place, above=story.positions[name])
    assert told_now
    delivered = {got.event_id for got in story.receiver.got}
    assert told_now.keys() <= delivered, name
    truth = await read_truth(story.anvil.url, {ALICE, CAROL}, set(), story.first, 3)
    rows = await place.fetch("select * from transactions where block_hash is not null")
    assert sorted((row["tx_hash"].hex(), int(row["amount"]), row["status"]) for row in rows) == sorted(
        (one.hash[2:], one.amount, one.status) for one in truth
    )


async def test_a_second_restore_of_the_same_backup_is_another_generation(
    anvil: Anvil, database_url: str, postgres_cluster: TestCluster, tmp_path: Path
) -> None:
    """The journal remembers generations that the backup never saw: a reader of the life between is not mistaken for ours."""
    place = Place.make(tmp_path, anvil.url, database_url, reorg_limit=64)
    async with place.running():

        async def started() -> bool:
            return bool(await place.fetch("select name from chains"))

        await until(started, "the chain is followed", 60)
        await place.watch(BOB)
    backup = back_up(place.url, tmp_path / "one.dump")
    await place.api_key("late")
    await place.watch(CAROL, "it's new")
    with postgres_cluster.database(None) as url:
        restore(backup, url)
        again = replace(place, url=url)
        asked = await again.ran("restored", code=1)
        assert "--yes" in asked.err
        told = await again.ran("restored", "--yes", code=3)
        rows = await again.fetch("select action, details->>'generation' as generation from audit")
        assert [(row["action"], row["generation"]) for row in rows] == [("restored", "1")]
        repeated = await again.ran("restored", "--yes", code=3)
        assert "was run already" in repeated.err
    assert "generation 1 has begun" in told.out
    assert "chainbell api-key add late --mode test --scope read --scope write" in told.out
    with postgres_cluster.database(None) as url:
        restore(backup, url)
        again = replace(place, url=url)
        last = await again.ran("restored", "--yes", "--lost-addresses", "lost files", code=3)
        assert "generation 3 has begun" in last.out
        (line,) = [line for line in last.out.splitlines() if "address import" in line]
        imported = shlex.split(line)
        assert imported[0] == "chainbell"
        await again.ran(*imported[1:])
        rows = await again.fetch("select address, label from addresses where removed_at is null order by created_at")
        assert [(row["address"].hex(), row["label"]) for row in rows] == [(BOB[2:], None), (CAROL[2:], "it's new")]
        place.journal.unlink()
    with postgres_cluster.database(None) as url:
        restore(backup, url)
        blind = await replace(place, url=url).ran("restored", "--yes", "--above-generation", "7")
        assert "generation 8 has begun" in blind.out
        assert "no journal of this database was found" in blind.err
