"""Nodes that lie: nothing is missed, doubled or told as a success too early, and the status names the cause meanwhile.

Each lie is told by a proxy in front of a real anvil while deposits go on, once with no other node and once with an honest
second one. What was told in the end is held against what the chain itself says.
"""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pytest

from chainbell.api.chain_report import chain_report
from chainbell.api.views.chain import ChainView
from chainbell.domain.node import NodeState
from chainbell.nodes.backoff import Backoff
from chainbell.storage.chains import ChainStates
from chainbell.telemetry.clock import now
from tests.chain_truth import read_truth
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

QUICK = Backoff(first=0.1, cap=0.4)
NODE_SECONDS = 1.0
"""A node that does not answer whole in this time has not answered."""
REQUIRED = 3
FORKS = ("--timestamp", "1700000000")
"""Two anvils with it begin with the same genesis."""
TURNS = r"take turns|does not know its parent|not linked|does not give|no receipts|lies behind our cursor"
"""What two forks behind one URL show themselves by, depending on which answer comes from which."""


@dataclass(frozen=True)
class Lie:
    """How a node lies, and what the status must say of it."""

    begin: Callable[[list[dict[str, Any]]], Rule]
    """Given the blocks of the chain as the lie begins, lowest first."""
    cause: str
    hides: Literal["all", "logs", "nothing"] = "all"
    """What of the new blocks cannot be read meanwhile."""


def everywhere(fault: Fault) -> Rule:
    return lambda _method, _params, _answer: fault


def on(method: str, fault: Fault) -> Rule:
    return lambda asked, _params, answer: fault if asked == method else answer


def of_receipts(change: Callable[[list[dict[str, Any]]], object]) -> Rule:
    """Answer for the receipts of a block that has some what ``change`` makes of them."""

    def rule(asked: str, _params: list[Any], answer: Answer) -> Answer:
        if asked != "eth_getBlockReceipts" or not answer.get("result"):
            return answer
        return answer | {"result": change(answer["result"])}

    return rule


def of_logs(**members: object) -> Rule:
    return of_receipts(
        lambda receipts: [receipt | {"logs": [log | members for log in receipt["logs"]]} for receipt in receipts]
    )


def of_blocks(**members: object) -> Rule:
    """Put other members into each block."""

    def rule(asked: str, params: list[Any], answer: Answer) -> Answer:
        is_block = asked in {"eth_getBlockByNumber", "eth_getBlockByHash"} and params[0] != "0x0"
        return answer | {"result": answer["result"] | members} if is_block and answer.get("result") else answer

    return rule


def without_content(asked: str, params: list[Any], answer: Answer) -> Answer:
    """Show every block as empty, in agreement with itself but for the gas."""
    answer = of_receipts(lambda _: [])(asked, params, answer)  # type: ignore[assignment] # it gives no fault
    return of_blocks(transactions=[])(asked, params, answer)  # type: ignore[return-value] # the same


def as_tip(block: Callable[[], dict[str, Any]]) -> Rule:
    def rule(asked: str, params: list[Any], answer: Answer) -> Answer:
        return answer | {"result": block()} if asked == "eth_getBlockByNumber" and params[0] == "latest" else answer

    return rule


def tip_going_back(blocks: list[dict[str, Any]]) -> Rule:
    """Show an older tip each time."""
    left = blocks[:-1]
    return as_tip(lambda: left.pop() if len(left) > 1 else left[0])


LIES: dict[str, Lie] = {
    "stale tip": Lie(lambda blocks: as_tip(lambda: blocks[0]), r"lies .*behind"),
    "tip going back": Lie(tip_going_back, r"lies .*behind"),
    "empty logs": Lie(
        lambda _: of_receipts(lambda found: [one | {"logs": []} for one in found]), r"bloom.* promised.*: logs", "logs"
    ),
    "logs of another block": Lie(
        lambda _: of_logs(blockHash="0x" + "ee" * 32), r"log 0 is of another block.*: logs", "logs"
    ),
    "receipts of another block": Lie(
        lambda _: of_receipts(lambda found: [one | {"blockHash": "0x" + "ee" * 32} for one in found]),
        r"receipt 0 has another block's hash.*: coin, logs",
    ),
    "no receipts yet": Lie(lambda _: of_receipts(lambda _found: []), r"0 receipts for 1 transactions.*: coin, logs"),
    "null receipts": Lie(lambda _: of_receipts(lambda _found: None), r"but no receipts for it.*: coin, logs"),
    "an error for receipts": Lie(lambda _: on("eth_getBlockReceipts", ErrorObject()), r"header not found.*: coin, logs"),
    "too few batch entries": Lie(lambda _: on("eth_getBlockByNumber", DroppedEntry()), r"batch answer does not match"),
    "429": Lie(lambda _: everywhere(HttpStatus(429, retry_after=1)), r"limits its rate and asks to wait 1 s"),
    "500": Lie(lambda _: everywhere(HttpStatus(500)), r"HTTP status 500"),
    "half an answer": Lie(lambda _: everywhere(TruncatedBody()), r"ended too early"),
    "half a block": Lie(lambda _: of_blocks(transactions=[]), r"1 receipts for 0 transactions"),
    "an empty block": Lie(lambda _: without_content, r"the receipts used 0 gas"),
    "slow bodies": Lie(lambda _: everywhere(SlowBody()), r"no whole answer within 1 s"),
    "dropped connections": Lie(lambda _: everywhere(DropConnection()), r"ServerDisconnected|reset"),
    "not JSON": Lie(lambda _: everywhere(NotJson()), r"not JSON"),
    "no height": Lie(lambda _: of_blocks(number=None), r"expected a 0x quantity, found None"),
    "garbage": Lie(lambda _: of_blocks(hash="0xnonsense"), r"expected 32 bytes"),
    "a tip that it does not give": Lie(
        lambda blocks: as_tip(lambda: blocks[-1] | {"number": hex(10**6), "hash": "0x" + "ab" * 32}),
        r"announces block 1000000, and does not give",
        "nothing",
    ),
}


@dataclass(frozen=True)
class Scene:
    """A chain with a token, followed through a proxy that lies when it is told to."""

    home: House
    anvil: Anvil
    proxy: LyingProxy
    token: str
    watched_from: int

    async def deposit(self) -> None:
        """Make a coin and a token deposit, and let them get deep."""
        await self.anvil.send(self.anvil.accounts[0], ALICE, ETHER)
        await self.anvil.token_transfer(self.token, self.anvil.accounts[0], ALICE, 7)
        await self.anvil.mine(REQUIRED)

    async def lie(self, lie: Lie) -> None:
        height = await self.anvil.height()
        self.proxy.rule = lie.begin([await self.anvil.block(number) for number in range(1, height + 1)])

    async def named(self, cause: str) -> None:
        """Wait until the status names the cause."""
        seen = ""

        async def found() -> bool:
            nonlocal seen
            seen = words(await status(self.home))
            return re.search(cause, seen) is not None

        try:
            await until(found, f"the status names {cause!r}")
        except pytest.fail.Exception:
            pytest.fail(f"the status does not name {cause!r}, it says: {seen}")

    async def check(self) -> None:
        """Hold all that was told against the chain: nothing missed, doubled, or told as a success too early."""
        truth = await read_truth(self.anvil.url, {ALICE}, {self.token}, self.watched_from, REQUIRED)
        assert await self.home.truths() == truth
        assert {entry.status for entry in truth} == {"SUCCESS"}
        await self.home.check_stories()
        await self.check_no_success_too_early()

    async def check_no_success_too_early(self) -> None:
        """Check that each success was told at its depth."""
        for row in await self.home.fetch("select body_v2 from events where type like '%.success'"):
            data = orjson.loads(row["body_v2"])["data"]
            assert data["confirmation"] >= data["requiredConfirmation"] == REQUIRED


async def status(home: House) -> ChainView:
    """Return what `chainbell status` shows of the chain."""
    (shown,) = await chain_report(home.database, ChainStates(home.database), [home.definition], now())
    return shown


def words(shown: ChainView) -> str:
    nodes = [f"{node.name} {node.state}: {node.reason or node.last_failure}" for node in shown.nodes or ()]
    return "\n".join([f"trouble: {shown.trouble}", *nodes])


async def healthy(home: House) -> bool:
    shown = await status(home)
    return shown.trouble is None and {node.state for node in shown.nodes or ()} == {NodeState.HEALTHY} and shown.lag == 0


@asynccontextmanager
async def scene(anvil: Anvil, proxy: LyingProxy, url: str, *, others: tuple[str, ...] = ()) -> AsyncIterator[Scene]:
    """Follow the chain until a first deposit has succeeded."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    options: dict[str, Any] = {"tokens": [(token, "TUSD", 6)], "node_timeout": NODE_SECONDS, "backoff": QUICK}
    async with house(anvil, url, node_urls=[proxy.url, *others], **options) as home, following(home):
        await started(home)
        ready = Scene(home, anvil, proxy, token, await home.watch(ALICE))
        await ready.deposit()
        await caught_up(home)
        await ready.check()
        yield ready


@pytest.mark.parametrize("name", LIES)
async def test_nothing_is_told_on_a_lie(anvil: Anvil, lying_proxy: LyingProxy, database_url: str, name: str) -> None:
    """With one node the chain waits and says why; once the node is honest again, every deposit is told, once."""
    async with scene(anvil, lying_proxy, database_url) as here:
        before = await here.home.told()
        cursor = await here.home.cursor_hash()
        await here.lie(LIES[name])
        await here.deposit()
        await here.named(LIES[name].cause)
        assert (await status(here.home)).trouble is not None
        await here.check_no_success_too_early()
        if LIES[name].hides == "all":
            assert await here.home.told() == before
            assert await here.home.cursor_hash() == cursor
        if LIES[name].hides != "nothing":
            assert len([record for record in await here.home.records() if record["asset"]]) == 1
        lying_proxy.rule = honest
        await caught_up(here.home)
        await here.check()
        await until(lambda: healthy(here.home), "the status is well again")


@pytest.mark.parametrize("name", LIES)
async def test_an_honest_node_takes_over(anvil: Anvil, lying_proxy: LyingProxy, database_url: str, name: str) -> None:
    """With a second node the chain goes on during the lie, and the status says of the first one why it is not used."""
    async with scene(anvil, lying_proxy, database_url, others=(anvil.url,)) as here:
        await here.lie(LIES[name])
        await here.deposit()
        await caught_up(here.home)
        await here.check()
        await here.named(rf"node 1 .*{LIES[name].cause}")
        lying_proxy.rule = honest
        await here.deposit()
        await until(lambda: healthy(here.home), "the first node is used again")
        await caught_up(here.home)
        await here.check()


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with an honest one"])
@pytest.mark.parametrize("wrong", ["chain id", "genesis"])
async def test_another_chains_answers(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str, wrong: str, *, alone: bool
) -> None:
    """What stands behind a URL is suddenly another chain's node, on the same connection: nothing of it is told."""
    others = () if alone else (anvil.url,)
    async with scene(anvil, lying_proxy, database_url, others=others) as here:
        own_url = lying_proxy.upstream
        async with Anvil(chain_id=4242 if wrong == "chain id" else 31337, args=("--timestamp", "1600000000")) as other:
            await other.send(other.accounts[0], ALICE, 5 * ETHER)
            await other.mine(30)
            lying_proxy.upstream = other.url
            await here.deposit()
            await here.named(r"chain id 4242" if wrong == "chain id" else "genesis")
            if not alone:
                await caught_up(here.home)
                await here.check()
            lying_proxy.upstream = own_url
        await caught_up(here.home)
        await here.check()
        await until(lambda: healthy(here.home), "the node is used again")


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with an honest one"])
@pytest.mark.parametrize("turn", [1, 7, 40])
async def test_two_forks_behind_one_url(database_url: str, turn: int, *, alone: bool) -> None:
    """Servers on two forks take turns: no success is doubled, and in the end the chain that stays is told whole."""
    async with Anvil(args=FORKS) as one, Anvil(args=FORKS) as two, LyingProxy(one.url) as proxy:
        assert await one.block_hash(0) == await two.block_hash(0)
        async with scene(one, proxy, database_url, others=() if alone else (one.url,)) as here:
            await two.deploy("Token", "Test USD", "TUSD", 6, 10**12)
            await two.send(two.accounts[0], ALICE, 3 * ETHER)
            await two.mine(await one.height() + 1)
            proxy.turns = (turn, [one.url, two.url])
            await here.deposit()
            await here.named(TURNS)
            proxy.turns = None
            await caught_up(here.home)
            await one.mine(1)
            await caught_up(here.home)
            await here.check()
            await until(lambda: healthy(here.home), "the status is well again")


async def test_a_node_without_receipts_never_looks_healthy(anvil: Anvil, lying_proxy: LyingProxy, database_url: str) -> None:
    """Before a good second node, one that lacks what is promised is passed over from the start, and does not come and go."""
    lying_proxy.rule = of_receipts(lambda _: None)
    seen: set[NodeState] = set()
    await anvil.send(anvil.accounts[0], ALICE, ETHER)
    async with house(anvil, database_url, node_urls=[lying_proxy.url, anvil.url], backoff=QUICK) as home, following(home):
        await started(home)
        until_at = time.monotonic() + 3
        while time.monotonic() < until_at:
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await caught_up(home)
            seen.add(home.pool.statuses()[0].state)
        assert seen <= {NodeState.LACKING, NodeState.UNTRIED}
        assert lying_proxy.calls["eth_chainId"] > 1
        assert "coin, logs" in str(home.pool.statuses()[0].reason)
