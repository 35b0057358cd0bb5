"""What derives keys, in a process of its own: loaded when there is room for its files, however often that was not so."""

import subprocess
import sys
from pathlib import Path
from random import Random

from chainbell.custody.extended_key import BIP32_MAIN
from tests.keys import random_key

XPUB = random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN)


def test_bitcoinlib_is_loaded_later_where_its_folder_was_full(tmp_path: Path) -> None:
    """What cannot be written raises the error that heals by itself, wherever the import broke off; then the same works."""
    program = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.keys import BITCOIN
from chainbell.custody.account_key import parse_account_key
from chainbell.custody.derivation import derive
from chainbell.domain.errors import UnavailableError
template = parse_account_key({XPUB!r}, BITCOIN)
full = True
def refuse(event, arguments):
    if full and event == "open" and str(arguments[0]).endswith("bitcoinlib.log"):
        raise OSError(28, "No space left on device")
sys.addaudithook(refuse)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in (0, 100, before[0]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        derive(template, 0, 0, 2)
    except UnavailableError as error:
        assert "Free space there" in str(error)
    else:
        raise AssertionError("it was loaded")
full = False
assert len(set(derive(template, 0, 0, 2))) == 2
"""
    checkout = Path(__file__).parents[2]
    environment = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": f"{checkout / 'src'}:{checkout}"}
    ended = subprocess.run(
        [sys.executable, "-B", "-c", program], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []
