"""The import rules hold, and would be noticed if they did not: each is broken in a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
VIOLATIONS = {
    "a stage imports another": ("tracker/book.py", "import chainbell.watcher.tokens", "stages never import one another"),
    "a stage imports storage": ("watcher/tokens.py", "import chainbell.storage.locks", "lie above one another"),
    "asyncpg outside of storage": ("api/server.py", "import asyncpg", "SQL and asyncpg live in storage"),
    "a pure room reads the clock": ("tracker/transitions.py", "import time", "Pure rooms know no IO"),
    "a new room without a place": ("attic/__init__.py", "", "lie above one another"),
}


def _lint(package_parent: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(package_parent / "src")}
    return subprocess.run(command, cwd=package_parent, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(CHECKOUT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rules_hold(copy: Path) -> None:
    """Every contract is kept as the code stands."""
    done = _lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_noticed(copy: Path, name: str) -> None:
    """One wrong import breaks the contract that it breaks."""
    file, line, contract = VIOLATIONS[name]
    path = copy / "src" / "chainbell" / file
    path.parent.mkdir(exist_ok=True)
    sound = path.read_text() if path.exists() else ""
    path.write_text(f"{sound}\n{line}\n")
    done = _lint(copy)
    assert done.returncode == 1, done.stdout
    assert any(contract in line and line.endswith("BROKEN") for line in done.stdout.splitlines()), done.stdout
