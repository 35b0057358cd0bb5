"""`chainbell doctor` says of real nodes what they can do, and what is lost without the rest."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.bitcoin import Bitcoind, Litecoind
from tests.command import Ended, chainbell
from tests.fixtures_nodes import Starter
from tests.nodes import Anvil
from tests.rpcproxy import Answer, ErrorObject, Fault, LyingProxy, NotJson

pytestmark = pytest.mark.timeout(120)

DEAD = "http://user:hunter22@127.0.0.1:9/v3/0123456789abcdef0123456789abcdef"
SECRETS = ("hunter22", "0123456789abcdef")


async def doctor(tmp_path: Path, *options: str, **nodes: str) -> Ended:
    settings = {f"NODES__{name.upper()}": url for name, url in nodes.items()}
    return await asyncio.to_thread(chainbell, "doctor", *options, cwd=tmp_path, **settings)


async def findings(tmp_path: Path, code: int = 0, **nodes: str) -> list[dict[str, Any]]:
    """Return for each node what was found, by aspect."""
    ended = await doctor(tmp_path, "--json", **nodes)
    assert ended.code == code, (ended.out, ended.err)
    return [{each["aspect"]: each for each in line["findings"]} for line in ended.lines]


def states(found: dict[str, Any]) -> dict[str, str]:
    return {aspect: each["state"] for aspect, each in found.items()}


async def test_a_bitcoind_with_everything(another: Starter, tmp_path: Path) -> None:
    """Nothing is lost with prevouts, full replacement, and ZMQ that is heard."""
    node = await another(Bitcoind(zmq=("hashblock", "rawtx", "sequence"), txindex=True))
    await node.fund()
    await node.send(await node.new_address(), 50_000)
    await node.mine()

    async def pay() -> None:
        while True:
            await node.mine()
            await asyncio.sleep(0.2)

    paying = asyncio.create_task(pay())
    try:
        (found,) = await findings(tmp_path, bitcoin_regtest=f"{node.url}?zmq={node.zmq_url}")
    finally:
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
    assert set(states(found).values()) == {"ok", "not used"}
    assert not [each for each in found.values() if each["loses"]]
    assert found["zmq"]["found"].startswith("connected to hashblock, rawtx, sequence, heard hashblock")
    assert "Knots" in found["version"]["found"]
    assert found["txindex"]["found"] == "on"


async def test_a_bitcoind_with_less(another: Starter, tmp_path: Path) -> None:
    """A pruned node whose ZMQ tells no payments: both are named, with what is lost; a node of another chain is refused."""
    node = await another(Bitcoind(prune=1, zmq=("hashblock",), args=["-fastprune"]))
    await node.mine(1000)
    lowest = await node.prune_below(700) + 1
    (found,) = await findings(tmp_path, bitcoin_regtest=f"{node.url}?zmq={node.zmq_url}")
    assert found["pruning"]["state"] == "limited"
    assert found["pruning"]["found"] == f"on: blocks from {lowest} on are kept"
    assert "halts" in found["pruning"]["loses"]
    assert found["zmq"]["state"] == "limited"
    assert found["zmq"]["loses"].startswith("new payments are noticed by polling alone")
    assert found["prevouts"]["state"] == "ok"
    (unheard,) = await findings(tmp_path, bitcoin_regtest=f"{node.url}?zmq=tcp://127.0.0.1:9")
    assert unheard["zmq"]["found"] == "cannot connect to tcp://127.0.0.1:9"
    (unasked,) = await findings(tmp_path, bitcoin_regtest=node.url)
    assert unasked["zmq"]["found"] == "it publishes hashblock, and its URL has no option zmq"


async def test_a_litecoind(another: Starter, tmp_path: Path) -> None:
    """It tells no prevouts: without an index senders are unknown, with one they are told. It has no ZMQ."""
    bare, indexed = await another(Litecoind()), await another(Litecoind(txindex=True))
    for node in (bare, indexed):
        await node.fund()
        await node.send(await node.new_address(), 50_000)
        await node.mine()
    lacking, well = await findings(tmp_path, litecoin_regtest=f"{bare.url},{indexed.url}")
    assert lacking["prevouts"]["state"] == lacking["txindex"]["state"] == "limited"
    assert "senders of deposits are unknown (screening cannot judge them)" in lacking["txindex"]["loses"]
    assert well["prevouts"]["found"].startswith("by the transaction index")
    for found in (lacking, well):
        assert found["blocks"]["state"] == found["mempool"]["state"] == found["scantxoutset"]["state"] == "ok"
        assert found["zmq"]["state"] == "limited"
        assert found["replacement"]["state"] == "unknown"


async def test_a_chain_without_payments_is_judged_by_the_manual(another: Starter, tmp_path: Path) -> None:
    """Where no new block has a payment, the node's own help says whether it tells what is spent."""
    bitcoind, litecoind = await another(Bitcoind()), await another(Litecoind())
    bitcoin, litecoin = await findings(tmp_path, bitcoin_regtest=bitcoind.url, litecoin_regtest=litecoind.url)
    assert bitcoin["prevouts"]["state"] == "ok"
    assert litecoin["prevouts"]["state"] == "limited"


async def test_an_anvil(anvil: Anvil, tmp_path: Path) -> None:
    """It can do everything; a table shows it. Without a websocket the wait for a new block is named."""
    (found,) = await findings(tmp_path, anvil=f"{anvil.url}?ws={anvil.ws_url}")
    assert set(states(found).values()) == {"ok", "not used"}
    assert found["traces"]["found"] == "debug_traceBlockByHash, trace_block"
    assert found["batches"]["found"] == "100 requests at once"
    (deaf,) = await findings(tmp_path, anvil=anvil.url)
    assert deaf["websocket"]["loses"].startswith("a new block is noticed by polling alone")
    (wrong,) = await findings(tmp_path, anvil=f"{anvil.url}?ws=ws://127.0.0.1:9")
    assert wrong["websocket"]["state"] == "limited"
    shown = await doctor(tmp_path, anvil=anvil.url)
    assert shown.code == 0
    assert f"anvil: {anvil.url}" in shown.out
    assert "announces" not in shown.out
    assert "its URL has no option ws" in shown.out


async def test_an_evm_node_with_less(lying_proxy: LyingProxy, tmp_path: Path) -> None:
    """What a provider refuses is named, and what it costs; the chain can be followed all the same."""
    refused = {"eth_getBlockReceipts", "debug_traceBlockByHash", "trace_block", "txpool_status"}
    lying_proxy.rule = lambda method, params, answer: ErrorObject(-32601, "no such method") if method in refused else answer
    (found,) = await findings(tmp_path, anvil=lying_proxy.url)
    assert found["receipts"]["state"] == "limited"
    assert "a request of its own" in found["receipts"]["loses"]
    assert found["traces"]["found"] == "none"
    assert found["blocks"]["state"] == "ok"


async def test_bad_nodes_stop_nobody_and_show_no_secret(anvil: Anvil, bitcoind: Bitcoind, tmp_path: Path) -> None:
    """A dead node, one of another chain and one that refuses us are named; a chain with no other ends the command with 1."""
    other_chain = bitcoind.url
    refusing = bitcoind.bare_url.replace("://", "://user:hunter22@")
    nodes = {"anvil": f"{DEAD},{anvil.url}", "bitcoin_regtest": f"{refusing},{DEAD}", "bitcoin": other_chain}
    ended = await doctor(tmp_path, "--json", **nodes)
    assert ended.code == 1
    assert [line["usable"] for line in ended.lines] == [False, True, False, False, False]
    assert "cannot connect" in ended.lines[0]["findings"][0]["found"]
    assert "401" in ended.lines[2]["findings"][0]["found"]
    assert "expected genesis 000000000019d6689c085ae1" in ended.lines[4]["findings"][0]["found"]
    assert "chain bitcoin-regtest cannot be followed" in ended.err
    assert "chain bitcoin cannot be followed" in ended.err
    assert "chain anvil" not in ended.err
    table = await doctor(tmp_path, **nodes)
    assert table.code == 1
    password = bitcoind.url.partition("@")[0].rpartition(":")[2]
    for secret in (*SECRETS, password):
        assert secret not in ended.out + ended.err + table.out + table.err


async def test_a_node_that_answers_nonsense_is_judged_all_the_same(lying_proxy: LyingProxy, tmp_path: Path) -> None:
    """Whatever a node answers, the command ends with its table."""
    lying_proxy.rule = lambda method, params, answer: {"result": ["nonsense", None, {}]}
    (found,) = await findings(tmp_path, code=1, anvil=lying_proxy.url)
    assert found["chain"]["state"] == "unusable"


async def test_only_the_publisher_that_is_named_counts(another: Starter, tmp_path: Path) -> None:
    """A topic that a node publishes elsewhere than at the publisher in its URL does not reach us, and is not claimed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        elsewhere = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    node = await another(Bitcoind(zmq=("hashblock",), args=(f"-zmqpubrawtx={elsewhere}",)))
    (found,) = await findings(tmp_path, bitcoin_regtest=f"{node.url}?zmq={node.zmq_url}")
    assert found["zmq"]["state"] == "limited"
    assert found["zmq"]["found"].startswith("connected to hashblock, ")
    assert "it publishes rawtx at another address" in found["zmq"]["loses"]
    (both,) = await findings(tmp_path, bitcoin_regtest=f"{node.url}?zmq={node.zmq_url}%2C{elsewhere}")
    assert both["zmq"]["found"].startswith("connected to hashblock, rawtx, ")
    assert both["zmq"]["state"] == "ok"


async def test_a_node_that_takes_no_payments_from_its_peers(another: Starter, tmp_path: Path) -> None:
    """A mempool that holds what is sent through the node alone is limited, and it is said why."""
    node = await another(Bitcoind(args=("-blocksonly=1",)))
    (found,) = await findings(tmp_path, bitcoin_regtest=node.url)
    assert found["mempool"]["state"] == "limited"
    assert "takes none from its peers (blocksonly)" in found["mempool"]["found"]
    assert "without blocksonly=1" in found["mempool"]["loses"]


async def test_a_node_that_may_not_be_asked_everything(another: Starter, tmp_path: Path) -> None:
    """A whitelist without a method that following needs makes a node unusable; without one for the rest it says less."""
    node = await another(Bitcoind())
    await node.mine()
    needed = (
        "getblockcount,getblockchaininfo,getblockhash,getbestblockhash,getblockheader,getblock,"
        "getmempoolinfo,getrawtransaction,gettxout"
    )
    await node.restart(f"-rpcwhitelist=test:stop,{needed}")
    (lacking,) = await findings(tmp_path, code=1, bitcoin_regtest=node.url)
    assert lacking["blocks"]["state"] == "unusable"
    assert "rpcwhitelist (asked for getrawmempool)" in lacking["blocks"]["found"]
    await node.restart(f"-rpcwhitelist=test:stop,{needed},getrawmempool")
    (found,) = await findings(tmp_path, bitcoin_regtest=node.url)
    assert found["blocks"]["state"] == "ok"
    assert found["txindex"]["state"] == "unknown"
    assert "rpcwhitelist" in found["txindex"]["found"]
    assert found["scantxoutset"]["state"] == "limited"


async def test_a_number_that_is_none_ends_nothing(another: Starter, tmp_path: Path) -> None:
    """A node that answers a number with an endless exponent answers badly, and the command ends with its table."""
    node = await another(Bitcoind())
    await node.mine()

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        number = "1e-99999999999999999999"
        body = f'{{"result": {{"relayfee": {number}}}, "error": null, "id": {answer["id"]}}}'
        return NotJson(body) if method == "getnetworkinfo" else answer

    async with LyingProxy(node.url, rule=rule) as proxy:
        (found,) = await findings(tmp_path, bitcoin_regtest=proxy.url)
    assert found["version"]["state"] == "unknown"
    assert "not JSON (InvalidOperation)" in found["version"]["found"]
    assert found["blocks"]["state"] == found["mempool"]["state"] == "ok"


async def test_no_nodes(tmp_path: Path) -> None:
    """Without any node there is nothing to examine: the message says what to set."""
    ended = await doctor(tmp_path)
    assert ended.code == 1
    assert "CHAINBELL_NODES__" in ended.err
