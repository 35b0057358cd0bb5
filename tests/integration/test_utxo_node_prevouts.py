"""What transactions in blocks spend, and what their inputs show, by whichever way a real node has."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from chainbell.domain.chain import Capability
from chainbell.domain.utxo import Lacking, Making, Prevout, UtxoBlock, UtxoTransaction, outpoint
from chainbell.nodes.errors import BadAnswerError
from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon, satoshis
from tests.fixtures_nodes import Starter
from tests.rpcproxy import Answer, ErrorObject, Fault, LyingProxy
from tests.utxo_reading import reading

DAEMONS = pytest.mark.parametrize("daemon", [Bitcoind, Litecoind])
PROMISED = frozenset({Capability.COIN, Capability.MEMPOOL})
WAIT = 30.0


def every(blocks: Sequence[UtxoBlock]) -> Lacking:
    return Lacking(frozenset(each.hash for block in blocks for each in block.transactions))


def spent(blocks: Sequence[object]) -> dict[str, tuple[Prevout | None, ...] | None]:
    known = [block for block in blocks if isinstance(block, UtxoBlock)]
    return {each.hash.hex(): each.prevouts for block in known for each in block.transactions}


async def expected_prevouts(daemon: UtxoDaemon, transaction: UtxoTransaction) -> tuple[Prevout, ...]:
    """Say what a transaction of the wallet spends, from what its wallet says of the transactions before it."""
    found = []
    for point in transaction.outpoints:
        raw = await daemon.raw(point[31::-1].hex())
        made = (await daemon.rpc("decoderawtransaction", raw))["vout"][int.from_bytes(point[32:], "little")]
        found.append(Prevout(bytes.fromhex(made["scriptPubKey"]["hex"]), satoshis(made["value"])))
    return tuple(found)


@pytest.mark.parametrize(
    ("daemon", "txindex", "known"),
    [(Bitcoind, False, True), (Bitcoind, True, True), (Litecoind, True, True), (Litecoind, False, False)],
)
async def test_prevouts_of_blocks(another: Starter, daemon: type[UtxoDaemon], txindex: bool, known: bool) -> None:
    """What a block's transactions spend is told by undo data or by an index; without both it is said not to be known."""
    node = await another(daemon(txindex=txindex))
    await node.fund(3)
    first = await node.send(await node.new_address(), 5_000_000)
    await node.mine()
    coins = await node.coins(minimum_depth=1)
    second = await node.raw_transaction(
        coins, [(await node.new_address("legacy"), sum(each.amount for each in coins) - 9_000)]
    )
    await node.mine(2)
    async with reading(node.url) as reader:
        blocks = await reader.blocks_from(104, 106)
        assert all(each.prevouts is None for block in blocks for each in block.transactions)
        # Alone, so that the one does not stand beside the other that it spends.
        done = [await reader.complete([block], every(blocks)) for block in blocks]
        found = {txid: prevouts for each in done for txid, prevouts in spent(each).items()}
        for transaction in [each for block in blocks for each in block.transactions]:
            expected = await expected_prevouts(node, transaction) if known else (None,) * len(transaction.outpoints)
            if transaction.making is Making.COINBASE:
                expected = ()
            assert found[transaction.hash.hex()] == expected
        assert len(found[first] or ()) == 1
        assert len(found[second] or ()) == len(coins) > 1
        some = await reader.complete(blocks, Lacking(frozenset({bytes.fromhex(second)})))
        assert {txid for txid, prevouts in spent(some).items() if prevouts is not None} == {second}


async def test_prevouts_made_near_by_need_no_node(another: Starter) -> None:
    """What was made in the same blocks is known from them, also with a node that knows no prevouts."""
    node = await another(Litecoind())
    await node.fund()
    parent = await node.send(await node.new_address(), 5_000_000)
    made = next(each for each in await node.coins() if each.txid == parent)
    child = await node.raw_transaction([made], [(await node.new_address(), made.amount - 20_000)])
    await node.mine()
    async with reading(node.url) as reader:
        blocks = await reader.blocks_from(102, 102)
        found = spent(await reader.complete(blocks, every(blocks)))
    assert found[parent] == (None,)
    assert found[child] == (Prevout(await node.script(made.address), made.amount),)


async def test_what_a_node_can_is_learned_anew(another: Starter) -> None:
    """A node that could not tell prevouts, and is started again with an index, tells them then."""
    node = await another(Litecoind())
    await node.fund()
    txid = await node.send(await node.new_address(), 5_000_000)
    await node.mine()
    async with reading(node.url) as reader:
        blocks = await reader.blocks_from(102, 102)
        assert spent(await reader.complete(blocks, every(blocks)))[txid] == (None,)
        await reader.close()
        await node.restart("-txindex=1")
        async with asyncio.timeout(WAIT):
            while not (await node.rpc("getindexinfo"))["txindex"]["synced"]:
                await asyncio.sleep(0.02)
        (prevout,) = spent(await reader.complete(blocks, every(blocks)))[txid] or ()
        assert prevout is not None
        assert prevout.amount > 5_000_000


@pytest.mark.parametrize("error", [None, -5, -3])
async def test_a_block_without_undo_data_is_no_rule(another: Starter, error: int | None) -> None:
    """What is said of one block without undo data holds for no other: not beside it, not after it."""
    node = await another(Bitcoind())
    await node.fund(3)
    txids = []
    for _ in range(3):
        txids += [await node.send(await node.new_address(), 5_000_000) for _ in range(2)]
        await node.mine()
    first = await node.height() - 2
    without: set[str] = set()

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        if method != "getrawtransaction" or params[2:] == [] or params[2] not in without:
            return answer
        if error is not None:
            return ErrorObject(error, "not for this block")
        told = answer["result"]
        return {
            **answer,
            "result": {**told, "vin": [{k: v for k, v in each.items() if k != "prevout"} for each in told["vin"]]},
        }

    async with LyingProxy(node.url, rule=rule) as proxy, reading(proxy.url) as reader:
        blocks = await reader.blocks_from(first, first + 2)

        async def known(*chosen: UtxoBlock) -> list[bool]:
            """Say of each payment in these blocks, in order, whether its prevouts were told."""
            found = [await reader.complete([block], every([block])) for block in chosen]
            told = {txid: prevouts for each in found for txid, prevouts in spent(each).items()}
            return [None not in (told[txid] or ()) for txid in txids if txid in told]

        without.add(blocks[0].ref.hash.hex())
        assert await known(*blocks) == [False, False, True, True, True, True]
        without.add(blocks[1].ref.hash.hex())
        assert await known(*reversed(blocks)) == [False, False, False, False, True, True]
        together = spent(await reader.complete(blocks, every(blocks)))
        assert [None not in (together[txid] or ()) for txid in txids[4:]] == [True, True], "asked for together"
        without.clear()
        assert await known(*blocks) == [True] * 6
        asked = proxy.calls["getrawtransaction"]
        await reader.complete(blocks, every(blocks))
        assert proxy.calls["getrawtransaction"] - asked <= len(txids), "each is asked for once"


async def test_amounts_that_no_transaction_can_have(another: Starter) -> None:
    """What a node says of prevouts is its mere word: a transaction that makes more than it spends is named, and refused."""
    node = await another(Bitcoind())
    await node.fund(3)
    txid = await node.send(await node.new_address(), 5_000_000)
    told: float = 0.0

    def rule(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        lied: Any = answer["result"]
        if method == "gettxout" and lied is not None:
            return {**answer, "result": {**lied, "value": told}}
        if method == "getrawtransaction" and params[1] == 2:
            spent = [{**each, "prevout": {**each["prevout"], "value": told}} for each in lied["vin"]]
            return {**answer, "result": {**lied, "vin": spent}}
        return answer

    async with LyingProxy(node.url, rule=rule) as proxy, reading(proxy.url) as reader:
        view = await reader.mempool(frozenset())
        (transaction,) = view.arrived
        assert len(transaction.outpoints) == 1
        made = sum(transaction.amounts)
        refused = rf"node the node: by what it says of its inputs, transaction {txid} makes {{}} more in base units"
        for lie, more in ((0.00000001, made - 1), ((made - 1) / 10**8, 1)):
            told = lie
            with pytest.raises(BadAnswerError, match=refused.format(more)):
                await reader.complete_view(view, Lacking(frozenset({transaction.hash})))
        told = made / 10**8
        (done,) = (await reader.complete_view(view, Lacking(frozenset({transaction.hash})))).arrived
        assert sum(each.amount for each in done.prevouts or () if each is not None) == made
        await node.mine()
        blocks = await reader.blocks_from(await node.height(), await node.height())
        told = (made - 1) / 10**8
        with pytest.raises(BadAnswerError, match=refused.format(1)):
            await reader.complete(blocks, every(blocks))
        told = made / 10**8
        assert txid in spent(await reader.complete(blocks, every(blocks)))


async def test_a_node_that_may_not_tell_of_its_index(another: Starter) -> None:
    """Whoever is not let ask whether there is an index of transactions asks for them all the same."""
    node = await another(Litecoind(txindex=True))
    await node.fund()
    txid = await node.send(await node.new_address(), 5_000_000)
    await node.mine()
    await node.restart("-rpcwhitelist=test:getblockchaininfo,stop,getblockhash,getblock,getrawtransaction")
    async with reading(node.url) as reader:
        blocks = await reader.blocks_from(102, 102)
        assert None not in (spent(await reader.complete(blocks, every(blocks)))[txid] or (None,))


@DAEMONS
async def test_what_inputs_reveal(another: Starter, daemon: type[UtxoDaemon]) -> None:
    """Read once more, a block's inputs show the scripts that they unlock, whether prevouts are known or not."""
    node = await another(daemon())
    await node.fund(2)
    kinds = ("legacy", "p2sh-segwit", "bech32")
    await node.send_many({await node.new_address(kind): 5_000_000 for kind in kinds})
    await node.mine()
    coins = [each for each in await node.coins(minimum_depth=1) if each.amount == 5_000_000]
    txid = await node.raw_transaction(coins, [(await node.new_address(), 14_000_000)])
    await node.mine()
    async with reading(node.url) as reader:
        blocks = await reader.blocks_from(104, 104)
        (block,) = await reader.complete(blocks, Lacking(frozenset(), revealed=True))
        assert isinstance(block, UtxoBlock)
        revealed = next(each.revealed for each in block.transactions if each.hash.hex() == txid)
    scripts = [await node.script(each.address) for each in coins]
    assert len(scripts) == 3
    assert all(script in fitting for script, fitting in zip(scripts, revealed or (), strict=True))


async def test_an_extension_block_is_read(another: Starter) -> None:
    """Litecoin's blocks with MWEB are read whole: their HogEx is what pegs out, and its inputs' amounts are told."""
    node = await another(Litecoind(txindex=True))
    await node.fund(5)
    pegin = await node.activate_mweb()
    height = await node.height()
    async with reading(node.url, mweb=True) as reader:
        await reader.prove(PROMISED)
        blocks = await reader.blocks_from(height - 1, height)
        assert blocks[-1].transactions[-1].making is Making.PEG_OUT
        assert pegin in [each.hash.hex() for each in blocks[-1].transactions]
        found = spent(await reader.complete(blocks[-1:], every(blocks)))
        assert None not in (found[pegin] or (None,))
        hogex = blocks[-1].transactions[-1]
        assert None not in (found[hogex.hash.hex()] or (None,))
        assert any(point == outpoint(bytes.fromhex(pegin), index) for point in hogex.outpoints for index in range(4))
