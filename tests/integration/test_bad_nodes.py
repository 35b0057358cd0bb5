"""Nodes that lie, stall and break: the chain waits and says why, and tells everything once the node is honest again."""

from typing import Any

import pytest

from tests.house import ALICE, ETHER, House, caught_up, following, house, started, until
from tests.nodes import Anvil
from tests.rpcproxy import (
    Answer,
    DropConnection,
    DroppedEntry,
    ErrorObject,
    Fault,
    HttpStatus,
    LyingProxy,
    NotJson,
    Rule,
    SlowBody,
    TruncatedBody,
    honest,
)


def everywhere(fault: Fault) -> Rule:
    return lambda _method, _params, _answer: fault


def on(method: str, fault: Fault) -> Rule:
    return lambda asked, _params, answer: fault if asked == method else answer


def changed(method: str, **members: object) -> Rule:
    """Put other members into each object that a method answers."""

    def rule(asked: str, _params: list[Any], answer: Answer) -> Answer:
        result = answer.get("result")
        if asked != method or result is None:
            return answer
        return answer | {"result": [entry | members for entry in result] if isinstance(result, list) else result | members}

    return rule


def no_receipts_yet(asked: str, _params: list[Any], answer: Answer) -> Answer:
    """Say `[]` too early: the classic missed deposit."""
    return answer | {"result": []} if asked == "eth_getBlockReceipts" else answer


def no_logs(asked: str, _params: list[Any], answer: Answer) -> Answer:
    """Give receipts whose logs are not indexed yet."""
    if asked != "eth_getBlockReceipts":
        return answer
    return answer | {"result": [receipt | {"logs": []} for receipt in answer["result"]]}


FAULTS: dict[str, Rule] = {
    "429": everywhere(HttpStatus(429, retry_after=1)),
    "500": everywhere(HttpStatus(500)),
    "dropped connection": everywhere(DropConnection()),
    "not JSON": everywhere(NotJson()),
    "truncated": everywhere(TruncatedBody()),
    "late": everywhere(SlowBody()),
    "too few batch entries": on("eth_getBlockByNumber", DroppedEntry()),
    "an error for receipts": on("eth_getBlockReceipts", ErrorObject()),
    "no receipts yet": no_receipts_yet,
    "no logs yet": no_logs,
    "receipts of another block": changed("eth_getBlockReceipts", blockHash="0x" + "ee" * 32),
    "garbage": changed("eth_getBlockByNumber", hash="0xnonsense"),
    "no height": changed("eth_getBlockByNumber", number=None),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_nothing_is_lost_while_a_node_misbehaves(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str, name: str
) -> None:
    """The cursor stands still while the answers are bad; afterwards every deposit is told, once."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    tokens = [(token, "TUSD", 6)]
    async with house(anvil, database_url, node_urls=[lying_proxy.url], tokens=tokens) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await caught_up(home)
        before = await home.cursor()
        lying_proxy.rule = FAULTS[name]
        await anvil.token_transfer(token, anvil.accounts[0], ALICE, 7)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await until(home.in_trouble, "the chain says that it waits")
        assert await home.cursor() == before
        assert await home.told() == []
        await anvil.mine(3)
        lying_proxy.rule = honest
        await caught_up(home)
        assert [name for name in await home.told() if name.endswith("success")] == ["deposit.success"] * 2
        await home.check_stories()
        await until(lambda: _well(home), "the trouble is over")


async def _well(home: House) -> bool:
    return not await home.in_trouble()


async def test_a_node_that_falls_behind_is_no_reorg(anvil: Anvil, lying_proxy: LyingProxy, database_url: str) -> None:
    """A tip that is an older block of ours takes nothing back."""
    async with house(anvil, database_url, node_urls=[lying_proxy.url]) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(3)
        await caught_up(home)
        told = await home.told()
        old_tip = await anvil.block(1)

        def stale_tip(asked: str, params: list[Any], answer: Answer) -> Answer:
            is_tip = asked == "eth_getBlockByNumber" and params[0] == "latest"
            return answer | {"result": old_tip} if is_tip else answer

        lying_proxy.rule = stale_tip
        asked = lying_proxy.calls["eth_getBlockByNumber"]
        await until(lambda: _asked(lying_proxy, asked + 10), "it was asked ten times more")
        assert await home.told() == told
        lying_proxy.rule = honest
        await anvil.mine(1)
        await caught_up(home)
        assert await home.told() == told


async def _asked(proxy: LyingProxy, times: int) -> bool:
    return proxy.calls["eth_getBlockByNumber"] >= times


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


async def test_a_node_that_lags_gives_way_to_another(anvil: Anvil, lying_proxy: LyingProxy, database_url: str) -> None:
    """With two nodes, the first being stuck on an old tip, the second one leads on."""
    async with house(anvil, database_url, node_urls=[lying_proxy.url, anvil.url]) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.mine(5)
        await caught_up(home)
        old_tip = await anvil.block(2)

        def stuck(asked: str, params: list[Any], answer: Answer) -> Answer:
            is_tip = asked == "eth_getBlockByNumber" and params[0] == "latest"
            return answer | {"result": old_tip} if is_tip else answer

        lying_proxy.rule = stuck
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(2)
        await caught_up(home)
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
