"""The harness itself: anvil, the test contracts and the lying proxy do what tests rely on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from eth_abi.abi import decode

from tests.contract_abi import CHECKOUT, TRANSFER_TOPIC, contracts
from tests.nodes import Anvil, RpcError
from tests.rpcproxy import (
    Answer,
    BatchLimit,
    DropConnection,
    DroppedEntry,
    ErrorObject,
    Fault,
    Held,
    HttpStatus,
    LyingProxy,
    NotJson,
    ShuffledBatch,
    SlowBody,
    TruncatedBody,
)

ETHER = 10**18
STRANGER = "0x" + "a1" * 20


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a plain HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def calls(*methods: str) -> list[dict[str, Any]]:
    """Build a batch with the ids 7, 8, ..."""
    return [{"jsonrpc": "2.0", "id": 7 + n, "method": method, "params": []} for n, method in enumerate(methods)]


def only(method: str, fault: Fault) -> Any:
    """Build a rule that applies `fault` to one method."""

    def rule(called: str, params: list[Any], answer: Answer) -> Answer | Fault:
        del params
        return fault if called == method else answer

    return rule


async def test_an_anvil_has_the_chain_id_asked_for_and_mines_each_transaction() -> None:
    """A coin transfer is in a block without further ado."""
    async with Anvil(chain_id=4242) as node:
        tx_hash = await node.send(node.accounts[0], STRANGER, 3 * ETHER)
        receipt = await node.receipt(tx_hash)
        assert (await node.rpc("eth_chainId"), receipt["status"]) == (hex(4242), "0x1")
        assert await node.balance(STRANGER) == 3 * ETHER


async def test_a_manual_anvil_keeps_transactions_in_its_pool(manual_anvil: Anvil) -> None:
    """Nothing is mined before the test says so; then in the order of nonces."""
    node = manual_anvil
    hashes = [await node.send(node.accounts[0], STRANGER, 1) for _ in range(3)]
    assert await node.height() == 0
    assert await node.mine(2) == 2
    assert (await node.block(1))["transactions"] == hashes


async def test_a_price_that_is_higher_replaces_a_transaction(manual_anvil: Anvil) -> None:
    """`nonce` and `gas_price` build a replacement."""
    node = manual_anvil
    first = await node.send(node.accounts[0], STRANGER, 1, nonce=0, gas_price=2 * 10**9)
    second = await node.send(node.accounts[0], STRANGER, 2, nonce=0, gas_price=4 * 10**9)
    await node.mine()
    assert (await node.block(1))["transactions"] == [second]
    assert await node.rpc("eth_getTransactionByHash", first) is None


async def test_finality_follows_the_epoch() -> None:
    """`slots_in_an_epoch` n puts `finalized` 2n blocks below the tip."""
    async with Anvil(slots_in_an_epoch=2) as node:
        await node.mine(10)
        assert int((await node.block("finalized"))["number"], 16) == 6


async def test_what_fails_is_mined_as_failed(anvil: Anvil) -> None:
    """A payment to the reverter, or of tokens one does not have, is in a block and moves nothing."""
    reverter = await anvil.deploy("Reverter")
    token = await anvil.deploy("Token", "Test", "TST", 18, 1000)
    poor = anvil.accounts[1]
    for tx_hash in (await anvil.send(poor, reverter, ETHER), await anvil.token_transfer(token, poor, STRANGER, 1)):
        receipt = await anvil.receipt(tx_hash)
        assert (receipt["status"], receipt["logs"]) == ("0x0", [])
    assert await anvil.balance(reverter) == 0


async def test_a_refused_request_is_an_rpc_error(anvil: Anvil) -> None:
    """The error object's members can be read."""
    with pytest.raises(RpcError, match="no_such_method") as caught:
        await anvil.rpc("no_such_method")
    assert caught.value.code == -32601


async def test_a_forwarder_pays_by_an_internal_transfer(anvil: Anvil) -> None:
    """The recipient's balance grows without a transaction to it."""
    forwarder = await anvil.deploy("Forwarder")
    tx_hash = await anvil.invoke(anvil.accounts[0], forwarder, "forward", STRANGER, value=ETHER)
    assert (await anvil.receipt(tx_hash))["to"] == forwarder
    assert await anvil.balance(STRANGER) == ETHER


@pytest.mark.parametrize("name", ["DemoToken", "Token"])
async def test_a_token_moves(anvil: Anvil, name: str) -> None:
    """A token has the decimals and the supply it was deployed with, and transfers."""
    token = await anvil.deploy(name, "US Dollar", "USD", 6, 1_000_000)
    receipt = await anvil.receipt(await anvil.token_transfer(token, anvil.accounts[0], STRANGER, 250))
    assert [log["topics"][0] for log in receipt["logs"]] == [TRANSFER_TOPIC]
    assert decode(["string"], await anvil.read(token, "symbol")) == ("USD",)
    assert decode(["uint8"], await anvil.read(token, "decimals")) == (6,)
    assert await anvil.token_balance(token, anvil.accounts[0]) == 1_000_000 - 250
    assert await anvil.token_balance(token, STRANGER) == 250


async def test_the_test_token_bursts_mints_and_spoofs(anvil: Anvil) -> None:
    """A burst is several logs of one transaction; a spoof is a log that moves nothing."""
    token = await anvil.deploy("Token", "Test", "TST", 18, 1000)
    owner = anvil.accounts[0]
    burst = await anvil.receipt(await anvil.invoke(owner, token, "burst", STRANGER, [5, 0, 7]))
    assert [int(log["data"], 16) for log in burst["logs"]] == [5, 0, 7]
    await anvil.receipt(await anvil.invoke(owner, token, "mint", STRANGER, 30))
    spoof = await anvil.receipt(await anvil.invoke(owner, token, "spoof", owner, STRANGER, 10**30))
    assert int(spoof["logs"][0]["data"], 16) == 10**30
    assert await anvil.token_balance(token, STRANGER) == 5 + 7 + 30


async def test_odd_tokens_are_odd(anvil: Anvil) -> None:
    """One token's symbol is bytes32, another refuses to tell its decimals."""
    old = await anvil.deploy("Bytes32Token", b"Maker".ljust(32, b"\0"), b"MKR".ljust(32, b"\0"), 18, 1000)
    assert await anvil.read(old, "symbol") == b"MKR".ljust(32, b"\0")
    await anvil.receipt(await anvil.token_transfer(old, anvil.accounts[0], STRANGER, 4))
    assert await anvil.token_balance(old, STRANGER) == 4
    mute = await anvil.deploy("NoDecimalsToken", "Mute", "MUT", 1000)
    with pytest.raises(RpcError, match="revert"):
        await anvil.read(mute, "decimals")


async def test_collectibles_show_their_number_in_a_topic_or_in_the_data(anvil: Anvil) -> None:
    """ERC-721 has four topics; the older shape is that of a token transfer."""
    new, old = await anvil.deploy("Nft", "Art", "ART"), await anvil.deploy("OldNft")
    (log,) = (await anvil.receipt(await anvil.invoke(anvil.accounts[0], new, "mint", STRANGER, 77)))["logs"]
    assert (len(log["topics"]), log["data"]) == (4, "0x")
    (log,) = (await anvil.receipt(await anvil.invoke(anvil.accounts[0], old, "mint", STRANGER, 77)))["logs"]
    assert (len(log["topics"]), int(log["data"], 16)) == (3, 77)
    assert log["topics"][0] == TRANSFER_TOPIC


def test_the_artefacts_are_what_the_sources_were_compiled_to() -> None:
    """Each artefact carries the hash of its source as it is now: else run tools/build-contracts."""
    for name, contract in contracts().items():
        source = (CHECKOUT / contract["source"]).read_bytes()
        assert hashlib.sha256(source).hexdigest() == contract["sourceSha256"], name


async def test_a_reorg_loses_transactions_and_takes_back_what_is_given(anvil: Anvil) -> None:
    """Of two transactions in the replaced blocks the one handed in is mined again, the other is gone."""
    await anvil.mine(3)
    kept, lost = [await anvil.send(anvil.accounts[n], STRANGER, ETHER) for n in (0, 1)]
    raw = await anvil.raw(kept)
    await anvil.receipt(lost)
    before = [await anvil.block_hash(height) for height in range(6)]
    await anvil.reorg(3, [(raw, 1)])
    after = [await anvil.block_hash(height) for height in range(6)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * 3 + [False] * 3
    assert (await anvil.receipt(kept))["blockNumber"] == hex(4)
    assert await anvil.rpc("eth_getTransactionByHash", lost) is None
    assert await anvil.balance(STRANGER) == ETHER


async def test_a_reorg_of_empty_blocks_changes_every_hash_each_time() -> None:
    """Also where nothing but the clock can make the difference, the fee having reached its floor."""
    async with Anvil(automine=False, args=["--base-fee", "0"]) as node:
        await node.mine(6)
        for depth in (1, 3, 3, 5, 1, 6):
            await node.reorg(depth)


async def test_a_lost_transaction_returns_when_it_is_sent_again(manual_anvil: Anvil) -> None:
    """`raw` works while a transaction waits in the pool, `resend` brings it back under its hash."""
    node = manual_anvil
    tx_hash = await node.send(node.accounts[0], STRANGER, ETHER)
    raw = await node.raw(tx_hash)
    await node.mine()
    await node.reorg(1)
    assert await node.resend(raw) == tx_hash
    await node.mine()
    assert (await node.receipt(tx_hash))["blockNumber"] == hex(2)


async def test_an_anvil_dies_with_the_test_run(tmp_path: Path) -> None:
    """When the process that runs the tests is killed, its anvil goes too."""
    script = (
        "import asyncio\n"
        "from tests.nodes import Anvil\n"
        "async def main():\n"
        "    async with Anvil() as node:\n"
        "        print(node.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(tmp_path)}
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE, cwd=CHECKOUT, env=environment
    )
    assert runner.stdout is not None
    node = os.pidfd_open(int((await runner.stdout.readline()).split()[0]))
    try:
        runner.send_signal(signal.SIGKILL)
        await runner.wait()
        # A pidfd becomes readable when its process ends.
        ended, _, _ = await asyncio.to_thread(select.select, [node], [], [], 10)
        assert ended == [node]
    finally:
        os.close(node)


async def test_an_honest_proxy_passes_calls_on_and_counts_them(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """Single calls and batches are answered under their own ids."""
    async with http.post(lying_proxy.url, json=calls("eth_chainId")[0]) as response:
        assert await response.json() == {"jsonrpc": "2.0", "id": 7, "result": hex(31337)}
    async with http.post(lying_proxy.url, json=calls("eth_blockNumber", "eth_chainId")) as response:
        assert {entry["id"]: entry["result"] for entry in await response.json()} == {7: "0x0", 8: hex(31337)}
    assert lying_proxy.calls == {"eth_chainId": 2, "eth_blockNumber": 1}
    assert lying_proxy.batches == [2]


async def test_a_rule_may_change_an_answer(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """What the rule returns goes out instead of what the node said."""
    lying_proxy.rule = lambda _method, _params, answer: {**answer, "result": "0x99"}
    async with http.post(lying_proxy.url, json=calls("eth_blockNumber")[0]) as response:
        assert (await response.json())["result"] == "0x99"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_status_is_sent_with_its_retry_after(
    lying_proxy: LyingProxy, http: aiohttp.ClientSession, status: int
) -> None:
    """One call with a fault decides the whole HTTP answer."""
    lying_proxy.rule = only("eth_chainId", HttpStatus(status, retry_after=3))
    async with http.post(lying_proxy.url, json=calls("eth_blockNumber", "eth_chainId")) as response:
        assert (response.status, response.headers["Retry-After"]) == (status, "3")


async def test_a_page_instead_of_json(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """A gateway's page comes with status 200."""
    lying_proxy.rule = only("eth_chainId", NotJson())
    async with http.post(lying_proxy.url, json=calls("eth_chainId")[0]) as response:
        assert (response.status, response.content_type) == (200, "text/html")


@pytest.mark.parametrize("fault", [DropConnection(), TruncatedBody(), TruncatedBody(keep=1)])
async def test_a_connection_is_cut(lying_proxy: LyingProxy, http: aiohttp.ClientSession, fault: Fault) -> None:
    """The client sees a transport error, before or within the body."""
    lying_proxy.rule = only("eth_chainId", fault)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        async with http.post(lying_proxy.url, json=calls("eth_chainId")[0]) as response:
            await response.read()


async def test_a_body_trickles_without_end(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """Bytes keep coming, so that only a total timeout ends the wait."""
    lying_proxy.rule = only("eth_chainId", SlowBody(interval=0.01))
    async with http.post(lying_proxy.url, json=calls("eth_chainId")[0]) as response:
        assert await response.content.readexactly(5) == b"     "
        assert not response.content.at_eof()


async def test_entries_are_dropped_shuffled_and_refused(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """A batch can come back incomplete, out of order, or with an error in one entry."""
    batch = calls("eth_blockNumber", "eth_chainId", "net_version")
    lying_proxy.rule = only("eth_chainId", DroppedEntry())
    async with http.post(lying_proxy.url, json=batch) as response:
        assert [entry["id"] for entry in await response.json()] == [7, 9]
    lying_proxy.rule = only("eth_chainId", ShuffledBatch())
    async with http.post(lying_proxy.url, json=batch) as response:
        assert [entry["id"] for entry in await response.json()] == [9, 8, 7]
    lying_proxy.rule = only("eth_chainId", ErrorObject(-32005, "too many requests"))
    async with http.post(lying_proxy.url, json=batch) as response:
        assert [entry["id"] for entry in await response.json() if "error" in entry] == [8]


@pytest.mark.parametrize(("how", "status"), [("413", 413), ("error", 200)])
async def test_a_batch_limit_refuses_what_is_longer(
    lying_proxy: LyingProxy, http: aiohttp.ClientSession, how: Literal["413", "error"], status: int
) -> None:
    """As HTTP 413, or as one error object in place of the array; a batch within the limit passes."""
    lying_proxy.batch_limit = BatchLimit(2, how)
    async with http.post(lying_proxy.url, json=calls("eth_chainId", "eth_chainId", "eth_chainId")) as response:
        assert response.status == status
        assert how == "413" or isinstance(await response.json(), dict)
    async with http.post(lying_proxy.url, json=calls("eth_chainId", "eth_chainId")) as response:
        assert len(await response.json()) == 2


async def test_an_answer_is_held_until_it_is_released(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """A held answer goes out unchanged after its release."""
    asked, release = asyncio.Event(), asyncio.Event()

    def hold(_method: str, _params: list[Any], _answer: Answer) -> Fault:
        asked.set()
        return Held(release)

    lying_proxy.rule = hold
    waiting = asyncio.create_task(http.post(lying_proxy.url, json=calls("eth_chainId")[0]))
    async with asyncio.timeout(10):
        await asked.wait()
    assert not waiting.done()
    release.set()
    async with await waiting as response:
        assert (await response.json())["result"] == hex(31337)


async def test_a_node_that_is_gone_is_a_502(lying_proxy: LyingProxy, http: aiohttp.ClientSession) -> None:
    """The proxy stays up when `upstream` does not answer."""
    lying_proxy.upstream = "http://127.0.0.1:1"
    async with http.post(lying_proxy.url, json=calls("eth_chainId")[0]) as response:
        assert response.status == 502
