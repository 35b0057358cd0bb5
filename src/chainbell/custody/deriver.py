"""Derives addresses beside everything else: in one thread of its own, a small portion at a time.

A derivation holds the interpreter for a millisecond or more, and thousands are made at once. The threads of the event loop
also look up names, read cookie files and write the journal, so none of them is taken for this. All who derive take turns,
portion by portion: whoever needs a few waits no longer than for one portion of each of the others. Who is cancelled stops
behind the portion under way.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from chainbell.custody import public_derivation
from chainbell.custody.derivation import derive
from chainbell.custody.template import Template

_PORTION = 40
"""Single public keys: less than 0.1 s."""

_thread = ThreadPoolExecutor(1, thread_name_prefix="chainbell-derive")


async def derive_in_portions(template: Template, branch: int, first: int, end: int) -> list[bytes]:
    """Return the addresses of a branch, from an index on to before another, as `derive` does.

    Raises `UnavailableError` while bitcoinlib cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    step = max(1, _PORTION // max(1, template.keys_derived))
    derived: list[bytes] = []
    for start in range(first, end, step):
        derived += await loop.run_in_executor(_thread, derive, template, branch, start, min(start + step, end))
    return derived


async def make_ready() -> None:
    """Load what derives. Raises `UnavailableError` while it cannot be loaded."""
    await asyncio.get_running_loop().run_in_executor(_thread, public_derivation.load)
