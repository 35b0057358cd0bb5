"""Extended keys in the database: windows that follow use, addresses handed out once, and nobody else's taken."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from chainbell.config.chains import load_chains
from chainbell.custody.account_key import key_rules, parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN, BIP32_TEST
from chainbell.custody.new_key import NewKey
from chainbell.custody.template import Template
from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import ConflictError, InputError, NotFoundError
from chainbell.domain.following import KeptLedger
from chainbell.domain.watch import Purpose, Watch
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.deriving import with_derived
from chainbell.storage.key_addresses import NextAddress, next_address
from chainbell.storage.key_windows import extend_windows
from chainbell.storage.keys import AccountKey, KeyStore
from chainbell.storage.locks import lock_chain
from chainbell.storage.paging import PageRequest
from chainbell.storage.watches import NewWatch, WatchFilter, WatchStore, watches_among
from chainbell.telemetry.clock import now
from tests import builders
from tests.keys import random_key

CHAIN = "bitcoin-regtest"
CURSOR = 100
GAP = 3


@asynccontextmanager
async def _house(url: str) -> AsyncIterator[Database]:
    async with Database.open(url, size=20) as database:
        definitions = load_chains()
        for name in (CHAIN, "anvil"):
            cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
            genesis = definitions[name].genesis_hash or builders.block_hash(0)
            await ChainStates(database).start(definitions[name], genesis, KeptLedger((cursor,)), now())
        yield database


def _template(seed: int, form: str = "wpkh({}/<0;1>/*)") -> Template:
    body = form.format(random_key(Random(seed)).text(BIP32_TEST))
    return parse_account_key(f"{body}#{checksum_of(body)}", key_rules(load_chains()[CHAIN]))


async def _add(database: Database, template: Template, first_index: int = 0, account: str | None = None) -> AccountKey:
    wanted = NewKey(CHAIN, template, account, label="till", gap_limit=GAP, first_index=first_index)
    return await KeyStore(database).add(wanted, now())


async def _watched(database: Database, key: AccountKey, branch: int) -> list[Watch]:
    page = await WatchStore(database).list(WatchFilter(key_id=key.id), PageRequest(200))
    found = [(watch.place.index, watch) for watch in page.items if watch.place and watch.place.branch == branch]
    return [watch for _, watch in sorted(found, key=lambda pair: pair[0])]


async def _hit(database: Database, addresses: Sequence[bytes]) -> bool:
    """Extend as a commit does that found these addresses in its blocks."""

    async def commit() -> bool:
        async with database.transaction() as connection:
            await lock_chain(connection, CHAIN)
            watches = await watches_among(connection, CHAIN, addresses)
            return await extend_windows(connection, watches.values(), now())

    return await with_derived(database, commit)


async def _next(database: Database, **wanted: object) -> Watch:
    return await next_address(database, NextAddress(CHAIN, **wanted), now())  # type: ignore[arg-type] # one of its members


async def _account(database: Database) -> str:
    async with database.connection() as connection:
        sql = "insert into accounts (mode, name) values ('test', 'another') returning id"
        return str(await connection.fetchval(sql))


async def test_a_key_watches_a_window_of_both_branches(database_url: str) -> None:
    """At least the gap limit is watched of each branch when it returns, from the block behind the cursor on."""
    async with _house(database_url) as database:
        template = _template(1)
        key = await _add(database, template)
        for branch, purpose in enumerate((Purpose.DEPOSIT, Purpose.CHANGE)):
            watched = await _watched(database, key, branch)
            assert [watch.address for watch in watched] == derive(template, branch, 0, 2 * GAP)
            assert {watch.purpose for watch in watched} == {purpose}
            assert {(watch.watched_from, watch.label, watch.outgoing_from) for watch in watched} == {
                (CURSOR + 1, "till", None)
            }
            assert not any(watch.place is None or watch.place.handed_out for watch in watched)
        assert await KeyStore(database).get(key.id, OPERATOR) == key
        assert (await KeyStore(database).list(WatchFilter(chain=CHAIN), PageRequest(5))).items == [key]
        assert key.text == template.text


async def test_a_hit_widens_the_window_until_a_gap_lies_behind_it(database_url: str) -> None:
    """The gap limit counts from the last one used; a hit far below it changes nothing."""
    async with _house(database_url) as database:
        template = _template(2)
        key = await _add(database, template)
        addresses = derive(template, 0, 0, 40)
        assert not await _hit(database, [addresses[0]])
        assert await _hit(database, [addresses[5], addresses[2]])
        assert [watch.address for watch in await _watched(database, key, 0)] == addresses[:12]
        assert not await _hit(database, [addresses[5]])
        assert await _hit(database, [addresses[11]])
        assert len(await _watched(database, key, 0)) == 18
        assert len(await _watched(database, key, 1)) == 2 * GAP


async def test_windows_widen_beyond_what_was_derived_ahead(database_url: str) -> None:
    """What nobody derived in time is derived before the commit is tried again, and is the same as what is derived ahead."""
    async with _house(database_url) as database:
        template, store = _template(3), KeyStore(database)
        key = await _add(database, template)
        expected = derive(template, 0, 0, 300)
        for round_ in range(8):
            watched = await _watched(database, key, 0)
            assert [watch.address for watch in watched] == expected[: len(watched)]
            assert await _hit(database, [watched[-1].address])
            if round_ % 2:
                await store.derive_ahead()
        while await store.derive_ahead():
            pass
        async with database.connection() as connection:
            rows = await connection.fetch("select key_index, address from derived_addresses where branch = 0")
        assert rows
        assert all(row["address"] == expected[row["key_index"]] for row in rows)


async def test_no_address_is_handed_out_twice(database_url: str) -> None:
    """Twenty at once get twenty different ones, in a row from the first on, each watched before and after."""
    async with _house(database_url) as database:
        template = _template(4)
        key = await _add(database, template)
        watches = await asyncio.gather(*(_next(database, key_id=key.id, label=str(n)) for n in range(20)))
        assert sorted(watch.address for watch in watches) == sorted(derive(template, 0, 0, 20))
        assert all(watch.place is not None and watch.place.handed_out for watch in watches)
        assert len(await _watched(database, key, 0)) >= 20 + GAP
        assert {watch.label for watch in watches} == {str(n) for n in range(20)}


async def test_what_was_used_elsewhere_is_not_handed_out(database_url: str) -> None:
    """The next one lies behind everything that was handed out or seen used."""
    async with _house(database_url) as database:
        template = _template(5)
        await _add(database, template)
        addresses = derive(template, 0, 0, 8)
        assert (await _next(database)).address == addresses[0]
        await _hit(database, [addresses[4]])
        watch = await _next(database)
        assert watch.address == addresses[5]
        assert watch.label == "till"
        change = await _next(database, purpose=Purpose.CHANGE)
        assert change.address == derive(template, 1, 0, 1)[0]


async def test_a_first_index_hands_out_from_there_and_watches_what_lies_below(database_url: str) -> None:
    """Addresses that were handed out elsewhere before are watched too."""
    async with _house(database_url) as database:
        template = _template(6)
        key = await _add(database, template, first_index=10)
        assert (await _next(database)).address == derive(template, 0, 10, 11)[0]
        assert len(await _watched(database, key, 0)) == 10 + 2 * GAP
        assert len(await _watched(database, key, 1)) == 10 + 2 * GAP


async def test_an_address_registered_by_name_belongs_to_the_key(database_url: str) -> None:
    """It counts as handed out, keeps its label, and becomes change where it is on that branch; the window reaches on."""
    async with _house(database_url) as database:
        template = _template(7)
        store = WatchStore(database)
        mine, change = derive(template, 0, 4, 5)[0], derive(template, 1, 0, 1)[0]
        before = await store.add(NewWatch(CHAIN, mine, label="by name"), now())
        await store.add(NewWatch(CHAIN, change), now())
        key = await _add(database, template)
        watch = await store.get(CHAIN, mine)
        assert (watch.id, watch.label) == (before.id, "by name")
        assert watch.place is not None
        assert (watch.place.key_id, watch.place.index, watch.place.handed_out) == (key.id, 4, True)
        assert (await store.get(CHAIN, change)).purpose is Purpose.CHANGE
        assert len(await _watched(database, key, 0)) == 5 + 2 * GAP
        assert (await _next(database)).address == derive(template, 0, 5, 6)[0]


async def test_an_address_of_the_window_may_be_registered_by_name(database_url: str) -> None:
    """It is handed out by that, once; the next one lies behind it."""
    async with _house(database_url) as database:
        template = _template(8)
        key = await _add(database, template)
        store = WatchStore(database)
        addresses = derive(template, 0, 0, 6)
        watch = await store.add(NewWatch(CHAIN, addresses[3], label="named"), now())
        assert watch.place is not None
        assert (watch.place.key_id, watch.place.handed_out, watch.label) == (key.id, True, "named")
        with pytest.raises(ConflictError, match="watched on bitcoin-regtest already"):
            await store.add(NewWatch(CHAIN, addresses[3]), now())
        with pytest.raises(ConflictError):
            await store.add(NewWatch(CHAIN, addresses[1], await _account(database)), now())
        assert (await _next(database)).address == addresses[4]


async def test_a_key_whose_addresses_others_hold_is_refused(database_url: str) -> None:
    """One held by another account is 409, and nothing of the key is left; one met later stays where it is."""
    async with _house(database_url) as database:
        template = _template(9)
        store = WatchStore(database)
        other = await _account(database)
        theirs = derive(template, 0, 0, 8)
        await store.add(NewWatch(CHAIN, theirs[2], other), now())
        with pytest.raises(ConflictError, match=r"address 2 of branch 0 of this key is watched on .* by another account"):
            await _add(database, template)
        async with database.connection() as connection:
            assert await connection.fetchval("select count(*) from keys") == 0
        await store.remove(CHAIN, theirs[2], other, now())
        await store.add(NewWatch(CHAIN, theirs[7], other), now())
        key = await _add(database, template)
        assert await _hit(database, [theirs[5]])
        assert (await store.get(CHAIN, theirs[7])).account_id == other
        handed = [(await _next(database)).address for _ in range(2)]
        assert handed == [theirs[6], derive(template, 0, 8, 9)[0]]
        assert theirs[7] not in {watch.address for watch in await _watched(database, key, 0)}


async def test_a_key_is_registered_once_per_chain(database_url: str) -> None:
    """However it is written: with or without origin, or as the bare key that means the same."""
    async with _house(database_url) as database:
        key = random_key(Random(10))
        rules = key_rules(load_chains()[CHAIN])
        body = f"wpkh([d34db33f/84h/1h/0h]{key.text(BIP32_TEST)}/<0;1>/*)"
        await _add(database, parse_account_key(f"{body}#{checksum_of(body)}", rules))
        with pytest.raises(ConflictError, match="registered on bitcoin-regtest already"):
            await _add(database, parse_account_key(key.text(bytes.fromhex("045f1cf6")), rules))
        with pytest.raises(ConflictError, match=r"of key .* already"):
            await _add(database, _template(10, "wpkh({}/0/*)"))


async def test_a_descriptor_of_one_address_is_handed_out_once(database_url: str) -> None:
    """Without /* there is one address; after that there is none."""
    async with _house(database_url) as database:
        template = _template(11, "tr({}/0/7)")
        key = await _add(database, template)
        assert [watch.address for watch in await _watched(database, key, 0)] == derive(template, 0, 0, 1)
        assert (await _next(database)).address == derive(template, 0, 0, 1)[0]
        with pytest.raises(ConflictError, match="every address of this key was handed out"):
            await _next(database)
        with pytest.raises(InputError, match="no branch for change"):
            await _next(database, purpose=Purpose.CHANGE)


async def test_without_a_name_the_only_key_of_the_account_is_meant(database_url: str) -> None:
    """None, or several, are refused with what to do; a key of another account is not there."""
    async with _house(database_url) as database:
        with pytest.raises(InputError, match="has no key on bitcoin-regtest"):
            await _next(database)
        first = await _add(database, _template(12))
        await _add(database, _template(13))
        with pytest.raises(InputError, match="has several keys"):
            await _next(database)
        assert (await _next(database, key_id=first.id)).place is not None
        with pytest.raises(NotFoundError):
            await _next(database, key_id=first.id, account_id=await _account(database))


async def test_a_removed_address_of_a_window_is_left_out(database_url: str) -> None:
    """It is neither handed out nor watched again, also when all that were watched are gone."""
    async with _house(database_url) as database:
        template, store = _template(14), WatchStore(database)
        await _add(database, template)
        for address in derive(template, 0, 0, 6):
            await store.remove(CHAIN, address, None, now())
        assert (await _next(database)).address == derive(template, 0, 6, 7)[0]


async def test_an_xpub_watches_addresses_of_an_evm_chain(database_url: str) -> None:
    """One branch, 0/i, whose spends are covered from the start."""
    async with _house(database_url) as database:
        template = parse_account_key(random_key(Random(15), BIP32_MAIN).text(BIP32_MAIN), key_rules(load_chains()["anvil"]))
        key = await KeyStore(database).add(NewKey("anvil", template), now())
        watched = await _watched(database, key, 0)
        assert [watch.address for watch in watched] == derive(template, 0, 0, 40)
        assert {watch.outgoing_from for watch in watched} == {CURSOR + 1}
        assert not await _watched(database, key, 1)
        assert key.text.startswith("xpub")
