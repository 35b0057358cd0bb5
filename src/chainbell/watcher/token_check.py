"""Which listed tokens can be matched: each contract is asked what it says of itself."""

from collections import Counter

import structlog
from structlog.typing import FilteringBoundLogger

from chainbell.domain.chain import ChainDefinition, Token
from chainbell.domain.errors import NodeError
from chainbell.domain.following import CoverageChange
from chainbell.watcher.ports import Node
from chainbell.watcher.tokens import Renamed, SwitchedOff, judge_token

ANSWERS_TO_SWITCH_OFF = 3
"""A node that has just begun to sync says of every contract that it is not there: one such answer proves nothing."""


class TokenCheck:
    """Judges the tokens of one chain, again and again; remembers how often it was told what."""

    def __init__(self, definition: ChainDefinition) -> None:
        self._definition = definition
        self._log: FilteringBoundLogger = structlog.get_logger().bind(chain=definition.name)
        self._doubts: Counter[bytes] = Counter()
        self._told: dict[bytes, str] = {}

    async def judge(self, node: Node) -> CoverageChange:
        """Ask a node, not behind our cursor, about every token. No answer: the chain waits.

        Raises `NodeError` also for the first answers by which a token would be switched off: it is asked again.
        """
        confirmed, switched_off = [], []
        for token in self._definition.tokens:
            reason = await self._why_not(token, node)
            if reason is None:
                confirmed.append(token.contract)
            else:
                switched_off.append((token.contract, reason))
        return CoverageChange(tuple(confirmed), tuple(switched_off))

    async def _why_not(self, token: Token, node: Node) -> str | None:
        verdict = judge_token(token, await node.token_facts(token.contract))
        if not isinstance(verdict, SwitchedOff):
            del self._doubts[token.contract]
            self._say(token, verdict.warning if isinstance(verdict, Renamed) else None)
            return None
        self._doubts[token.contract] += 1
        if self._doubts[token.contract] < ANSWERS_TO_SWITCH_OFF:
            message = f"token {token.symbol}: {verdict.reason}; it is asked again before the token is switched off"
            raise NodeError(message)
        self._say(token, verdict.reason, off=True)
        return verdict.reason

    def _say(self, token: Token, trouble: str | None, *, off: bool = False) -> None:
        """Log what is wrong with a token, once, and that it is well again."""
        before = self._told.pop(token.contract, None)
        if trouble is not None:
            self._told[token.contract] = trouble
        if trouble == before:
            return
        if off:
            self._log.error("token switched off: its transfers are not seen", token=token.symbol, reason=trouble)
        elif trouble is not None:
            self._log.warning("token has another symbol", token=token.symbol, reason=trouble)
        else:
            self._log.info("token is well again", token=token.symbol)
