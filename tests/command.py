"""The installed command, run as a program of its own."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("chainbell")
SECRET_KEY = base64.b64encode(bytes(range(32))).decode()
_SECONDS = 90
_DATA_DIR = tempfile.TemporaryDirectory(prefix="chainbell-journal-")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """What it printed, as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**ours: str) -> dict[str, str]:
    """Return an environment with these settings and no others of Chainbell."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("CHAINBELL_")}
    if "DATABASE_URL" in ours:
        ours = {"DATA_DIR": _DATA_DIR.name} | ours  # for the journal: not the data directory of who runs the tests
    return others | {"COLUMNS": "120", "TERM": "dumb"} | {f"CHAINBELL_{name}": value for name, value in ours.items()}


def chainbell(*words: str, cwd: Path, **settings: str) -> Ended:
    """Run `chainbell` with these words and settings to its end, in a folder without a ``.env``."""
    ended = subprocess.run(
        [str(COMMAND), *words],
        check=False,
        capture_output=True,
        cwd=cwd,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_SECONDS,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)
