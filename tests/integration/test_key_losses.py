"""Extended keys and what they handed out, after a restore: the journal knows what the backup does not."""

from pathlib import Path
from random import Random

from chainbell.config.chains import load_chains
from chainbell.custody.account_key import key_rules, parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.storage.database import Database
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import Journal, read_journals
from chainbell.storage.key_addresses import NextAddress, hand_out
from chainbell.storage.keys import KeyStore, NewKey
from chainbell.storage.losses import losses, remember
from chainbell.storage.restore import registered_now
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
