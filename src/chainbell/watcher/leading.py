"""Whether this process leads a chain just now, and under which fence."""

import asyncio


class Leading:
    """Set while this process holds the chain's lease, and the last look found our cursor on the node's best chain."""

    def __init__(self) -> None:
        self._fence: int | None = None
        self.stretch = 0
        """Counts the stretches of leading: what was read in an earlier one may be of another branch, or for other tokens."""
        self._event = asyncio.Event()

    def begin(self, fence: int) -> None:
        """Say so."""
        self._fence = fence
        self._event.set()

    def end(self) -> None:
        """Say that it is not so any more, or not known."""
        self._fence = None
        self.stretch += 1
        self._event.clear()

    def under(self, fence: int, stretch: int | None = None) -> bool:
        """Tell whether it still leads, under this fence, and where it is given in this stretch."""
        return self._fence == fence and stretch in {None, self.stretch}

    async def wait(self) -> int:
        """Wait until it leads, and return the fence that its commits demand."""
        while self._fence is None:
            await self._event.wait()
        return self._fence
