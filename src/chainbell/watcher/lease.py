"""The lease of a chain: who holds it follows the chain, and keeps it for as long as it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from chainbell.domain.errors import UnavailableError
from chainbell.domain.following import HeldElsewhere
from chainbell.watcher.ports import Ledger

LEASE = timedelta(seconds=5)
RENEW_SECONDS = 1.0


@dataclass(slots=True)
class Lease:
    """Ours, until it is lost: somebody else took it, so that none of our commits is taken any more."""

    fence: int
    lost: bool = False


@asynccontextmanager
async def leased(ledger: Ledger, chain: str, identity: str) -> AsyncIterator[Lease | HeldElsewhere]:
    """Take the lease of a chain and renew it meanwhile; given back at the end, so that nobody waits for its end."""
    held = await ledger.acquire(chain, identity, LEASE)
    if isinstance(held, HeldElsewhere):
        yield held
        return
    lease = Lease(held.fence)
    renewing = asyncio.create_task(_renew(ledger, chain, lease))
    try:
        yield lease
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        with suppress(UnavailableError):
            await asyncio.shield(ledger.release(chain, lease.fence))


async def _renew(ledger: Ledger, chain: str, lease: Lease) -> None:
    try:
        while not lease.lost:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(UnavailableError):
                lease.lost = not await ledger.renew(chain, lease.fence, LEASE)
    finally:
        lease.lost = True  # whatever ended the renewing: nobody keeps the lease for us any more
