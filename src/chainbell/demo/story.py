"""Plays the script on the chains: one move, then the webhooks that it must ring, then the next move."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence

from chainbell.demo.expected import Expected
from chainbell.demo.receiver import Receiver
from chainbell.demo.scene import Scene
from chainbell.demo.script import SCRIPT, Beat, Deposit, rings
from chainbell.demo.service import Chainbell
from chainbell.demo.stage import Stage, Standing
from chainbell.demo.verdict import judge

_ASK_AFTER_SECONDS = 1.0
"""Waiting for a webhook longer than this, we ask Chainbell whether it has told everything."""
_LOOK_SECONDS = 0.25


class Story:
    """One telling of the script."""

    def __init__(self, stages: Sequence[Stage], chainbell: Chainbell, receiver: Receiver, scene: Scene) -> None:
        self._stages = {stage.network: stage for stage in stages}
        self._chainbell = chainbell
        self._receiver = receiver
        self._scene = scene
        self._scene.watched = {stage.network: stage.watched for stage in stages}
        self._standings: dict[Deposit, Standing] = {}
        self._inclusions: defaultdict[Deposit, list[str]] = defaultdict(list)

    async def play(self, pause_seconds: float, say: Callable[[str], None]) -> list[str]:
        """Play it all, with a pause after each move, and return what went wrong: after the first trouble it stops."""
        for beat in SCRIPT:
            self._scene.caption = beat.caption
            say(beat.caption)
            self._scene.network = beat.network
            self._scene.played.append(beat)
            await self._move(beat)
            if complaints := await self._heard():
                where = f"stopped after step {len(self._scene.played)} of {len(SCRIPT)}: {beat.caption}"
                return [*complaints, where]
            await asyncio.sleep(pause_seconds)
        return await self._settled()

    def complaints(self) -> list[str]:
        """Judge everything received against the moves made so far, and what the nodes said of each."""
        expected = Expected(
            rings(self._scene.played),
            self._scene.tx_hashes,
            self._scene.watched,
            self._inclusions,
            self._standings,
        )
        return judge(expected, self._receiver.received)

    async def _move(self, beat: Beat) -> None:
        stage = self._stages[beat.network]
        await stage.make(beat.move, beat.deposit)
        self._scene.tx_hashes |= stage.tx_hashes
        self._scene.height, self._scene.tip_hash = await stage.tip()
        await self._take_note(stage)

    async def _take_note(self, stage: Stage) -> None:
        """Ask the node where each payment is now."""
        for deposit in stage.tx_hashes:
            standing = await stage.standing(deposit)
            if standing.block_hash is not None and standing.block_hash not in self._inclusions[deposit]:
                self._inclusions[deposit].append(standing.block_hash)
            self._standings[deposit] = standing

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
        """Wait until nothing more can come, ask the nodes once more, and judge everything."""
        wanted = len(rings(SCRIPT))
        while not await self._has_told(wanted):  # noqa: ASYNC110 - another process tells it, which sets no event of ours
            await asyncio.sleep(_LOOK_SECONDS)
        for stage in self._stages.values():
            await self._take_note(stage)
        complaints = self.complaints()
        if (told := await self._chainbell.events()) != wanted:
            complaints.append(f"the feed holds {told} events, must hold {wanted}")
        return complaints

    async def _has_told(self, events: int) -> bool:
        """Whether Chainbell wrote that many events, and every webhook of what it wrote was answered with success."""
        return await self._chainbell.events() >= events and await self._chainbell.undelivered() == 0
