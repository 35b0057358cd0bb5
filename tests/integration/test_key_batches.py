"""Many addresses of a key at once: each goes to whom the batch names, and to nobody else."""

import asyncio
from collections.abc import Sequence
from random import Random

from chainbell.config.chains import load_chains
from chainbell.custody.account_key import key_rules, parse_account_key
from chainbell.custody.address_file import Entry
from chainbell.custody.derivation import derive
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.custody.new_key import NewKey
from chainbell.custody.registration import Batch, Order
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.address_registry import AddressRegistry
from chainbell.storage.database import Database
from chainbell.storage.key_addresses import NextAddress, next_address
from chainbell.storage.keys import KeyStore
from chainbell.storage.watches import WatchStore
from chainbell.telemetry.clock import now
from tests.feed_builders import with_a_chain
from tests.keys import random_key

TEMPLATE = parse_account_key(random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN), key_rules(load_chains()["anvil"]))
GAP = 20


async def _register(database: Database, addresses: Sequence[bytes]) -> Batch:
    registry = AddressRegistry(database)
    entries = [Entry(line, address, address.hex(), None) for line, address in enumerate(addresses, start=1)]
    return await registry.register(Order("anvil", await registry.holding_account("anvil", None)), entries, now())


async def _all_are_given(database: Database, addresses: Sequence[bytes]) -> bool:
    watches = [await WatchStore(database).get("anvil", address) for address in addresses]
    return all(watch.label == watch.address.hex() and watch.place and watch.place.handed_out for watch in watches)


async def test_a_batch_is_given_out_as_far_as_it_widens_the_window(database_url: str) -> None:
    """What a window reaches only because of the same batch is registered as the rest: label and all, handed out once."""
    addresses = derive(TEMPLATE, 0, 0, 201)
    shuffled = addresses[:200]
    Random(1).shuffle(shuffled)
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        key = await KeyStore(database).add(NewKey("anvil", TEMPLATE, gap_limit=GAP), now())
        batch = await _register(database, shuffled)
        assert (batch.registered, batch.already, batch.refused) == (200, 0, [])
        assert await _all_are_given(database, addresses[:200])
        assert (await KeyStore(database).get(key.id, OPERATOR)).branches[0].next_index == 200
        again = await _register(database, shuffled)
        assert (again.registered, again.already) == (0, 200)
        assert (await next_address(database, NextAddress("anvil"), now())).address == addresses[200]


async def test_a_key_takes_over_more_than_was_derived_for_it(database_url: str) -> None:
    """Registered by name before it, all belong to the key, however far they reach."""
    addresses = derive(TEMPLATE, 0, 0, 301)
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        assert (await _register(database, addresses[:300])).registered == 300
        key = await KeyStore(database).add(NewKey("anvil", TEMPLATE, gap_limit=GAP), now())
        assert key.branches[0].next_index == 300
        assert key.branches[0].watched_end >= 300 + GAP
        assert await _all_are_given(database, addresses[:300])
        assert (await next_address(database, NextAddress("anvil"), now())).address == addresses[300]


async def test_batches_and_the_next_address_beside_each_other(database_url: str) -> None:
    """Nobody waits for each other in a circle, and no address has two owners."""
    addresses = derive(TEMPLATE, 0, 0, 200)
    async with Database.open(database_url, size=20) as database:
        await with_a_chain(database)
        await KeyStore(database).add(NewKey("anvil", TEMPLATE, gap_limit=2), now())
        parts = [addresses[start : start + 20] for start in range(0, 200, 20)]
        next_ones = [next_address(database, NextAddress("anvil", label="next"), now()) for _ in range(40)]
        batches, handed = await asyncio.gather(
            asyncio.gather(*(_register(database, part) for part in parts)), asyncio.gather(*next_ones)
        )
        own = {watch.address for watch in handed}
        assert len(own) == 40
        assert sum(batch.registered for batch in batches) == len(set(addresses) - own)
        assert await _all_are_given(database, sorted(set(addresses) - own))
        assert {(await WatchStore(database).get("anvil", address)).label for address in own} == {"next"}
