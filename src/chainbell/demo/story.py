"""Plays the script on the chain: one move, then the webhooks that it must ring, then the next move."""

import asyncio
import contextlib
from collections.abc import Callable

from chainbell.demo import token
from chainbell.demo.anvil import Anvil
from chainbell.demo.errors import DemoError
from chainbell.demo.receiver import Receiver
from chainbell.demo.scene import Scene
from chainbell.demo.script import REORG_DEPTH, SCRIPT, Beat, Deposit, Move, rings
from chainbell.demo.service import Chainbell
from chainbell.demo.verdict import Expected, judge

_ASK_AFTER_SECONDS = 1.0
"""Waiting for a webhook longer than this, we ask Chainbell whether it has told everything."""
_LOOK_SECONDS = 0.25


class Story:
    """One telling of the script. `contract` is the demo's token, `watched` the merchant's address (EIP-55)."""

    def __init__(  # noqa: PLR0913 - the actors and props of a play
        self,
        *,
        anvil: Anvil,
        chainbell: Chainbell,
        receiver: Receiver,
        scene: Scene,
        accounts: list[str],
        contract: str,
        watched: str,
    ) -> None:
        self._anvil = anvil
        self._chainbell = chainbell
        self._receiver = receiver
        self._scene = scene
        self._accounts = accounts
        self._contract = contract
        self._watched = watched
        self._raw: dict[Deposit, str] = {}
        self._first_block: dict[Deposit, str] = {}

    async def play(self, pause_seconds: float, say: Callable[[str], None]) -> list[str]:
        """Play it all, with a pause after each move, and return what went wrong: after the first trouble it stops."""
        for beat in SCRIPT:
            self._scene.caption = beat.caption
            say(beat.caption)
            self._scene.played.append(beat)
            await self._move(beat)
            self._scene.height, self._scene.tip_hash = await self._anvil.tip()
            if complaints := await self._heard():
                where = f"stopped after step {len(self._scene.played)} of {len(SCRIPT)}: {beat.caption}"
                return [*complaints, where]
            await asyncio.sleep(pause_seconds)
        return await self._settled()

    def complaints(self) -> list[str]:
        """Judge everything received against the moves made so far."""
        expected = Expected(rings(self._scene.played), self._scene.tx_hashes, self._watched)
        return judge(expected, self._receiver.received)

    async def _move(self, beat: Beat) -> None:
        if beat.deposit is None:
            await self._anvil.mine()
            return
        match beat.move:
            case Move.PAY:
                await self._pay(beat.deposit)
            case Move.PAY_AGAIN:
                await self._pay_again(beat.deposit)
            case Move.REORGANISE:
                await self._anvil.reorganise(REORG_DEPTH)
            case Move.MINE:
                await self._anvil.mine()

    async def _pay(self, deposit: Deposit) -> None:
        deployer, customer = self._accounts[:2]
        if deposit.token:
            data = token.transfer_data(bytes.fromhex(self._watched[2:]), deposit.amount)
            tx_hash = await self._anvil.send(deployer, self._contract, 0, data)
        else:
            tx_hash = await self._anvil.send(customer, self._watched, deposit.amount, b"")
        # Known before it is mined, so that no webhook can come before its transaction is known here.
        self._scene.tx_hashes[deposit] = tx_hash
        # A reorg's transactions do not return to anvil's pool: whoever wants one back keeps its bytes.
        self._raw[deposit] = await self._anvil.raw(tx_hash)
        await self._anvil.mine()
        self._first_block[deposit] = (await self._anvil.mined(tx_hash))["blockHash"]

    async def _pay_again(self, deposit: Deposit) -> None:
        await self._anvil.resend(self._raw[deposit])
        await self._anvil.mine()
        block_hash = (await self._anvil.mined(self._scene.tx_hashes[deposit]))["blockHash"]
        if block_hash == self._first_block[deposit]:
            message = f"anvil mined the transaction into block {block_hash} again: this anvil cannot show a reorg"
            raise DemoError(message)

    async def _heard(self) -> list[str]:
        """Wait until all webhooks of the moves so far are here and good, or until no other can come; what is wrong."""
        clock = asyncio.get_running_loop().time
        started = clock()
        while True:
            self._receiver.news.clear()
            if not self.complaints():
                return []
            self._chainbell.check_alive()
            if clock() - started > _ASK_AFTER_SECONDS and await self._has_told(len(rings(self._scene.played))):
                return self.complaints()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._receiver.news.wait()

    async def _settled(self) -> list[str]:
        """Wait until nothing more can come, and judge everything."""
        wanted = len(rings(SCRIPT))
        while not await self._has_told(wanted):  # noqa: ASYNC110 - another process tells it, which sets no event of ours
            await asyncio.sleep(_LOOK_SECONDS)
        complaints = self.complaints()
        if (told := await self._chainbell.events()) != wanted:
            complaints.append(f"the feed holds {told} events, must hold {wanted}")
        return complaints

    async def _has_told(self, events: int) -> bool:
        """Whether Chainbell wrote that many events, and every webhook of what it wrote was answered with success."""
        return await self._chainbell.events() >= events and await self._chainbell.undelivered() == 0
