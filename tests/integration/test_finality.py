"""The `finalized` tag: a node's word counts for blocks of our chain alone, and an older one never takes it back."""

from dataclasses import replace
from typing import Any

from chainbell.domain.chain import BlockRef
from chainbell.telemetry.clock import now
from tests.house import ALICE, ETHER, House, caught_up, following, house, started
from tests.nodes import Anvil
from tests.rpcproxy import Answer, LyingProxy

NEVER: dict[str, Any] = {"required_confirmations": "finalized", "finality_lag": 8}


async def _with_a_deposit(home: House) -> tuple[int, BlockRef]:
    """Follow until a deposit awaits confirmation in the second newest block; return the fence and that block."""
    async with following(home):
        await started(home)
        await home.watch(ALICE)
        await home.anvil.send(home.anvil.accounts[0], ALICE, ETHER)
        await home.anvil.mine(1)
        await caught_up(home)
        fence = await home.fence()
    rows = await home.fetch("select height, hash, parent_hash from blocks order by height")
    return fence, BlockRef(rows[-2]["height"], rows[-2]["hash"], rows[-2]["parent_hash"])


async def _settle(home: House, fence: int, finalized: BlockRef) -> list[str]:
    (row,) = await home.fetch("select cursor_height, cursor_hash, cursor_parent_hash from chains")
    cursor = BlockRef(row["cursor_height"], row["cursor_hash"], row["cursor_parent_hash"])
    await home.tracker().settle(fence, cursor, finalized, now())
    return await home.told()


async def test_a_finalized_block_that_is_not_ours_settles_nothing(database_url: str) -> None:
    """Another hash at that height, or a height above our cursor, is no finality of our chain."""
    async with Anvil(slots_in_an_epoch=1000) as anvil, house(anvil, database_url, **NEVER) as home:
        fence, block = await _with_a_deposit(home)
        assert "deposit.success" not in await _settle(home, fence, replace(block, hash=b"\xee" * 32))
        assert "deposit.success" not in await _settle(home, fence, replace(block, height=block.height + 50))
        assert "deposit.success" not in await _settle(home, fence, replace(block, height=block.height - 1))
        assert (await _settle(home, fence, block))[-1] == "deposit.success"


async def test_while_nothing_is_final_nothing_succeeds(database_url: str) -> None:
    """A node that calls no block final yet settles nothing, however many blocks come."""

    def nothing_final(method: str, params: list[Any], answer: Answer) -> Answer:
        if method == "eth_getBlockByNumber" and params[0] == "finalized":
            return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -39001, "message": "Unknown block"}}
        return answer

    async with Anvil(slots_in_an_epoch=1000) as anvil, LyingProxy(anvil.url, rule=nothing_final) as proxy:
        async with house(anvil, database_url, node_urls=[proxy.url], **NEVER) as home:
            fence, block = await _with_a_deposit(home)
            async with following(home):
                await anvil.mine(3)
                await caught_up(home)
            (row,) = await home.fetch("select finalized_height from chains")
            assert row["finalized_height"] is None
            assert "deposit.success" not in await home.told()
            fence = await home.fence()
            assert (await _settle(home, fence, block))[-1] == "deposit.success"


async def test_an_older_finalized_block_never_lowers_it(database_url: str) -> None:
    """A node that lags cannot make us forget what another called final."""
    async with Anvil(slots_in_an_epoch=1000) as anvil, house(anvil, database_url, **NEVER) as home:
        fence, block = await _with_a_deposit(home)
        await _settle(home, fence, block)
        rows = await home.fetch("select height, hash, parent_hash from blocks order by height")
        older = BlockRef(rows[0]["height"], rows[0]["hash"], rows[0]["parent_hash"])
        await _settle(home, fence, older)
        (row,) = await home.fetch("select finalized_height from chains")
        assert row["finalized_height"] == block.height
