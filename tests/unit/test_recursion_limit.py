"""A library must not make us mortal: the recursion limit stays Python's own."""

import subprocess
import sys


def test_deeply_nested_json_is_an_error_and_no_crash() -> None:
    """With everything imported that `chainbell run` imports, a nested body raises, and the process lives."""
    program = "import json, chainbell.app.run\ntry: json.loads('[' * 100_000)\nexcept RecursionError: print('lives')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "lives\n"), done.stderr[-2000:]
