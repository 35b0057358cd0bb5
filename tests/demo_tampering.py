"""`chainbell demo --once` with a fault between the chain and the merchant: `python -m tests.demo_tampering withheld`.

Each fault changes what reaches the receiver of one webhook, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from chainbell.demo.main import demo
from chainbell.demo.receiver import Arrival


class Withheld:
    """Lose the first webhook of an event: it is answered as received, and never seen."""

    def __init__(self, event: str) -> None:
        self.event = event
        self.done = False

    def __call__(self, arrival: Arrival) -> Sequence[Arrival]:
        if not self.done and _event(arrival) == self.event:
            self.done = True
            return ()
        return (arrival,)


class Doubled:
    """Let the first success arrive twice."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, arrival: Arrival) -> Sequence[Arrival]:
        if not self.done and _event(arrival) == "transaction.deposit.success":
            self.done = True
            return (arrival, arrival)
        return (arrival,)


class Swapped:
    """Hold the first webhook of version 2 back until the second has arrived."""

    def __init__(self) -> None:
        self.held: Arrival | None = None
        self.done = False

    def __call__(self, arrival: Arrival) -> Sequence[Arrival]:
        if self.done or arrival.version == 1:
            return (arrival,)
        if self.held is None:
            self.held = arrival
            return ()
        self.done = True
        return (arrival, self.held)


class Forged:
    """Flip one bit in the body of the first success, which stays JSON."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, arrival: Arrival) -> Sequence[Arrival]:
        if self.done or _event(arrival) != "transaction.deposit.success":
            return (arrival,)
        self.done = True
        body = arrival.body.replace(b'"amount":"1.5"', b'"amount":"9.5"')
        assert body != arrival.body
        return (replace(arrival, body=body),)


FAULTS: dict[str, Callable[[], Callable[[Arrival], Sequence[Arrival]]]] = {
    "withheld": partial(Withheld, "transaction.success"),
    "unreplaced": partial(Withheld, "transaction.deposit.replaced"),
    "unretracted": partial(Withheld, "transaction.deposit.reverted"),
    "doubled": Doubled,
    "swapped": Swapped,
    "forged": Forged,
}


def _event(arrival: Arrival) -> str:
    return str(json.loads(arrival.body)["event"])


if __name__ == "__main__":
    sys.exit(asyncio.run(demo(once=True, tamper=FAULTS[sys.argv[1]]())))
