"""Where the time goes: ``CHAINBELL_BENCH_PROFILE=DIR make bench ARGS=name`` writes a cProfile of each process into DIR.

A profile slows what it looks at by half: the figures of such a run are none.
"""

import cProfile
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "CHAINBELL_BENCH_PROFILE"


@contextmanager
def profiled(name: str) -> Iterator[None]:
    """Profile what happens inside, if the environment asks for it."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        Path(folder).mkdir(parents=True, exist_ok=True)
        profile.dump_stats(Path(folder) / f"{name}-{os.getpid()}.prof")
