"""Extended keys and what they handed out, after a restore: the journal knows what the backup does not."""

from pathlib import Path
from random import Random

from chainbell.config.chains import load_chains
from chainbell.custody.account_key import key_rules, parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.custody.new_key import NewKey
from chainbell.storage.audit import Deed
from chainbell.storage.database import Database
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import Journal, read_journals
from chainbell.storage.key_addresses import NextAddress, hand_out, next_address
from chainbell.storage.keys import KeyStore
from chainbell.storage.losses import Losses, losses, remember
from chainbell.storage.restore import begin_generation, registered_now
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from tests.feed_builders import with_a_chain
from tests.keys import random_key


async def test_a_lost_key_and_what_was_handed_out_are_told(database_url: str, tmp_path: Path) -> None:
    """The key as it was given; and what was handed out, though a window watches it: else it goes to somebody else."""
    path = tmp_path / "registrations.ndjson"
    xpub = random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN)
    template = parse_account_key(xpub, key_rules(load_chains()["anvil"]))
    wanted = NewKey("anvil", template, label="shop", gap_limit=2)
    handed = derive(template, 0, 0, 3)
    async with Database.open(database_url) as database:
        async with database.connection() as connection:
            installation = (await read_installation(connection)).id
        database.journal = Journal(path, installation, 0)
        await with_a_chain(database)
        await KeyStore(database).add(wanted, now())
        for number in range(2):
            async with database.transaction() as connection:
                await hand_out(connection, NextAddress("anvil", label=f"order {number}"), now())
        await WatchStore(database).add(NewWatch("anvil", handed[2], label="by name"), now())
        remembered = remember(read_journals([path], installation).lines)
        assert not losses(remembered, await registered_now(database, remembered)).any

        async with database.connection() as connection:
            await connection.execute("update addresses set handed_out_at = null")
        found = losses(remembered, await registered_now(database, remembered))
        assert [(lost.address, lost.label) for lost in found.addresses] == [
            (handed[0], "order 0"),
            (handed[1], "order 1"),
            (handed[2], "by name"),
        ]
        assert not found.keys

        async with database.connection() as connection:
            await connection.execute("delete from addresses")
            for table in ("derived_addresses", "key_branches", "keys"):
                await connection.execute(f"delete from {table}")
        found = losses(remembered, await registered_now(database, remembered))
        (lost,) = found.keys
        assert (lost["chain"], lost["key"], lost["label"], lost["gapLimit"]) == ("anvil", xpub, "shop", 2)

        # Registered again in whichever order, all is as it was.
        for address, label in ((handed[0], "order 0"), (handed[1], "order 1"), (handed[2], "by name")):
            await WatchStore(database).add(NewWatch("anvil", address, label=label), now())
        await KeyStore(database).add(wanted, now())
        assert not losses(remembered, await registered_now(database, remembered)).any
        async with database.transaction() as connection:
            assert (await hand_out(connection, NextAddress("anvil"), now())).address == derive(template, 0, 3, 4)[0]


async def test_what_was_removed_after_the_backup_does_not_come_back(database_url: str, tmp_path: Path) -> None:
    """Handed out or not, in the window of the backup or behind it: it is listed, not watched, and nobody else's."""
    path = tmp_path / "registrations.ndjson"
    template = parse_account_key(random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN), key_rules(load_chains()["anvil"]))
    addresses = derive(template, 0, 0, 20)
    async with Database.open(database_url) as database:
        async with database.connection() as connection:
            installation = (await read_installation(connection)).id
        database.journal = Journal(path, installation, 0)
        await with_a_chain(database)
        await KeyStore(database).add(NewKey("anvil", template, gap_limit=2), now())
        kept = ("addresses", "key_branches", "derived_addresses")
        async with database.connection() as connection:
            for table in kept:
                await connection.execute(f"create table backup_{table} as select * from {table}")

        handed = [await next_address(database, NextAddress("anvil"), now()) for _ in range(10)]
        assert [watch.address for watch in handed] == addresses[:10]
        removed = [addresses[index] for index in (0, 9, 10)]
        for address in removed:
            await WatchStore(database).remove("anvil", address, None, now())

        async with database.connection() as connection:
            await connection.execute(f"truncate {', '.join(kept)} cascade")
            for table in ("key_branches", "addresses", "derived_addresses"):
                await connection.execute(f"insert into {table} select * from backup_{table}")
        lines = read_journals([path], installation).lines

        async def found() -> Losses:
            return losses(remember(lines), await registered_now(database, remember(lines)))

        before = await found()
        assert [one.address for one in before.retired] == removed
        await begin_generation(database, Deed("me@here", now(), {}), None, above=0, leap=7, retired=before.retired)
        assert not (await found()).retired
        for lost in (await found()).addresses:
            await WatchStore(database).add(NewWatch("anvil", lost.address), now())
        assert not (await found()).any
        for expected in (11, 12, 13):
            assert (await next_address(database, NextAddress("anvil"), now())).address == addresses[expected]
        for address in removed:
            assert await WatchStore(database).find("anvil", address) is None
