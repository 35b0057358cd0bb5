"""One EVM node, real and lying: tips, headers, whole blocks, tokens; and what must never be believed."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import COIN, BlockCheck, BlockRef
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.errors import BadAnswerError, NodeTimeoutError, NodeUnreachableError, RpcError, WrongChainError
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.rpc import Rpc
from tests.nodes import Anvil
from tests.rpcproxy import (
    Answer,
    BatchLimit,
    DropConnection,
    ErrorObject,
    Fault,
    Held,
    LyingProxy,
    Rule,
    SlowBody,
    TruncatedBody,
    honest,
)

ALL = frozenset(BlockCheck)
X = "0x00000000000000000000000000000000000000aa"
RECEIPTS = "eth_getBlockReceipts"


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def node_at(url: str, *, timeout: float = 20.0) -> EvmNode:
    return EvmNode(Rpc(Endpoint("http://node", url), timeout=timeout), checks=ALL)


@pytest_asyncio.fixture
async def node(lying_proxy: LyingProxy) -> AsyncIterator[EvmNode]:
    made = node_at(lying_proxy.url)
    yield made
    await made.close()


def only(method: str, then: Answer | Fault) -> Rule:
    """Give a rule that changes nothing but the answers to one method."""
    return lambda asked, _params, answer: then if asked == method else answer


async def fill(anvil: Anvil, blocks: int) -> None:
    """Mine blocks with one coin transfer of as much as their height."""
    for height in range(await anvil.height() + 1, await anvil.height() + 1 + blocks):
        await anvil.receipt(await anvil.send(anvil.accounts[0], X, height))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def coins(blocks: list[ScannedBlock]) -> list[int]:
    return [movement.amount for block in blocks for movement in block.movements]


def assert_linked(blocks: list[ScannedBlock]) -> None:
    for parent, child in pairwise(blocks):
        assert child.ref.parent_hash == parent.ref.hash
        assert child.ref.height == parent.ref.height + 1


async def test_identity(node: EvmNode, anvil: Anvil) -> None:
    """A node says its chain id and the hash of block 0."""
    identity = await node.identify()
    assert identity.chain_id == anvil.chain_id
    assert identity.genesis_hash == raw(await anvil.block_hash(0))


async def test_tip_and_headers(node: EvmNode, anvil: Anvil) -> None:
    """Headers come by height and by hash, linked as the chain is, and end where the chain ends."""
    await anvil.mine(30)
    headers = await node.headers(0, 30)
    assert [header.height for header in headers] == list(range(31))
    assert all(child.parent_hash == parent.hash for parent, child in pairwise(headers))
    assert await node.tip() == headers[-1]
    assert await node.header(headers[7].hash) == headers[7]
    assert await node.header(b"\1" * 32) is None
    assert await node.headers(29, 40) == headers[29:]
    assert await node.headers(31, 40) == []
    assert await node.headers(5, 4) == []


async def test_finalized(lying_proxy: LyingProxy) -> None:
    """The finalized block is the node's; a node without one, or without the tag, says so and fails nothing."""
    async with Anvil(slots_in_an_epoch=2) as anvil:
        lying_proxy.upstream = anvil.url
        node = node_at(lying_proxy.url)
        await anvil.mine(10)
        assert await node.finalized() == (await node.headers(6, 6))[0]
        for error in (ErrorObject(-39001, "Unknown block"), ErrorObject(-32602, "invalid tag")):
            lying_proxy.rule = only("eth_getBlockByNumber", error)
            assert await node.finalized() is None
        lying_proxy.rule = lambda _m, _p, answer: answer | {"result": None}
        assert await node.finalized() is None
        lying_proxy.rule = only("eth_getBlockByNumber", ErrorObject(-32603, "internal error"))
        with pytest.raises(RpcError):
            await node.finalized()
        await node.close()


async def test_blocks_by_hash_and_by_height_are_the_same(node: EvmNode, anvil: Anvil) -> None:
    """Whole blocks are the same whether read by hash or by height, in order, and linked."""
    await fill(anvil, 20)
    by_height = await node.blocks_from(0, 20)
    by_hash = await node.blocks(await node.headers(0, 20))
    assert by_hash == by_height
    assert_linked(by_height)
    assert coins(by_height) == list(range(1, 21))
    assert [block.ref for block in by_height] == await node.headers(0, 20)
    assert await node.blocks_from(19, 40) == by_height[19:]
    assert await node.blocks_from(21, 40) == []
    assert await node.blocks([]) == []


async def test_everything_that_moves(node: EvmNode, anvil: Anvil) -> None:
    """Coins and listed tokens are seen on both sides; spoofs, NFTs, internal transfers and zero amounts are not."""
    accounts = anvil.accounts
    token = await anvil.deploy("Token", "Tether", "USDT", 6, 10**12)
    spoof = await anvil.deploy("Token", "Tether", "USDT", 6, 10**12)
    nft = await anvil.deploy("Nft", "Apes", "APE")
    reverter, forwarder = await anvil.deploy("Reverter"), await anvil.deploy("Forwarder")
    first = await anvil.height() + 1
    await anvil.receipt(await anvil.invoke(accounts[0], token, "burst", X, [5, 0, 7, 5]))
    await anvil.receipt(await anvil.invoke(accounts[0], spoof, "spoof", accounts[1], X, 10**9))
    await anvil.receipt(await anvil.invoke(accounts[0], nft, "mint", X, 7))
    await anvil.receipt(await anvil.send(accounts[2], reverter, 777, gas=60_000))
    await anvil.receipt(await anvil.send(accounts[3], None, 888, data=bytes.fromhex("60006000f3")))
    await anvil.receipt(await anvil.invoke(accounts[4], forwarder, "forward", X, value=999))
    await anvil.receipt(await anvil.token_transfer(token, accounts[0], X, 0))
    node.list_tokens([raw(token), raw(nft)])
    blocks = await node.blocks_from(first, first + 6)
    assert [[(m.asset, m.amount, m.happened) for m in block.movements] for block in blocks] == [
        [(raw(token), 5, True), (raw(token), 7, True), (raw(token), 5, True)],
        [],
        [],
        [(COIN, 777, False)],
        [(COIN, 888, True)],
        [(COIN, 999, True)],
        [],
    ]
    assert [m.incoming_position for m in blocks[0].movements] == [0, 1, 2]
    created = await anvil.receipt("0x" + blocks[4].transactions[0].hash.hex())
    assert blocks[4].movements[0].recipient == raw(created["contractAddress"])
    assert blocks[5].movements[0].recipient == raw(forwarder)


async def test_fees_are_what_was_paid(node: EvmNode, anvil: Anvil) -> None:
    """The fee of a transaction is what its sender's balance lost beside the value, also when it failed."""
    reverter = await anvil.deploy("Reverter")
    sender = anvil.accounts[5]
    before = await anvil.balance(sender)
    await anvil.receipt(await anvil.send(sender, X, 1000))
    await anvil.receipt(await anvil.send(sender, reverter, 2000, gas=60_000))
    height = await anvil.height()
    blocks = await node.blocks_from(height - 1, height)
    paid = sum(transaction.fee for block in blocks for transaction in block.transactions)
    assert await anvil.balance(sender) == before - 1000 - paid


async def test_many_transactions_in_one_block(node: EvmNode, manual_anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """A block with transactions of many senders is read in their order."""
    lying_proxy.upstream = manual_anvil.url
    for amount in range(1, 41):
        await manual_anvil.send(manual_anvil.accounts[amount % 10], X, amount)
    await manual_anvil.mine()
    (block,) = await node.blocks_from(1, 1)
    assert sorted(coins([block])) == list(range(1, 41))
    assert len({transaction.hash for transaction in block.transactions}) == 40


async def test_an_op_stack_deposit(node: EvmNode, lying_proxy: LyingProxy) -> None:
    """A deposit from layer 1 moves its value, costs nothing here, and does not return when its block is orphaned."""
    async with Anvil(args=["--optimism"]) as anvil:
        lying_proxy.upstream = anvil.url
        deposit = {"type": "0x7e", "mint": "0x5", "value": "0x5", "sourceHash": "0x" + "11" * 32, "isSystemTx": False}
        sender = {"from": anvil.accounts[0], "to": anvil.accounts[1], "gas": "0x186a0"}
        receipt = await anvil.receipt(await anvil.rpc("eth_sendTransaction", deposit | sender))
        (block,) = await node.blocks_from(1, 1)
        (transaction,) = block.transactions
        assert (transaction.may_return, transaction.fee) == (False, 0)
        assert transaction.nonce == int(receipt["depositNonce"], 16)
        assert coins([block]) == [5, 5]


@pytest.mark.parametrize("fails", [False, True], ids=["moves on", "fails"])
async def test_an_op_stack_deposit_mints_for_its_sender(node: EvmNode, lying_proxy: LyingProxy, *, fails: bool) -> None:
    """What the movements say is what the balances of sender and recipient become, also where the call fails."""
    async with Anvil(args=["--optimism"]) as anvil:
        lying_proxy.upstream = anvil.url
        sender = anvil.accounts[0]
        recipient = await anvil.deploy("Reverter") if fails else anvil.accounts[1]
        before = {account: await anvil.balance(account) for account in (sender, recipient)}
        deposit = {"type": "0x7e", "mint": hex(9), "value": hex(5), "sourceHash": "0x" + "11" * 32, "isSystemTx": False}
        asked = deposit | {"from": sender, "to": recipient, "gas": "0x186a0"}
        receipt = await anvil.receipt(await anvil.rpc("eth_sendTransaction", asked))
        assert receipt["status"] == ("0x0" if fails else "0x1")
        height = int(receipt["blockNumber"], 16)
        (block,) = await node.blocks_from(height, height)
        assert [(m.amount, m.sender, m.recipient, m.happened) for m in block.movements] == [
            (9, None, raw(sender), True),
            (5, raw(sender), raw(recipient), not fails),
        ]
        for account, balance in before.items():
            happened = [m for m in block.movements if m.happened]
            change = sum(m.amount * ((m.recipient == raw(account)) - (m.sender == raw(account))) for m in happened)
            assert await anvil.balance(account) == balance + change


async def test_a_reorged_block_is_gone(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """Blocks that a reorg took away end the list: what is before them is given, and nothing is made up."""
    await fill(anvil, 12)
    refs = await node.headers(1, 12)
    await anvil.reorg(3)
    # Anvil keeps reorganised blocks by hash; most nodes forget or prune them.
    gone = {"0x" + ref.hash.hex() for ref in refs[9:]}
    lying_proxy.rule = lambda _m, params, answer: answer | {"result": None} if params[0] in gone else answer
    assert [block.ref for block in await node.blocks(refs)] == refs[:9]
    assert await node.blocks(refs[9:]) == []
    assert await node.header(refs[11].hash) is None
    fresh = await node.blocks_from(8, 12)
    assert_linked(fresh)
    assert {block.ref for block in fresh}.isdisjoint(refs[9:])


async def test_a_reorg_between_body_and_receipts(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """A block that is reorganised away between its body and its receipts is refused, and read anew the next time."""
    await fill(anvil, 5)
    release = asyncio.Event()
    lying_proxy.rule = lambda method, _p, answer: (
        Held(release) if method == "eth_getBlockByNumber" else answer | {"result": None}
    )
    reading = asyncio.create_task(node.blocks_from(3, 5))
    await until(lambda: lying_proxy.calls["eth_getBlockByNumber"] == 3)
    await anvil.reorg(3)
    release.set()
    with pytest.raises(BadAnswerError, match="no receipts"):
        await reading
    lying_proxy.rule = honest
    assert [block.transactions for block in await node.blocks_from(3, 5)] == [(), (), ()]


def cut(answer: Answer, how: Any) -> Answer:
    changed = copy.deepcopy(answer)
    how(changed["result"])
    return changed


RECEIPT_LIES: dict[str, tuple[Any, str]] = {
    "too early": (lambda receipts: receipts.clear(), "0 receipts for 1 transactions"),
    "one missing": (lambda receipts: receipts.pop(), "0 receipts"),
    "of another block": (lambda receipts: receipts[0].update(blockHash="0x" + "12" * 32), "another block's hash"),
    "of another transaction": (lambda receipts: receipts[0].update(transactionHash="0x" + "12" * 32), "another transaction"),
    "logs missing": (lambda receipts: receipts[0]["logs"].clear(), "bloom"),
    "gas": (lambda receipts: receipts[0].update(cumulativeGasUsed="0x1"), "gas"),
    "malformed": (lambda receipts: receipts[0].update(gasUsed="many"), "quantity"),
}


@pytest.mark.parametrize("name", RECEIPT_LIES)
@pytest.mark.parametrize("by", ["hash", "height"])
async def test_lying_receipts_are_refused(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy, name: str, by: str) -> None:
    """Receipts that come too early, are of another block, or lack anything refuse the block, whichever way it is read."""
    token = await anvil.deploy("Token", "Tether", "USDT", 6, 10**12)
    node.list_tokens([raw(token)])
    await anvil.receipt(await anvil.token_transfer(token, anvil.accounts[0], X, 5))
    how, reason = RECEIPT_LIES[name]
    lying_proxy.rule = lambda method, _p, answer: cut(answer, how) if method == RECEIPTS else answer

    async def read() -> list[ScannedBlock]:
        return await (node.blocks(await node.headers(2, 2)) if by == "hash" else node.blocks_from(2, 2))

    with pytest.raises(BadAnswerError, match=reason) as caught:
        await read()
    assert "node http://node: " in str(caught.value)
    lying_proxy.rule = honest
    assert coins(await read()) == [5]


async def test_another_blocks_receipts_are_refused(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """Receipts of a neighbour, whole and sound in themselves, are not taken for those of the block."""
    await fill(anvil, 2)
    other = await anvil.rpc(RECEIPTS, "0x1")
    lying_proxy.rule = lambda method, _p, answer: answer | {"result": other} if method == RECEIPTS else answer
    with pytest.raises(BadAnswerError, match="another block"):
        await node.blocks_from(2, 2)


async def test_another_block_than_asked_is_refused(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """A block of another hash or height than asked for is refused."""
    await fill(anvil, 3)
    refs = await node.headers(1, 2)
    other = await anvil.block(3, full=True)
    lying_proxy.rule = lambda method, _p, answer: answer if method == RECEIPTS else answer | {"result": other}
    for reading in (node.blocks(refs), node.blocks_from(1, 2), node.headers(1, 2), node.header(refs[0].hash)):
        with pytest.raises(BadAnswerError, match="asked for"):
            await reading


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(TruncatedBody(), BadAnswerError), (DropConnection(), NodeUnreachableError), (SlowBody(), NodeTimeoutError)],
)
async def test_broken_answers_give_nothing(
    anvil: Anvil, lying_proxy: LyingProxy, fault: Fault, expected: type[Exception]
) -> None:
    """When the receipts of a late part do not come whole, nothing of the range is given."""
    await fill(anvil, 20)
    last = await anvil.block_hash(20)
    node = node_at(lying_proxy.url, timeout=2)
    lying_proxy.rule = lambda _m, params, answer: fault if params[0] == last else answer
    with pytest.raises(expected):
        await node.blocks_from(1, 20)
    lying_proxy.rule = honest
    assert coins(await node.blocks_from(1, 20)) == list(range(1, 21))
    await node.close()


async def test_without_block_receipts(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """A node without eth_getBlockReceipts is asked for each transaction's, and no second time for what it has not."""
    await fill(anvil, 6)
    expected = await node.blocks_from(0, 6)
    lying_proxy.rule = only(RECEIPTS, ErrorObject(-32601, "the method eth_getBlockReceipts does not exist"))
    assert await node.blocks_from(0, 6) == expected
    asked = lying_proxy.calls[RECEIPTS]
    assert await node.blocks([block.ref for block in expected]) == expected
    assert lying_proxy.calls[RECEIPTS] == asked
    one = "eth_getTransactionReceipt"
    lying_proxy.rule = lambda method, _p, answer: answer | {"result": None} if method == one else answer
    with pytest.raises(BadAnswerError):
        await node.blocks_from(0, 6)


async def test_receipts_by_number_only(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """A node that takes only numbers is asked by number, and each receipt's block hash is checked."""
    await fill(anvil, 6)
    expected = await node.blocks_from(1, 6)
    other = await anvil.rpc(RECEIPTS, "0x1")

    def by_number(method: str, params: list[Any], answer: Answer) -> Answer | Fault:
        return ErrorObject(-32602, "number too large") if method == RECEIPTS and len(params[0]) == 66 else answer

    lying_proxy.rule = by_number
    assert await node.blocks([block.ref for block in expected]) == expected
    assert await node.blocks_from(1, 6) == expected
    lying_proxy.rule = lambda method, _p, answer: answer | {"result": other} if method == RECEIPTS else answer
    with pytest.raises(BadAnswerError, match="another block"):
        await node.blocks_from(2, 2)


@pytest.mark.parametrize("limit", [0, 2, 5])
async def test_bulk_reads_adapt(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy, limit: int) -> None:
    """Whatever a node allows in a batch, a range is read whole."""
    await fill(anvil, 25)
    lying_proxy.batch_limit = BatchLimit(limit)
    blocks = await node.blocks_from(1, 25)
    assert coins(blocks) == list(range(1, 26))
    assert_linked(blocks)


async def test_a_swapped_node_is_not_believed(anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """When another chain answers at the URL after a new connection, its answer is refused, not given."""
    node = node_at(lying_proxy.url)
    node.accept(await node.identify())
    assert (await node.tip()).height == 0
    async with Anvil(chain_id=4242) as other:
        await other.mine(5)
        lying_proxy.rule = only("eth_getBlockByNumber", DropConnection())
        with pytest.raises(NodeUnreachableError):
            await node.tip()
        lying_proxy.rule, lying_proxy.upstream = honest, other.url
        for reading in (node.tip(), node.headers(0, 5), node.blocks_from(0, 5), node.finalized()):
            with pytest.raises(WrongChainError, match="4242"):
                await reading
        lying_proxy.upstream = anvil.url
        assert (await node.tip()).height == 0
    await node.close()


async def test_token_facts(node: EvmNode, anvil: Anvil) -> None:
    """Tokens are asked for symbol and decimals; what they do not say is None, and an account has no code."""
    usual = await anvil.deploy("Token", "Tether", "USDT", 6, 1)
    old = await anvil.deploy("Bytes32Token", b"Maker".ljust(32, b"\0"), b"MKR".ljust(32, b"\0"), 18, 1)
    mute = await anvil.deploy("NoDecimalsToken", "Odd", "ODD", 1)
    none = await anvil.deploy("Reverter")
    facts = [await node.token_facts(raw(contract)) for contract in (usual, old, mute, none, X)]
    assert [(fact.symbol, fact.decimals, fact.has_code) for fact in facts] == [
        ("USDT", 6, True),
        ("MKR", 18, True),
        ("ODD", None, True),
        (None, None, True),
        (None, None, False),
    ]


async def test_token_facts_wait_for_the_node(node: EvmNode, lying_proxy: LyingProxy) -> None:
    """A node that cannot answer is no token without decimals: it is an error, and the chain waits."""
    lying_proxy.rule = only("eth_call", ErrorObject(-32000, "header not found"))
    with pytest.raises(RpcError):
        await node.token_facts(raw(X))


async def test_one_round_trip_per_new_block(node: EvmNode, anvil: Anvil, lying_proxy: LyingProxy) -> None:
    """At the tip a block costs one body and one receipts request, asked for at the same time."""
    await fill(anvil, 3)
    (ref,) = await node.headers(3, 3)
    release = asyncio.Event()
    lying_proxy.calls.clear()
    lying_proxy.rule = lambda _m, _p, _a: Held(release)
    reading = asyncio.create_task(node.blocks([ref]))
    await until(lambda: lying_proxy.calls.total() == 2)
    release.set()
    assert [block.ref for block in await reading] == [BlockRef(3, ref.hash, ref.parent_hash)]
    assert lying_proxy.calls == {"eth_getBlockByHash": 1, RECEIPTS: 1}
