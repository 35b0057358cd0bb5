"""Where the nodes are that the demo runs on."""

import os
import shutil
from pathlib import Path

from chainbell.demo.errors import DemoError

_CHECKOUT = Path(__file__).resolve().parents[3]


def find_program(name: str) -> str:
    """Return the path of a node's program: the checkout's own, else the one on PATH. Raises `DemoError` without one."""
    own = _CHECKOUT / ".nodes" / "bin" / name
    found = str(own) if os.access(own, os.X_OK) else shutil.which(name)
    if found is None:
        message = (
            f"{name}, a node that the demo runs on, is not installed: run `make demo`, or `tools/install-nodes {name}`, in "
            f"a checkout of Chainbell, or put {name} on your PATH"
        )
        raise DemoError(message)
    return found
