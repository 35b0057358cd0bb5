"""What keeps a chain from going on: told once in the log, and to who asks for its status, until it is over."""

from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from chainbell.domain.chain import BlockRef
from chainbell.domain.errors import UnavailableError
from chainbell.watcher.ports import Ledger


class Trouble:
    """The trouble of one chain, as this process last told it."""

    def __init__(self, chain: str, identity: str, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._chain = chain
        self._identity = identity
        self._ledger = ledger
        self._log = log
        self._told: str | None = None
        self._stored = True
        self.is_over = False
        """Whether everything was well when we last looked."""

    async def report(self, trouble: str, *, halted: bool = False) -> bool:
        """Say what keeps the chain from going on; `halted` where an operator must look. Tell whether it is stored."""
        if self.log_once(trouble, halted=halted) or not self._stored:
            self._stored = False
            with suppress(UnavailableError):
                await self._ledger.note_trouble(self._chain, self._identity, trouble, halted=halted)
                self._stored = True
        return self._stored

    def log_once(self, trouble: str, *, halted: bool = False) -> bool:
        """Log a trouble unless it is the last one still; tell whether it is new."""
        self.is_over = False
        if trouble == self._told:
            return False
        self._told = trouble
        (self._log.error if halted else self._log.warning)("waiting", reason=trouble)
        return True

    async def end(self, cursor: BlockRef) -> None:
        """Say, once, that the chain is followed again."""
        if self.is_over:
            return
        self._log.info("following", height=cursor.height)
        self.is_over, self._told = True, None
        await self._ledger.note_trouble(self._chain, self._identity, None)
