"""`chainbell demo`: the main job on development chains, from a payment to verified webhooks, to watch or to judge."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import aiohttp
from rich.console import Console
from rich.live import Live

from chainbell.demo.errors import DemoError
from chainbell.demo.programs import find_program
from chainbell.demo.receiver import Receiver, Tamper, untouched
from chainbell.demo.sandbox import Sandbox
from chainbell.demo.scene import Scene
from chainbell.demo.service import Chainbell
from chainbell.demo.stage_anvil import AnvilStage
from chainbell.demo.stage_bitcoin import BitcoinStage
from chainbell.demo.story import Story
from chainbell.demo.view import draw, summary
from chainbell.demo.webhook import Webhook, to_line

_DEADLINE_SECONDS = 120.0
_PAUSE_SECONDS = 2.0
"""After each move of the live view, so that people can follow it."""
_FRAMES_PER_SECOND = 8
_V2_FILTER = ["transaction.*", "transaction.deposit.confirmation"]
"""Each depth is told to those only who name it exactly."""
_KILLED_BY = 128
"""Exit code of a program that ended on a signal, plus the signal's number."""


async def demo(*, once: bool, tamper: Tamper = untouched) -> int:
    """Run the main job once in a sandbox that leaves nothing behind, and return the exit code.

    0 only if exactly the expected webhooks arrived. With `once` standard output carries one line of JSON per verified
    webhook and nothing else. `tamper` is for tests, which show with it that faults are noticed.
    """
    watch = not once and sys.stdout.isatty()
    console = Console(stderr=not watch)
    output = _Output(once=once, console=console, watched=watch)
    receiver = Receiver(output.hear, tamper)
    scene = Scene(receiver.received)
    interruption = _Interruption()
    try:
        with interruption.on_signals(), _live(console, scene) if watch else nullcontext():
            complaints = await _perform(receiver, scene, output, _PAUSE_SECONDS if watch else 0.0)
            scene.complaints = [*complaints, *output.complaints]
    except DemoError as error:
        scene.complaints = [str(error)]
    except asyncio.CancelledError:
        if interruption.by is None:
            raise
    if interruption.by is not None:
        console.print("interrupted; nothing is left behind")
        return _KILLED_BY + interruption.by
    console.print(summary(scene), soft_wrap=True)
    return 1 if scene.complaints else 0


@contextmanager
def _live(console: Console, scene: Scene) -> Iterator[None]:
    with Live(get_renderable=lambda: draw(scene, console.height), console=console, refresh_per_second=_FRAMES_PER_SECOND):
        yield


async def _perform(receiver: Receiver, scene: Scene, output: "_Output", pause_seconds: float) -> list[str]:
    """Set the stage, play the story, clear the stage; return what went wrong."""
    story: Story | None = None
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS), AsyncExitStack() as stack:
            story = await _set_the_stage(stack, receiver, scene, output.say)
            complaints = await story.play(pause_seconds, output.say)
            scene.caption = "Done" if not complaints else "Stopped"
            return complaints
    except TimeoutError:
        late = f"not through within {_DEADLINE_SECONDS:.0f} s; the last step was: {scene.caption}"
        return [late, *(story.complaints() if story is not None else ())]


async def _set_the_stage(stack: AsyncExitStack, receiver: Receiver, scene: Scene, say: Callable[[str], None]) -> Story:
    say(scene.caption)
    for program in ("anvil", "bitcoind"):
        find_program(program)  # before anything is started, since without one of them nothing can be shown
    sandbox = Sandbox()
    # The receiver goes last: until then whoever delivers finds it.
    await stack.enter_async_context(receiver.listening())
    await stack.enter_async_context(sandbox)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    stages = (await AnvilStage.build(sandbox, session), await BitcoinStage.build(sandbox, session))
    chainbell = await Chainbell.start(sandbox, session, stages)
    receiver.trust(2, await chainbell.add_endpoint(receiver.url(2), 2, _V2_FILTER))
    receiver.trust(1, await chainbell.add_endpoint(receiver.url(1), 1, []))
    for stage in stages:
        await chainbell.watch(stage)
    scene.height, scene.tip_hash = await stages[0].tip()
    return Story(stages, chainbell, receiver, scene)


@dataclass
class _Interruption:
    """The signal that ended the demo early, if one did."""

    by: signal.Signals | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Cancel the current task on the first signal, so that everything is cleared away."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

        def interrupt(number: signal.Signals) -> None:
            self.by = number
            if task is not None:
                task.cancel()

        for number in numbers:
            loop.add_signal_handler(number, interrupt, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


class _Output:
    """Where the demo speaks: JSON for programs on standard output, words for people elsewhere."""

    def __init__(self, *, once: bool, console: Console, watched: bool) -> None:
        self.complaints: list[str] = []
        self._once = once
        self._console = console
        self._watched = watched

    def say(self, words: str) -> None:
        """Tell a step, unless the live view shows it."""
        if not self._watched:
            self._console.print(f"demo: {words}", soft_wrap=True, highlight=False)

    def hear(self, webhook: Webhook) -> None:
        """Report a webhook that just arrived, if it is verified and a program listens."""
        if not self._once or webhook.problem is not None or self.complaints:
            return
        try:
            sys.stdout.write(f"{to_line(webhook)}\n")
            sys.stdout.flush()
        except OSError as error:
            self.complaints.append(f"standard output cannot be written ({error}): its reader did not see every webhook")
            # Else Python complains once more at its exit, when it flushes what could not be written.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
