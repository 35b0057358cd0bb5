"""Nodes that are of another chain, not synced yet, or show what no chain has; lies in general are in test_lying_nodes.py."""

from typing import Any

import pytest

from tests.house import ALICE, ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil
from tests.rpcproxy import Answer, LyingProxy, honest


async def _well(home: House) -> bool:
    return not await home.in_trouble()


@pytest.mark.parametrize("wrong", ["chain id", "genesis"])
async def test_a_node_of_another_chain_is_never_read(anvil: Anvil, database_url: str, wrong: str) -> None:
    """After the first start on one chain, a node of another is refused, whatever it offers."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await caught_up(home)
        cursor = await home.cursor_hash()
    genesis = ("--timestamp", "1600000000") if wrong == "genesis" else ()
    async with Anvil(chain_id=31337 if wrong == "genesis" else 4242, args=genesis) as other:
        await other.send(other.accounts[0], ALICE, ETHER)
        await other.mine(30)
        async with LyingProxy(other.url) as proxy:
            async with house(anvil, database_url, node_urls=[proxy.url]) as home:
                stored = (await home.fetch("select genesis_hash from chains"))[0]["genesis_hash"]
                home.pool._genesis = stored
                async with following(home):
                    await until(home.in_trouble, "the chain says that it waits")
                    (row,) = await home.fetch("select trouble from chains")
                    assert "chain id" in row["trouble"] if wrong == "chain id" else "genesis" in row["trouble"]
                    assert await home.cursor_hash() == cursor
                    assert proxy.calls.keys() <= {"eth_chainId", "eth_getBlockByNumber"}


async def test_a_node_without_code_yet_switches_no_token_off(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str
) -> None:
    """One answer of a node that has just begun to sync proves nothing: the chain waits, and the token stays."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    lies = 0

    def no_code(asked: str, _params: list[Any], answer: Answer) -> Answer:
        nonlocal lies
        lies += asked == "eth_getCode"
        return answer | {"result": "0x"} if asked == "eth_getCode" and lies <= 2 else answer

    lying_proxy.rule = no_code
    async with house(anvil, database_url, node_urls=[lying_proxy.url], tokens=[(token, "TUSD", 6)]) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            await anvil.token_transfer(token, anvil.accounts[0], ALICE, 7)
            await anvil.mine(3)
            await caught_up(home)
        assert lies > 2
        assert (await home.told())[-1] == "deposit.success"


async def test_a_parent_that_lies_no_lower_ends_the_walk(anvil: Anvil, lying_proxy: LyingProxy, database_url: str) -> None:
    """A node whose parents never get lower is blamed, and does not keep us walking for ever."""
    async with house(anvil, database_url, node_urls=[lying_proxy.url]) as home, following(home):
        await started(home)
        await anvil.mine(3)
        await caught_up(home)

        def endless(asked: str, params: list[Any], answer: Answer) -> Answer:
            if asked == "eth_getBlockByNumber" and params[0] == "latest":
                return answer | {"result": answer["result"] | {"hash": "0x" + "ab" * 32, "parentHash": "0x" + "cd" * 32}}
            if asked == "eth_getBlockByHash":
                block = {"hash": params[0], "parentHash": "0x" + "cd" * 32, "number": hex(3)}
                return {"jsonrpc": "2.0", "id": answer["id"], "result": block}
            return answer

        lying_proxy.rule = endless
        await until(home.in_trouble, "the chain says that it waits")
        (row,) = await home.fetch("select trouble from chains")
        assert "is named as the parent of" in row["trouble"]
        lying_proxy.rule = honest
        await until(lambda: _well(home), "the trouble is over")


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with an honest one"])
async def test_a_branch_that_is_too_deep_halts_the_chain_only_when_no_node_leads_on(
    database_url: str, *, alone: bool
) -> None:
    """A node that moved to another branch, deeper than any reorg we follow, gives way to another; alone it halts us."""
    forks = ("--timestamp", "1700000000")
    async with Anvil(args=forks) as one, Anvil(args=forks) as two, LyingProxy(one.url) as proxy:
        urls = [proxy.url] if alone else [proxy.url, one.url]
        async with house(one, database_url, node_urls=urls, reorg_limit=4) as home, following(home):
            await started(home)
            await home.watch(ALICE)
            await one.send(one.accounts[0], ALICE, ETHER)
            await one.mine(10)
            await caught_up(home)
            told = await home.told()
            await two.send(two.accounts[0], ALICE, 2 * ETHER)
            await two.mine(20)
            proxy.upstream = two.url
            if alone:
                await until(home.in_trouble, "the chain says that it stands still")
                (row,) = await home.fetch("select trouble, halted from chains")
                assert row["halted"]
                assert "deeper than reorg_limit (4)" in row["trouble"]
                assert await home.told() == told
                return
            await one.send(one.accounts[0], ALICE, ETHER)
            await one.mine(3)
            await caught_up(home)
            (row,) = await home.fetch("select halted from chains")
            assert not row["halted"]
            assert "deeper than reorg_limit (4)" in str(home.pool.statuses()[0].last_failure)
            assert (await home.told())[-1] == "deposit.success"
            await home.check_stories()
