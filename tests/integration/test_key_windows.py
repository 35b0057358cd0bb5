"""Extended keys followed on real nodes: windows widen inside of the commit that finds them used, and change is change."""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from chainbell.custody import derivation
from chainbell.custody.account_key import key_rules, parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN, BIP32_TEST, ExtendedKey
from chainbell.custody.new_key import NewKey
from chainbell.custody.public_derivation import child_keys
from chainbell.custody.template import Template
from chainbell.domain.address import show_address
from chainbell.storage import database
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.key_addresses import NextAddress, hand_out
from chainbell.storage.keys import AccountKey, KeyStore
from chainbell.telemetry.clock import now
from tests.bitcoin import COIN, Bitcoind, Litecoind, UtxoDaemon
from tests.full_folder import no_room
from tests.house import ETHER, caught_up, following, house, started
from tests.keys import random_key
from tests.nodes import Anvil
from tests.utxo_house import UtxoHouse, following_utxo, own, seeded, told, until, utxo_house
from tests.utxo_house import caught_up as caught_up_utxo

GAP = 3
FEE = 10_000
FOREIGN = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


async def _watch(home: UtxoHouse, body: str) -> tuple[AccountKey, Template]:
    template = parse_account_key(f"{body}#{checksum_of(body)}", key_rules(home.definition))
    return await KeyStore(home.database).add(NewKey(home.definition.name, template, gap_limit=GAP), now()), template


async def _pay(node: UtxoDaemon, scripts: Sequence[bytes]) -> list[str]:
    """Return signed transactions that pay these, one each, and that no mempool has seen."""
    coins = [coin for coin in await node.coins(minimum_depth=1) if coin.amount > COIN]
    pairs = zip(coins, scripts, strict=False)
    return [await node.raw_transaction([coin], [(script, coin.amount - FEE)], send=False) for coin, script in pairs]


async def _outputs_are(home: UtxoHouse, scripts: list[bytes]) -> bool:
    rows = await home.fetch("select script from outputs where amount = $1 order by script", COIN)
    return [row["script"] for row in rows] == scripts


async def _paid(home: UtxoHouse) -> list[bytes]:
    rows = await home.fetch("select address from transactions where type = 'DEPOSIT' and status <> 'DROPPED'")
    return sorted(row["address"] for row in rows)


@pytest.mark.parametrize("daemon", [Bitcoind, Litecoind])
async def test_a_block_is_matched_until_no_window_widens(daemon: type[UtxoDaemon], database_url: str) -> None:
    """Payments that each reach as far as the one before made the window are told from one block that nobody saw come."""
    async with daemon() as node:
        await node.fund(5)
        async with utxo_house(node, database_url) as home:
            async with following_utxo(home):
                await caught_up_utxo(home)
                key, template = await _watch(home, f"wpkh({random_key(Random(1)).text(BIP32_TEST)}/<0;1>/*)")
            scripts = derive(template, 0, 0, 60)
            reached = [scripts[index] for index in (5, 11, 17, 23)]
            await node.mine_only(await _pay(node, [reached[3], scripts[50], reached[1], reached[0], reached[2]]))
            async with following_utxo(home):
                await caught_up_utxo(home)
            assert await _paid(home) == sorted(reached)
            branch = (await KeyStore(home.database).get(key.id, OPERATOR)).branches[0]
            assert (branch.next_index, branch.watched_end) == (24, 30)
            await home.check_stories()


async def test_a_later_block_is_matched_with_what_an_earlier_one_reached(bitcoind: Bitcoind, database_url: str) -> None:
    """Blocks that are caught up in one commit are told as if each had been one of its own."""
    await bitcoind.fund(3)
    async with utxo_house(bitcoind, database_url) as home:
        async with following_utxo(home):
            await caught_up_utxo(home)
            _, template = await _watch(home, f"tr({random_key(Random(2)).text(BIP32_TEST)}/0/*)")
        scripts = derive(template, 0, 0, 30)
        for index in (5, 11):
            await bitcoind.mine_only(await _pay(bitcoind, [scripts[index]]))
        async with following_utxo(home):
            await caught_up_utxo(home)
        assert await _paid(home) == sorted([scripts[5], scripts[11]])


async def test_a_block_that_widens_a_window_is_matched_for_what_it_spends_too(database_url: str) -> None:
    """An older output of an address that the very block brings into the window leaves it: that is told, in one block too."""
    async with Bitcoind() as node:
        await node.fund(5)
        async with utxo_house(node, database_url) as home, following_utxo(home):
            await caught_up_utxo(home)
            addresses = [await node.new_address() for _ in range(9)]
            old = await own(node, addresses[8])
            (body,) = [
                one["desc"].partition("#")[0].replace("/0/*", "/<0;1>/*")
                for one in (await node.rpc("listdescriptors"))["descriptors"]
                if one["desc"].startswith("wpkh(") and not one["internal"]
            ]
            first = int((await node.rpc("getaddressinfo", addresses[0]))["hdkeypath"].rpartition("/")[2])
            template = parse_account_key(f"{body}#{checksum_of(body)}", key_rules(home.definition))
            await KeyStore(home.database).add(
                NewKey(home.definition.name, template, gap_limit=GAP, first_index=first), now()
            )
            await seeded(home)
            (widening,) = (await _pay(node, [await node.script(addresses[5])]))[:1]
            leaving = await node.raw_transaction([old], [(FOREIGN, old.amount - FEE)], send=False)
            txid = (await node.rpc("decoderawtransaction", leaving))["txid"]
            await node.mine_only([widening, leaving])
            await caught_up_utxo(home)
            assert [record[0] for record in await told(home, txid)] == ["TRANSFER"]


async def test_a_wallet_that_is_watched_by_its_descriptor_pays_and_keeps_its_change(database_url: str) -> None:
    """What the wallet receives are deposits, what it pays are transfers, and what returns to it is neither."""
    async with Bitcoind() as node, utxo_house(node, database_url) as home, following_utxo(home):
        await node.mine(1)
        await caught_up_utxo(home)
        bodies = [
            one["desc"].partition("#")[0].replace("/0/*", "/<0;1>/*")
            for one in (await node.rpc("listdescriptors"))["descriptors"]
            if not one["internal"]
        ]
        # Its change may be of any kind, whatever is paid.
        keys = {body.partition("(")[0]: await _watch(home, body) for body in bodies}
        key, template = keys["wpkh"]
        async with home.database.transaction() as connection:
            handed = await hand_out(connection, NextAddress(home.definition.name, key.id), now())
        assert keys.keys() == {"pkh", "sh", "wpkh", "tr"}
        first = await node.new_address()
        assert await node.script(first) == handed.address == derive(template, 0, 0, 1)[0]
        await node.mine(1, first)
        await node.mine(100)
        txid = await node.send(FOREIGN, COIN)
        await node.mine(3)
        await caught_up_utxo(home)
        rows = await home.fetch("select type, amount, address from transactions where tx_hash = $1", bytes.fromhex(txid))
        assert [(row["type"], int(row["amount"]), row["address"]) for row in rows] == [("TRANSFER", COIN, handed.address)]
        await home.check_stories()


async def test_what_was_paid_before_the_key_was_given_widens_its_window(bitcoind: Bitcoind, database_url: str) -> None:
    """Outputs older than the key count as use, from one window to the next."""
    async with utxo_house(bitcoind, database_url) as home:
        key = random_key(Random(5)).text(BIP32_TEST)
        body = f"wpkh({key}/<0;1>/*)"
        scripts = derive(parse_account_key(f"{body}#{checksum_of(body)}", key_rules(home.definition)), 0, 0, 12)
        for index in (5, 11):
            await bitcoind.send(show_address(home.definition.addresses, scripts[index]), COIN)
        await bitcoind.mine(1)
        async with following_utxo(home):
            await caught_up_utxo(home)
            watched, _ = await _watch(home, body)

            async def reached() -> bool:
                found = await KeyStore(home.database).get(watched.id, OPERATOR)
                return found.branches[0].next_index == 12

            await until(reached, "the window reaches behind the last one that was paid")
            expected = sorted([scripts[5], scripts[11]])
            await until(lambda: _outputs_are(home, expected), "both outputs are known")


async def test_a_window_widens_while_a_payment_waits_in_the_mempool(bitcoind: Bitcoind, database_url: str) -> None:
    """What is pending counts as use: what comes next is watched before any block has it."""
    await bitcoind.fund(2)
    async with utxo_house(bitcoind, database_url) as home, following_utxo(home):
        await caught_up_utxo(home)
        key, template = await _watch(home, f"sh(wpkh({random_key(Random(3)).text(BIP32_TEST)}/<0;1>/*))")
        scripts = derive(template, 0, 0, 12)
        addresses = [show_address(home.definition.addresses, script) for script in scripts]
        for index in (5, 11):
            await home.tells(await bitcoind.send(addresses[index], COIN), "created", "pending")
        branch = (await KeyStore(home.database).get(key.id, OPERATOR)).branches[0]
        assert branch.next_index == 12


async def test_an_evm_block_is_matched_until_no_window_widens(anvil: Anvil, database_url: str) -> None:
    """The addresses of an xpub are watched on EVM chains in the same way."""
    async with house(anvil, database_url) as home:
        rules = key_rules(home.definition)
        template = parse_account_key(random_key(Random(4), BIP32_MAIN).text(BIP32_MAIN), rules)
        async with following(home):
            await started(home)
            await KeyStore(home.database).add(NewKey("anvil", template, gap_limit=GAP), now())
        addresses = [f"0x{address.hex()}" for address in derive(template, 0, 0, 40)]
        reached = [addresses[index] for index in (17, 5, 11)]
        for address in (*reached, addresses[35]):
            await anvil.send(anvil.accounts[0], address, ETHER)
        await anvil.mine(1)
        async with following(home):
            await caught_up(home)
        rows = await home.fetch("select address from transactions")
        assert sorted(f"0x{row['address'].hex()}" for row in rows) == sorted(reached)


async def test_derivation_that_takes_longer_than_a_commit_may_stand_still(
    anvil: Anvil, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a window needs is derived while no transaction is open: the chain goes on, however long that takes."""

    def slowly(key: ExtendedKey, steps: Sequence[int], indexes: Sequence[int]) -> list[bytes]:
        time.sleep(1)
        return child_keys(key, steps, indexes)

    limited = database.SERVER_SETTINGS | {"idle_in_transaction_session_timeout": "400ms"}
    monkeypatch.setattr(database, "SERVER_SETTINGS", limited)
    async with house(anvil, database_url) as home:
        template = parse_account_key(random_key(Random(6), BIP32_MAIN).text(BIP32_MAIN), key_rules(home.definition))
        async with following(home):
            await started(home)
            await KeyStore(home.database).add(NewKey("anvil", template, gap_limit=GAP), now())
        reached = [f"0x{address.hex()}" for address in derive(template, 0, 0, 24)[5::6]]
        for address in reached:
            await anvil.send(anvil.accounts[0], address, ETHER)
        await anvil.mine(1)
        monkeypatch.setattr(derivation, "child_keys", slowly)
        async with following(home):
            await caught_up(home)
        rows = await home.fetch("select address from transactions")
        assert sorted(f"0x{row['address'].hex()}" for row in rows) == sorted(reached)


async def test_a_chain_waits_for_room_to_derive_and_nothing_is_missed(
    anvil: Anvil, database_url: str, tmp_path: Path
) -> None:
    """Where a hit needs addresses, and what derives them cannot be loaded, the chain says why and goes on once it can."""
    async with house(anvil, database_url) as home:
        template = parse_account_key(random_key(Random(7), BIP32_MAIN).text(BIP32_MAIN), key_rules(home.definition))
        async with following(home):
            await started(home)
            await KeyStore(home.database).add(NewKey("anvil", template, gap_limit=GAP), now())
        reached = [f"0x{address.hex()}" for address in derive(template, 0, 0, 24)[5::6]]
        for address in reached:
            await anvil.send(anvil.accounts[0], address, ETHER)
        await anvil.mine(1)

        async def has_said_why() -> bool:
            rows = await home.fetch("select trouble, halted from chains where name = 'anvil'")
            return "folder for temporary files" in str(rows[0]["trouble"]) and not rows[0]["halted"]

        with no_room(tmp_path) as room:
            async with following(home):
                await until(has_said_why, "the chain says why it waits")
                room.make()
                await caught_up(home)
        rows = await home.fetch("select address from transactions")
        assert sorted(f"0x{row['address'].hex()}" for row in rows) == sorted(reached)
