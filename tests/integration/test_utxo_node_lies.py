"""Answers of the wrong shape, from a node in front of a good one: the chain is followed, and nothing of them is told."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.bitcoin import Bitcoind
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, Fault, LyingProxy, NotJson, Rule
from tests.utxo_house import caught_up, following_utxo, started, until, utxo_house

Input = dict[str, Any]


def _inputs(changed: Callable[[Input], Input]) -> Rule:
    """Change what is told of each input of a transaction."""

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "getrawtransaction" or params[1] != 2:
            return answer
        said = answer["result"]
        return {**answer, "result": {**said, "vin": [changed(each) for each in said["vin"]]}}

    return rule


def _endless_number(method: str, _params: list[Any], answer: Answer) -> Answer | Fault:
    number = "1e-99999999999999999999"
    body = f'{{"result": {{"verificationprogress": {number}}}, "error": null, "id": {answer["id"]}}}'
    return NotJson(body) if method == "getblockheader" else answer


LIES: dict[str, tuple[Rule, str]] = {
    "index": (_inputs(lambda each: {**each, "vout": 2**33}), "no index of an output"),
    "amount": (_inputs(lambda each: {**each, "prevout": {**each["prevout"], "value": 1e-8}}), "more in base units"),
    "exponent": (_endless_number, "InvalidOperation"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_the_second_node_is_read_where_the_first_one_lies(another: Starter, database_url: str, lie: str) -> None:
    """Whatever is wrong with an answer, it is the node's trouble: the next one is read, and fees are what was paid."""
    node = await another(Bitcoind())
    await node.fund(2)
    async with LyingProxy(node.url) as proxy:
        async with utxo_house(node, database_url, node_urls=[proxy.url, node.url]) as home, following_utxo(home):
            await started(home)

            async def both_healthy() -> bool:
                return all(status.state == "healthy" for status in home.pool.statuses())

            await until(both_healthy, "both nodes are healthy")
            (coin, *_) = await node.coins(minimum_depth=1)
            await home.watch(coin.address)
            proxy.rule, words = LIES[lie]
            txid = await node.raw_transaction([coin], [(await node.new_address(), coin.amount - 10_000)], send=False)
            await node.rpc("generateblock", await node.new_address(), [txid])
            await caught_up(home)
            assert words in (home.pool.statuses()[0].last_failure or "")
            assert not await home.in_trouble()
            rows = await home.fetch("select type, amount, fee from transactions")
            assert [(row["type"], int(row["amount"]), int(row["fee"])) for row in rows] == [
                ("TRANSFER", coin.amount - 10_000, 10_000)
            ]
