"""What was told of a transaction stays told: its senders, its fee, and who it left, whatever becomes of the watches."""

from dataclasses import replace

import pytest

from chainbell.domain.address import parse_address
from chainbell.domain.following import Committed
from chainbell.domain.transaction import SPEND
from chainbell.storage.watches import WatchStore
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind, Litecoind
from tests.fixtures_nodes import Starter
from tests.utxo_house import (
    FEE,
    WAITS,
    UtxoHouse,
    abroad,
    at_home,
    caught_up,
    following_utxo,
    own,
    pay,
    seeded,
    started,
    told,
    utxo_house,
)

PAID_OUT = [("TRANSFER", 0, "SUCCESS", FEE)]


async def unwatch(home: UtxoHouse, address: str) -> None:
    definition = home.definition
    await WatchStore(home.database).remove(definition.name, parse_address(definition.addresses, address), None, now())


async def test_a_sender_told_from_the_mempool_is_kept_in_the_block(another: Starter, database_url: str) -> None:
    """A node without an index tells what a waiting transaction spends, and cannot once it is mined."""
    node = await another(Litecoind())
    await node.fund(3)
    async with at_home(node, database_url) as home:
        address = await home.watched_address()
        await seeded(home)
        txid = await node.send(address, COIN)
        await home.tells(txid, *WAITS)
        waiting = await home.last_body(txid)
        await node.mine()
        await home.tells(txid, *WAITS, "awaiting_confirmation")
        mined = await home.last_body(txid)
        assert waiting["senderAddress"] is not None
        assert (mined["senderAddress"], mined["senderAddresses"]) == (waiting["senderAddress"], waiting["senderAddresses"])


async def test_a_sender_is_kept_when_the_watch_ends_before_the_block(bitcoind: Bitcoind, database_url: str) -> None:
    """What is tracked is told to the end, with all that is known of it."""
    async with at_home(bitcoind, database_url) as home:
        address = await home.watched_address()
        coin = (await bitcoind.coins())[0]
        txid = await pay(bitcoind, coin, (address, coin.amount - FEE))
        await home.tells(txid, *WAITS)
        await unwatch(home, address)
        await bitcoind.mine(3)
        await caught_up(home)
        last = await home.last_body(txid)
        assert (last["status"], last["senderAddress"]) == ("SUCCESS", coin.address)


async def test_fee_and_sender_come_back_after_a_reorg_without_the_watches(bitcoind: Bitcoind, database_url: str) -> None:
    """A transfer and a deposit that are mined again say what they said before, though nobody watches any more."""
    async with at_home(bitcoind, database_url) as home:
        paying, paid = await home.watched_address(), await home.watched_address()
        await seeded(home)
        await bitcoind.send(paying, 2 * COIN)
        await bitcoind.mine()
        (mine,) = [coin for coin in await bitcoind.coins() if coin.address == paying]
        foreign = next(coin for coin in await bitcoind.coins() if coin.address != paying)
        transfer = await pay(bitcoind, mine, (await abroad(bitcoind), mine.amount - FEE))
        deposit = await pay(bitcoind, foreign, (paid, foreign.amount - FEE))
        (block,) = await bitcoind.mine()
        await caught_up(home)
        sent, received = await home.last_body(transfer, "transfer"), await home.last_body(deposit)
        for address in (paying, paid):
            await unwatch(home, address)
        await bitcoind.invalidate(block)
        await bitcoind.mine(3)
        await caught_up(home)
        again, back = await home.last_body(transfer, "transfer"), await home.last_body(deposit)
        assert sent["fee"] is not None
        assert received["senderAddress"] == foreign.address
        assert (again["fee"], again["feeOf"]) == (sent["fee"], sent["feeOf"])
        assert (back["senderAddress"], back["status"]) == (received["senderAddress"], "SUCCESS")


async def test_a_watch_that_moves_between_accounts_makes_no_second_transfer(bitcoind: Bitcoind, database_url: str) -> None:
    """One spend is told by the account that owned all of it when it was first seen, and by no other."""
    async with at_home(bitcoind, database_url) as home:
        one, two = await home.watched_address(), await home.watched_address()
        await seeded(home)
        for address in (one, two):
            await bitcoind.send(address, COIN)
        await bitcoind.mine()
        coins = sorted(
            (coin for coin in await bitcoind.coins() if coin.address in {one, two}), key=lambda c: c.address != one
        )
        txid = await bitcoind.raw_transaction(coins, [(await abroad(bitcoind), 2 * COIN - FEE)])
        await home.tells(txid, "created", "processing", type_="transfer")
        for address in (one, two):
            await unwatch(home, address)
        (other,) = await home.fetch("insert into accounts (mode, name) values ('test', 'other') returning id")
        await home.watch(one, account=str(other["id"]))
        await bitcoind.mine(4)
        await caught_up(home)
        rows = await home.fetch("select position, status from transactions where tx_hash = $1", bytes.fromhex(txid))
        assert [tuple(row) for row in rows] == [(0, "SUCCESS")]


# A payer whose watch ends ----------------------------------------------------------------------------------------------


async def test_change_stays_change_when_the_watch_of_the_payer_ends(bitcoind: Bitcoind, database_url: str) -> None:
    """Who swept an address and watches it no more gets no deposit for the change, in the block or after a reorg."""
    async with at_home(bitcoind, database_url) as home:
        payer, change = await home.watched_address(), await bitcoind.new_address()
        await home.watch(change, change=True)
        await seeded(home)
        coin = await own(bitcoind, payer, 2 * COIN)
        await caught_up(home)
        txid = await pay(bitcoind, coin, (await abroad(bitcoind), COIN), (change, COIN - FEE))
        await home.tells(txid, "created", "processing", type_="transfer")
        await unwatch(home, payer)
        (block, *_) = await bitcoind.mine(3)
        await caught_up(home)
        assert await told(home, txid) == PAID_OUT
        await bitcoind.invalidate(block)
        await bitcoind.mine(4)
        await caught_up(home)
        assert await told(home, txid) == PAID_OUT


async def test_the_fee_is_paid_by_who_was_told_when_the_watch_ends(bitcoind: Bitcoind, database_url: str) -> None:
    """It is in the ledger of fees too, from which balances follow."""
    async with at_home(bitcoind, database_url) as home:
        payer = await home.watched_address()
        await seeded(home)
        coin = await own(bitcoind, payer)
        await caught_up(home)
        txid = await pay(bitcoind, coin, (await abroad(bitcoind), COIN - FEE))
        await home.tells(txid, "created", "processing", type_="transfer")
        await unwatch(home, payer)
        await bitcoind.mine(3)
        await caught_up(home)
        assert await told(home, txid) == PAID_OUT
        assert [(int(row["amount"]), row["account_id"] is None) for row in await home.fetch("select * from fees")] == [
            (FEE, False)
        ]


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_consolidation_owes_its_fee_when_the_watch_of_any_input_ends(
    bitcoind: Bitcoind, database_url: str, *, waiting: bool
) -> None:
    """Who owes it was decided when it was first seen: in the mempool, or in a block that a reorg takes back."""
    async with at_home(bitcoind, database_url) as home:
        one, two, change = await home.watched_address(), await home.watched_address(), await bitcoind.new_address()
        await home.watch(change, change=True)
        await seeded(home)
        coins = [await own(bitcoind, one), await own(bitcoind, two)]
        await caught_up(home)
        txid = await bitcoind.raw_transaction(coins, [(change, 2 * COIN - FEE)])
        await home.tells(txid, "created", "processing", type_="transfer")
        if not waiting:
            (block,) = await bitcoind.mine()
            await caught_up(home)
            await unwatch(home, two)
            await bitcoind.invalidate(block)
        else:
            await unwatch(home, two)
        await bitcoind.mine(4)
        await caught_up(home)
        assert await told(home, txid) == [("TRANSFER", SPEND, "SUCCESS", FEE)]
        rows = await home.fetch("select amount, block_height from fees")
        assert [(int(row["amount"]), row["block_height"] is not None) for row in rows] == [(FEE, True)]


async def test_a_mempool_that_shows_what_is_mined_takes_no_fee_out_of_its_block(
    bitcoind: Bitcoind, database_url: str
) -> None:
    """A lagging node behind the same URL may do so; what is in a block stays in it, with all that it cost."""
    async with utxo_house(bitcoind, database_url) as home:
        async with following_utxo(home):
            await started(home)
            payer = await home.watched_address()
            await seeded(home)
            coin = await own(bitcoind, payer)
            await caught_up(home)
            txid = await pay(bitcoind, coin, (await abroad(bitcoind), COIN - FEE))
            await home.tells(txid, "created", "processing", type_="transfer")
            node = await home.pool.current()
            lagging = await node.mempool([])
            await bitcoind.mine(3)
            await caught_up(home)
            assert await told(home, txid) == PAID_OUT
        view = replace(lagging, tip=(await node.tip()).hash)
        assert await home.tracker().observe(await home.fence(), view, now()) == Committed(0)
        assert await told(home, txid) == PAID_OUT
        rows = await home.fetch("select amount, block_height from fees")
        assert [(int(row["amount"]), row["block_height"] is not None) for row in rows] == [(FEE, True)]
