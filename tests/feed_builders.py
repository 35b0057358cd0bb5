"""Events for tests of the feed, on a database that knows one chain."""

from dataclasses import replace
from uuid import UUID

from chainbell.config.chains import load_chains
from chainbell.domain.chain import BlockRef, Mode
from chainbell.domain.following import KeptLedger
from chainbell.domain.transaction import TransactionEvent
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Connection, Database
from tests import builders


async def with_a_chain(database: Database) -> None:
    """Give the chain anvil a first cursor."""
    first = KeptLedger((BlockRef(0, builders.block_hash(0), bytes(32)),))
    await ChainStates(database).start(load_chains()["anvil"], builders.block_hash(0), first, builders.NOW)


async def one_event(connection: Connection, number: int) -> TransactionEvent:
    """Return the first event of another deposit, of the default account in test mode."""
    account: UUID = await connection.fetchval("select id from accounts where mode = 'test'")
    chain = replace(builders.CHAIN, name="anvil", caip2="eip155:31337", mode=Mode.TEST)
    subject = builders.subject(chain=chain, account_id=str(account))
    record = builders.deposit(uid=f"trx_{number}", subject=subject)
    return builders.walk(record, [builders.included()])[1][0]
