"""The harness itself: bitcoind and litecoind do what tests rely on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.bitcoin import COIN, Bitcoind, Litecoind, RpcError, UtxoDaemon
from tests.fixtures_nodes import Starter

DAEMONS = [Bitcoind, Litecoind]


@pytest.fixture(params=DAEMONS, ids=["bitcoind", "litecoind"])
async def daemon(request: pytest.FixtureRequest, another: Starter) -> UtxoDaemon:
    """Run a node of each kind with three mature coins."""
    kind: type[UtxoDaemon] = request.param
    node = await another(kind())
    await node.fund(3)
    return node


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_starts_quickly_and_leaves_nothing(another: Starter) -> None:
    """A node answers within two seconds with a wallet, and is gone with its folder after its test."""
    for kind in DAEMONS:
        began = time.monotonic()
        async with kind() as node:
            assert time.monotonic() - began < 2.0
            assert await node.rpc("getbalance") == 0
            pid, folder = node.pid, node.folder
            assert folder.is_dir()
        assert not folder.exists()
        assert not is_alive(pid)


async def test_two_nodes_never_share_a_port(another: Starter) -> None:
    """Nodes that run at once have ports of their own."""
    nodes = [await another(Bitcoind()), await another(Bitcoind()), await another(Litecoind())]
    assert len({node.bare_url for node in nodes} | {node.p2p_address for node in nodes}) == 6


async def test_pays_and_replaces(daemon: UtxoDaemon) -> None:
    """A payment waits in the mempool, can be replaced by one with a higher fee, and is mined."""
    address = await daemon.new_address()
    first = await daemon.send(address, 12_345, fee_rate=20)
    assert await daemon.mempool() == [first]
    second = await daemon.bump(first, fee_rate=60)
    assert await daemon.mempool() == [second]
    both = await daemon.send_many({address: 5_000, await daemon.new_address("legacy"): 7_000})
    (mined,) = await daemon.mine()
    block = await daemon.block(mined)
    assert {each["txid"] for each in block["tx"][1:]} == {second, both}
    assert len(await daemon.raw_block(mined)) == block["size"]


async def test_spends_as_told(daemon: UtxoDaemon) -> None:
    """A transaction of given inputs and outputs may pay one address twice, and any script."""
    (coin, *_) = await daemon.coins(minimum_depth=1)
    address = await daemon.new_address()
    odd = bytes.fromhex("5203616263")
    txid = await daemon.raw_transaction(
        [coin], [(address, COIN), (address, COIN), (odd, COIN), (address, coin.amount - 4 * COIN)]
    )
    paid = (await daemon.rpc("getrawtransaction", txid, True))["vout"]
    assert [each["value"] for each in paid] == [1, 1, 1, 46]
    assert [each["scriptPubKey"]["hex"] for each in paid] == [
        (await daemon.script(address)).hex(),
        (await daemon.script(address)).hex(),
        odd.hex(),
        (await daemon.script(address)).hex(),
    ]


async def test_reorganises(daemon: UtxoDaemon) -> None:
    """A reorg replaces blocks by other ones, returns their transactions, and can be taken back."""
    txid = await daemon.send(await daemon.new_address(), 50_000)
    old = await daemon.mine(2)
    new = await daemon.reorg(2, empty=True)
    assert await daemon.mempool() == [txid]
    assert await daemon.block_hash() == new[-1]
    await daemon.invalidate(new[0])
    await daemon.reconsider(old[0])
    assert await daemon.block_hash() == old[-1]
    assert await daemon.mempool() == []
    with pytest.raises(AssertionError, match="the tip did not change"):
        await daemon.invalidate(new[1])


async def test_keeps_and_loses_its_mempool(daemon: UtxoDaemon) -> None:
    """The mempool outlives an orderly restart, and is lost on demand; payments go on afterwards."""
    txid = await daemon.send(await daemon.new_address(), 50_000)
    await daemon.restart()
    assert await daemon.mempool() == [txid]
    await daemon.lose_mempool()
    again = await daemon.send(await daemon.new_address(), 50_000)
    assert await daemon.mempool() == [again]
    await daemon.kill()
    await daemon.start()
    assert await daemon.height() == 103


async def test_forks_and_rejoins(daemon: UtxoDaemon, another: Starter) -> None:
    """Two nodes share blocks and payments, grow two chains while parted, and agree on the longer one."""
    other = await another(type(daemon)())
    await daemon.connect(other)
    await daemon.disconnect(other)
    await daemon.mine(2)
    longer = await other.mine(3)
    assert await daemon.block_hash() != longer[-1]
    await daemon.connect(other)
    assert await daemon.block_hash() == longer[-1]
    await other.has_transaction(await daemon.send(await daemon.new_address(), 50_000))


async def test_says_why_not(daemon: UtxoDaemon) -> None:
    """What the daemon refuses is raised with its code; a wrong password with the HTTP status."""
    with pytest.raises(RpcError) as refused:
        await daemon.rpc("getblockhash", 10_000)
    assert refused.value.code == -8
    daemon.url = daemon.bare_url
    with pytest.raises(RpcError) as unknown:
        await daemon.rpc("getblockcount")
    assert unknown.value.code == 401


async def test_cookie_changes_at_each_start(another: Starter) -> None:
    """With a cookie the credentials are in its file, and others after a restart."""
    node = await another(Bitcoind(cookie=True))
    before = node.cookie_file.read_text()
    await node.restart()
    assert node.cookie_file.read_text() != before
    assert await node.height() == 0


async def test_prunes(another: Starter) -> None:
    """A pruned node forgets its old blocks on demand."""
    node = await another(Bitcoind(prune=1, args=["-fastprune"]))
    await node.mine(1000)
    last = await node.prune_below(700)
    with pytest.raises(RpcError, match="pruned"):
        await node.block(last)
    assert (await node.block(last + 1))["height"] == last + 1


async def test_pegs_in_and_out(litecoind: Litecoind) -> None:
    """Litecoin's blocks carry MWEB data after a peg-in, and its HogEx pays a peg-out."""
    peg_in = await litecoind.activate_mweb()
    block = await litecoind.block()
    assert peg_in in [each["txid"] for each in block["tx"]]
    assert block["mweb"]["height"] == 432
    address = await litecoind.new_address("legacy")
    txid, index = await litecoind.peg_out(address, COIN)
    hogex = (await litecoind.block())["tx"][-1]
    assert hogex["txid"] == txid
    assert hogex["vout"][index]["value"] == 1


async def test_cut_off_node_hears_nothing(bitcoind: Bitcoind, another: Starter) -> None:
    """A node whose network is off parts from its peers until it is connected anew."""
    other = await another(Bitcoind())
    await bitcoind.connect(other)
    await bitcoind.set_network_active(False)
    mined = await bitcoind.mine()
    assert await other.block_hash() != mined[-1]
    await bitcoind.set_network_active(True)
    await bitcoind.connect(other)
    assert await other.block_hash() == mined[-1]
