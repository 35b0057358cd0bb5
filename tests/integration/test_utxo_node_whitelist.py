"""A node that lets us ask only what we say that we need: all is told. With less it is not used, and never on and off."""

import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from chainbell.domain.node import NodeState
from tests.bitcoin import Bitcoind
from tests.fixtures_nodes import Starter
from tests.utxo_house import WAITS, caught_up, following_utxo, started, until, utxo_house

WORD = "what-chainbell-has"


def documented() -> Sequence[str]:
    """Return the settings of a node as docs/bitcoin.md has them."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "bitcoin.md").read_text()
    return re.findall(r"^(rpcwhitelist.*)$", text, re.MULTILINE)


def restricted(*settings: str) -> Bitcoind:
    """Return a node that has a user for Chainbell beside that of the test."""
    digest = hmac.new(b"salt", WORD.encode(), "sha256").hexdigest()
    return Bitcoind(args=(f"-rpcauth=chainbell:salt${digest}", *(f"-{setting}" for setting in settings)))


def as_chainbell(node: Bitcoind) -> str:
    return node.bare_url.replace("://", f"://chainbell:{WORD}@")


async def test_the_whitelist_of_the_manual_is_enough(another: Starter, database_url: str) -> None:
    """Blocks, payments that wait, senders and older outputs are all read with it, and nothing is ever refused."""
    settings = documented()
    assert len(settings) == 2
    node = await another(restricted(*settings))
    await node.fund(2)
    async with utxo_house(node, database_url, node_urls=[as_chainbell(node)]) as home, following_utxo(home):
        await started(home)
        address = await home.watched_address()

        async def seeded() -> bool:
            rows = await home.fetch("select outgoing_from from addresses")
            return all(row["outgoing_from"] is not None for row in rows)

        await until(seeded, "older outputs are read")
        first = await node.send(address, 50_000)
        await home.tells(first, *WAITS)
        await node.mine()
        await caught_up(home)
        (coin,) = [coin for coin in await node.coins() if coin.address == address]
        await node.raw_transaction([coin], [(await node.new_address(), 40_000)])
        await node.mine()
        await caught_up(home)
        assert (await home.last_body(first))["senderAddresses"]
        assert [status.last_failure for status in home.pool.statuses()] == [None]


async def test_a_node_without_a_method_is_not_used_on_and_off(another: Starter, database_url: str) -> None:
    """One that lacks what a look at the mempool needs is not used at all, and it is said which method that is."""
    (methods, others) = documented()
    node = await another(restricted(methods.replace(",getrawmempool", ""), others))
    await node.fund()
    seen: set[NodeState] = set()
    async with utxo_house(node, database_url, node_urls=[as_chainbell(node)]) as home:
        async with following_utxo(home):

            async def tried_often() -> bool:
                seen.add(home.pool.statuses()[0].state)
                return home.pool._slots[0].health.failures >= 3

            await until(tried_often, "it was tried three times")
        (status,) = home.pool.statuses()
        assert seen <= {NodeState.UNTRIED, NodeState.LACKING}
        assert status.state is NodeState.LACKING
        assert "rpcwhitelist (asked for getrawmempool)" in str(status.reason)
        assert await home.cursor() == -1
