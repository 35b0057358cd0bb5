"""Accepting a deep reorg, in the test's own process: under the finalized tag, and where something moves meanwhile."""

from dataclasses import replace

import pytest

from chainbell.app.deep_reorg import accept, propose
from chainbell.app.services import Services
from chainbell.config.node_url import NodeUrl
from chainbell.config.settings import Settings
from chainbell.domain.errors import ConflictError, InputError
from tests.builders_delivery import BOX
from tests.house import ALICE, ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil

LIMIT = 5
DEPTH = 9


def _services(home: House) -> Services:
    settings = Settings(nodes={"anvil": (NodeUrl.parse(home.anvil.url),)}, screening="off")
    return Services.on(home.database, home.url, BOX, settings)


async def _with_a_success(home: House) -> str:
    await started(home)
    await home.watch(ALICE)
    raw = await home.anvil.raw(await home.anvil.send(home.anvil.accounts[0], ALICE, ETHER))
    await home.anvil.mine(DEPTH - 1)
    await caught_up(home)
    assert (await home.told())[-1] == "deposit.success"
    return raw


async def test_a_reorg_beyond_the_finalized_block_lowers_it(database_url: str) -> None:
    """What was final by the node's word is reverted, and waits for the new branch's finality, not for the old one's."""
    async with (
        Anvil(slots_in_an_epoch=1) as anvil,
        house(anvil, database_url, required_confirmations="finalized", finality_lag=2, reorg_limit=LIMIT) as home,
    ):
        await anvil.mine(3 * LIMIT)
        async with following(home):
            raw = await _with_a_success(home)
            await anvil.reorg(DEPTH)
            await until(home.in_trouble, "the chain has stopped")
            proposal = await propose(_services(home), home.definition)
            assert (proposal.depth, len(proposal.uids)) == (DEPTH, 1)
            assert await accept(_services(home), proposal) == 1
            (row,) = await home.fetch("select finalized_height from chains")
            assert row["finalized_height"] <= proposal.ancestor.height + DEPTH
            assert (await home.told())[-1] == "deposit.reverted"
            await caught_up(home)
            await anvil.resend(raw)
            await anvil.mine(4)
            await caught_up(home)
        assert (await home.told())[-2:] == ["deposit.awaiting_confirmation", "deposit.success"]
        await home.check_stories()


async def test_what_was_shown_must_still_hold(database_url: str) -> None:
    """While the operator thinks, the node's chain may return: nothing is taken back then, and the lease is not taken."""
    async with Anvil() as anvil, house(anvil, database_url, reorg_limit=LIMIT) as home:
        await anvil.mine(3 * LIMIT)
        async with following(home):
            await _with_a_success(home)
            await anvil.reorg(DEPTH)
            await until(home.in_trouble, "the chain has stopped")
        proposal = await propose(_services(home), home.definition)
        await anvil.reorg(DEPTH + 3)
        before = await home.fetch("select * from chains")
        with pytest.raises(ConflictError, match="joins ours elsewhere"):
            await accept(_services(home), proposal)
        assert await home.fetch("select * from chains") == before
        assert "deposit.reverted" not in await home.told()


async def test_what_leaves_the_kept_blocks_after_the_limit_was_raised_can_be_accepted(database_url: str) -> None:
    """Within the new limit, but below the oldest block kept under the old one: `run` stops, and the operator may go on."""
    old_limit, raised, depth = 2, 20, 12
    async with Anvil() as anvil, house(anvil, database_url, reorg_limit=old_limit) as home:
        await anvil.mine(3 * raised)
        async with following(home):
            raw = await _with_a_success(home)
            await anvil.mine(old_limit)
            await caught_up(home)
        await anvil.reorg(depth)
        later = replace(home, definition=home.definition.model_copy(update={"reorg_limit": raised}))
        async with following(later):
            await until(later.in_trouble, "the chain has stopped")
            proposal = await propose(_services(later), later.definition)
            assert depth <= proposal.depth <= raised
            await accept(_services(later), proposal)
            await caught_up(later)
            await anvil.resend(raw)
            await anvil.mine(DEPTH)
            await caught_up(later)
        assert (await later.told())[-3:] == ["deposit.reverted", "deposit.awaiting_confirmation", "deposit.success"]
        await later.check_stories()


async def test_what_run_follows_by_itself_is_refused(database_url: str) -> None:
    """A reorg that the kept blocks and the limit reach is the follower's, and the command says so."""
    async with Anvil() as anvil, house(anvil, database_url, reorg_limit=LIMIT) as home:
        await anvil.mine(3 * LIMIT)
        async with following(home):
            await _with_a_success(home)
        await anvil.reorg(LIMIT)
        with pytest.raises(InputError, match=r"`chainbell run` follows it by itself"):
            await propose(_services(home), home.definition)
