"""A node's mempool as the adapter shows it: at one tip, parents first, with what is spent."""

from typing import Any

import pytest

from chainbell.domain.errors import NodeError
from chainbell.domain.utxo import Lacking, MempoolView, Prevout
from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, Fault, LyingProxy
from tests.utxo_reading import reading

DAEMONS = pytest.mark.parametrize("daemon", [Bitcoind, Litecoind])


def all_of(view: MempoolView) -> Lacking:
    return Lacking(frozenset(each.hash for each in view.arrived), revealed=True)


async def chained(node: UtxoDaemon, length: int) -> list[str]:
    """Send transactions of which each spends the one before; their txids in this order."""
    txids = [await node.send(await node.new_address(), 50_000_000)]
    for _ in range(length - 1):
        made = next(each for each in await node.coins() if each.txid == txids[-1])
        txids.append(await node.raw_transaction([made], [(await node.new_address(), made.amount - 30_000)]))
    return txids


@DAEMONS
async def test_a_view(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """All that waits is there, parents before children; what was known is not read again; the tip is the node's."""
    node = await another(daemon())
    await node.fund(3)
    async with reading(node.url) as reader:
        empty = await reader.mempool(frozenset())
        assert (empty.node, empty.arrived, list(empty.present), empty.loaded) == (reader.place, (), [], True)
        txids = await chained(node, 6)
        view = await reader.mempool(empty.present)
        assert view.tip.hex() == await node.block_hash()
        assert [each.hash.hex() for each in view.arrived] == txids
        assert {txid.hex() for txid in view.present} == set(txids)
        known = view.present
        later = await node.send(await node.new_address(), 1_000_000)
        view = await reader.mempool(known)
        assert [each.hash.hex() for each in view.arrived] == [later]
        assert set(view.present) == {*known, bytes.fromhex(later)}
        await node.mine()
        view = await reader.mempool(view.present)
        assert (view.arrived, list(view.present), view.tip.hex()) == ((), [], await node.block_hash())


@DAEMONS
async def test_what_waiting_transactions_spend(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Prevouts are told without any index: of confirmed and of waiting parents, whether they arrived now or before."""
    node = await another(daemon())
    await node.fund(3)
    txids = await chained(node, 4)
    async with reading(node.url) as reader:
        whole = await reader.mempool(frozenset())
        known = {bytes.fromhex(txid) for txid in txids[:2]}
        part = await reader.mempool(known)
        assert [each.hash.hex() for each in part.arrived] == txids[2:]
        for view in (whole, part):
            done = await reader.complete_view(view, all_of(view))
            assert done.present == view.present
            assert [each.hash for each in done.arrived] == [each.hash for each in view.arrived]
            for transaction in done.arrived:
                expected = []
                for point in transaction.outpoints:
                    parent = await node.rpc("decoderawtransaction", await node.raw(point[31::-1].hex()))
                    made = parent["vout"][int.from_bytes(point[32:], "little")]
                    expected.append(Prevout(bytes.fromhex(made["scriptPubKey"]["hex"]), int(made["value"] * 10**8)))
                assert transaction.prevouts == tuple(expected)
                assert all(
                    prevout.script in fitting
                    for prevout, fitting in zip(expected, transaction.revealed or (), strict=True)
                    if prevout.script[:1] != b"\x51"
                )


@DAEMONS
async def test_what_leaves_while_it_is_read(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """A transaction that is mined between two of our questions has not arrived."""
    node = await another(daemon())
    await node.fund(3)
    first = await node.send(await node.new_address(), 1_000_000)
    async with reading(node.url) as reader:
        view = await reader.mempool(frozenset())
        assert [each.hash.hex() for each in view.arrived] == [first]
        await node.mine()
        done = await reader.complete_view(view, all_of(view))
        assert done.arrived == ()
        listed = [first]

        def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
            return {**answer, "result": [*answer["result"], *listed]} if method == "getrawmempool" else answer

        async with LyingProxy(node.url, rule=rule) as proxy, reading(proxy.url) as late:
            second = await node.send(await node.new_address(), 1_000_000)
            view = await late.mempool(frozenset())
            assert [each.hash.hex() for each in view.arrived] == [second]


async def test_a_tip_that_moves_is_looked_at_again(bitcoind: Bitcoind) -> None:
    """A view belongs to one tip: it is read again when a block comes in between, and given up when that goes on."""
    moves = 2
    seen = 0

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        nonlocal seen
        if method != "getbestblockhash":
            return answer
        seen += 1
        # The first and the last entry of each batch.
        return {**answer, "result": f"{seen:064x}"} if seen <= 2 * moves else answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        view = await reader.mempool(frozenset())
        assert view.tip.hex() == await bitcoind.block_hash()
        assert seen == 6
        seen, moves = 0, 9
        with pytest.raises(NodeError, match="its tip moved each time"):
            await reader.mempool(frozenset())


@DAEMONS
async def test_a_restart_keeps_the_mempool(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """After an orderly restart the view is the same once the node has loaded; an evicted one is gone, loaded or not."""
    node = await another(daemon())
    await node.fund(3)
    txids = await chained(node, 3)
    async with reading(node.url) as reader:
        before = await reader.mempool(frozenset())
        await reader.close()
        await node.restart()
        while not (view := await reader.mempool(frozenset())).loaded:
            pass
        assert view == before
        assert {txid.hex() for txid in view.present} == set(txids)
        await reader.close()
        await node.lose_mempool()
        while not (view := await reader.mempool(before.present)).loaded:
            pass
        assert (view.arrived, list(view.present)) == ((), [])


async def test_a_mempool_that_is_not_loaded(bitcoind: Bitcoind) -> None:
    """A node that has not loaded its mempool yet says so, and one that never says is taken to have not."""
    said: dict[str, object] = {"loaded": False}

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        return {**answer, "result": said} if method == "getmempoolinfo" else answer

    async with LyingProxy(bitcoind.url, rule=rule) as proxy, reading(proxy.url) as reader:
        assert not (await reader.mempool(frozenset())).loaded
        said.clear()
        assert not (await reader.mempool(frozenset())).loaded


async def test_what_waits_for_the_extension_block(another: Starter) -> None:
    """Litecoin's mempool with peg-ins, peg-outs and payments inside of MWEB is read whole."""
    node = await another(Litecoind())
    await node.fund(5)
    await node.activate_mweb()
    pegin = await node.send(await node.new_address("mweb"), 200_000_000)
    outside = await node.send(await node.new_address(), 100_000_000)
    async with reading(node.url, mweb=True) as reader:
        view = await reader.mempool(frozenset())
        assert {txid.hex() for txid in view.present} == set(await node.mempool())
        assert {pegin, outside} <= {each.hash.hex() for each in view.arrived}
        done = await reader.complete_view(view, all_of(view))
        assert len(done.arrived) == len(view.arrived)
        assert all(None not in (each.prevouts or ()) for each in done.arrived)
