"""A reorg deeper than the limit: the chain stops loudly, an operator accepts it, and every retraction is told."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from chainbell.app.deep_reorg import propose
from chainbell.domain.errors import InputError
from tests.chain_truth import read_truth
from tests.house import ALICE, ETHER, until
from tests.nodes import Anvil
from tests.restoring import Place

pytestmark = pytest.mark.timeout(300)

LIMIT = 5
SHALLOW = 2 * LIMIT - 1
"""Deeper than the limit; the ledger still holds the common ancestor."""
DEEP = 6 * LIMIT
"""The common ancestor is known by a milestone, or by a record's block, alone."""


async def _types(place: Place) -> list[str]:
    rows = await place.fetch("select type from events order by position")
    return [row["type"].rpartition(".")[2] for row in rows]


async def _at_the_tip(place: Place, anvil: Anvil) -> None:
    async def there() -> bool:
        rows = await place.fetch("select cursor_hash, trouble from chains")
        tip = bytes.fromhex((await anvil.block_hash())[2:])
        return bool(rows and rows[0]["cursor_hash"] == tip and rows[0]["trouble"] is None)

    await until(there, "the cursor is the tip", 60)


async def _halted(place: Place) -> None:
    async def says_so() -> bool:
        (row,) = await place.fetch("select trouble from chains")
        return "deeper than reorg_limit" in str(row["trouble"])

    await until(says_so, "the chain has stopped", 60)


async def _judged(place: Place, anvil: Anvil, first: int) -> None:
    truth = await read_truth(anvil.url, {ALICE}, set(), first, 3)
    rows = await place.fetch("select * from transactions where block_hash is not null")
    assert sorted((row["tx_hash"].hex(), int(row["amount"]), row["status"]) for row in rows) == sorted(
        (one.hash[2:], one.amount, one.status) for one in truth
    )


async def test_a_deep_reorg_is_accepted_beside_the_halted_follower(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """It shows what it takes back and asks; then each success is told as reverted, and the follower goes on by itself."""
    place = Place.make(tmp_path, anvil.url, database_url, reorg_limit=LIMIT)
    await anvil.mine(3 * LIMIT)
    async with place.running():
        await _at_the_tip(place, anvil)
        first = await anvil.height() + 1
        await place.watch(ALICE)
        sent = await anvil.send(anvil.accounts[0], ALICE, ETHER)
        raw = await anvil.raw(sent)
        await anvil.mine(SHALLOW - 1)
        await _at_the_tip(place, anvil)
        refused = await place.ran("chain", "accept-reorg", "anvil", "--yes", code=1)
        assert "there is no reorg to accept" in refused.err
        before = await _types(place)
        assert before[-1] == "success"
        old_tip = await anvil.block_hash()
        await anvil.reorg(SHALLOW)
        await _halted(place)
        asked = await place.ran("chain", "accept-reorg", "anvil", code=1)
        assert "nothing was changed" in asked.err
        assert "1 transactions" in asked.out
        assert "SUCCESS" in asked.out
        assert "1 ETH" in asked.out
        assert old_tip in asked.out
        assert await _types(place) == before
        accepted = await place.ran("chain", "accept-reorg", "anvil", "--yes")
        assert f"back at block {first - 1}" in accepted.out
        assert (await _types(place))[-1] == "reverted"
        await _at_the_tip(place, anvil)
        await anvil.resend(raw)
        await anvil.mine(3)
        await _at_the_tip(place, anvil)
        assert (await _types(place))[-1] == "success"
        await _judged(place, anvil, first)
        await _audited(place, SHALLOW)


async def _audited(place: Place, depth: int) -> None:
    rows = await place.fetch("select actor, action, details from audit")
    assert [row["action"] for row in rows] == ["chain.accept_reorg"]
    assert "@" in rows[0]["actor"]
    details = orjson.loads(rows[0]["details"])
    assert (details["chain"], details["blocks"], details["transactions"]) == ("anvil", depth, 1)


async def test_a_reorg_beyond_the_kept_ledger_is_accepted_while_nothing_runs(
    anvil: Anvil, database_url: str, tmp_path: Path
) -> None:
    """The ancestor is the newest block of ours that is known; what the node has above it is read again, and told once."""
    place = Place.make(tmp_path, anvil.url, database_url, reorg_limit=LIMIT)
    await anvil.mine(LIMIT)
    async with place.running():
        await _at_the_tip(place, anvil)
        await place.watch(ALICE)
        first = await anvil.height() + 1
        kept = await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(7)
        lost = await anvil.send(anvil.accounts[0], ALICE, 2 * ETHER)
        await anvil.mine(DEEP - 1)
        await _at_the_tip(place, anvil)
        await anvil.reorg(DEEP)
        await _halted(place)
    shown = await place.ran("chain", "accept-reorg", "anvil", "--yes")
    assert "1 transactions" in shown.out
    (chain,) = await place.fetch("select * from chains")
    assert (chain["follower"], chain["lease_until"], chain["trouble"]) == (None, None, None)
    assert chain["cursor_height"] < await anvil.height() - DEEP + 1
    assert chain["cursor_height"] >= first
    statuses = {row["tx_hash"].hex(): row["status"] for row in await place.fetch("select tx_hash, status from transactions")}
    assert statuses == {kept[2:]: "SUCCESS", lost[2:]: "REVERTED"}
    told = await _types(place)
    async with place.running():
        await _at_the_tip(place, anvil)
        assert await _types(place) == told
        await _judged(place, anvil, first)
        # The ledger below the ancestor is whole again: a reorg of the ordinary kind is followed at once.
        await anvil.mine(2)
        await _at_the_tip(place, anvil)
        await anvil.reorg(3)
        await _at_the_tip(place, anvil)


async def test_what_is_no_deep_reorg_is_refused(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """A shallow reorg, a node that lags, and a chain with nothing in common: each is named, and nothing is written."""
    place = Place.make(tmp_path, anvil.url, database_url, reorg_limit=LIMIT)
    await anvil.mine(3 * LIMIT)
    async with place.running():
        await _at_the_tip(place, anvil)
        await anvil.mine(LIMIT)
        await _at_the_tip(place, anvil)

    async def refused() -> str:
        before: list[Any] = await place.fetch("select * from chains")
        async with place.services() as services:
            with pytest.raises(InputError) as raised:
                await propose(services, services.chains["anvil"])
        assert await place.fetch("select * from chains") == before
        return str(raised.value)

    await anvil.reorg(2)
    assert "`chainbell run` follows it by itself" in await refused()
    async with place.running():
        await _at_the_tip(place, anvil)
    await anvil.rpc("anvil_rollback", 2)
    assert "it is behind" in await refused()
    await anvil.rpc("anvil_rollback", LIMIT)
    assert "still syncing" in await refused()
    await anvil.mine(LIMIT + 2)
    await anvil.reorg(4 * LIMIT - 1)
    assert "has no block of ours" in await refused()
