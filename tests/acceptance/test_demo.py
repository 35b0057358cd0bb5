"""`chainbell demo` as a user runs it: the installed command, a real anvil and bitcoind, the embedded PostgreSQL."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = (str(Path(sys.executable).with_name("chainbell")), "demo")
ENDS_WITHIN = 150.0
STARTS_WITHIN = 100.0
GONE_WITHIN = 20.0
V2 = "transaction.deposit."
PAID = ["created", "awaiting_confirmation", "confirmation", "confirmation", "success"]
REORGANISED = [*PAID[:3], "pending", *PAID[1:]]
LOW_FEE = ["created", "pending", "replaced", "replaced", "pending", "replaced", "replaced"]
FEE_BUMP = ["created", "pending", *PAID[1:], "reverted", "pending", *PAID[1:]]
STORIES = (PAID, PAID, REORGANISED, LOW_FEE, FEE_BUMP)
LEGACY = {
    "created": "incoming",
    "awaiting_confirmation": "awaiting_confirmation",
    "pending": "pending",
    "success": "success",
    "replaced": "failed",
    "reverted": "failed",
}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Make a folder for temporary files that PostgreSQL's user can pass through, which pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="chainbell-test-demo-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(scratch: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(scratch)}


def run(scratch: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment(scratch),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        check=False,
    )


@contextlib.contextmanager
def started(scratch: Path, *command: str, **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment(scratch), start_new_session=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(scratch: Path) -> list[str]:
    """Return the command lines of all processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = str((entry / "cwd").readlink())
                if str(scratch) in words or where.startswith(str(scratch)):
                    found.append(f"{entry.name} {words}")
    return found


def wait_for(condition: Callable[[], object], what: str, within: float) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"after {within:.0f} s: not {what}"
        time.sleep(0.02)


def assert_nothing_left(scratch: Path) -> None:
    wait_for(lambda: not processes_of(scratch) and not list(scratch.iterdir()), "everything gone", GONE_WITHIN)


@contextlib.contextmanager
def on_a_terminal(scratch: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[str], bool]]]:
    """Run the live view; yield it with a function that tells whether a text has been shown."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    seen = bytearray()

    def shows(text: str) -> bool:
        with contextlib.suppress(BlockingIOError, OSError):
            seen.extend(os.read(leader, 1 << 16))
        return text.encode() in seen

    try:
        with started(scratch, *COMMAND, stdin=follower, stdout=follower, stderr=follower) as demo:
            yield demo, shows
    finally:
        os.close(leader)
        os.close(follower)


def test_once_tells_the_whole_story_and_leaves_nothing(scratch: Path) -> None:
    """`demo --once` ends with 0, prints one JSON line per webhook, complete and in order, and cleans up."""
    done = run(scratch, *COMMAND, "--once")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        told[line["ref"], line["version"]].append(line)
    refs = list(dict.fromkeys(line["ref"] for line in lines))
    for ref, names in zip(refs, STORIES, strict=True):
        current, legacy = told[ref, 2], told[ref, 1]
        assert [line["event"] for line in current] == [V2 + name for name in names]
        assert [line["sequence"] for line in current] == list(range(1, len(names) + 1))
        assert [line["event"] for line in legacy] == [f"transaction.{LEGACY[n]}" for n in names if n in LEGACY]
        ends = ("REPLACED", "FAILED") if names is LOW_FEE else ("SUCCESS", "SUCCESS")
        assert (current[-1]["status"], legacy[-1]["status"]) == ends
        assert current[-1]["final"] is True
    bitcoins = ["BTC_BITCOIN_REGTEST"] * 2
    assert [told[ref, 2][0]["assetType"] for ref in refs] == ["ETH_ANVIL", "DEMO_ANVIL", "ETH_ANVIL", *bitcoins]
    low_fee, fee_bump = (told[ref, 2] for ref in refs[3:])
    first, second = low_fee[0]["hash"], fee_bump[0]["hash"]
    replaced = [line for line in low_fee if line["status"] == "REPLACED"]
    assert [(line["replacedBy"], line["final"]) for line in replaced] == [(second, False), (second, True)] * 2
    assert all(line["replaces"] == first for line in fee_bump if line["status"] == "PENDING")
    assert len({line["blockHash"] for line in fee_bump if line["status"] == "SUCCESS"}) == 2
    assert len({(line["version"], line["webhookId"]) for line in lines}) == len(lines)
    assert_nothing_left(scratch)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("withheld", "v1, coin deposit: missing transaction.success"),
        ("doubled", "arrived 2 times, must arrive once"),
        ("swapped", "v2, coin deposit: out of order"),
        ("unreplaced", "v2, low fee deposit: missing transaction.deposit.replaced"),
        ("unretracted", "v2, fee bump deposit: missing transaction.deposit.reverted"),
        ("forged", "bad signature: standardwebhooks says: No matching signature found"),
    ],
)
def test_once_fails_when_a_webhook_is_not_as_it_must_be(scratch: Path, fault: str, words: str) -> None:
    """One webhook withheld, doubled, out of order or badly signed: `demo --once` ends with 1 and says which."""
    done = run(scratch, sys.executable, "-m", "tests.demo_tampering", fault)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert all(json.loads(line)["event"] for line in done.stdout.splitlines())
    assert_nothing_left(scratch)


def test_killed_in_the_middle_it_leaves_nothing(scratch: Path) -> None:
    """SIGKILL of the demo alone takes anvil, bitcoind, Chainbell, PostgreSQL and the folder with it."""
    with on_a_terminal(scratch) as (demo, shows):
        wait_for(lambda: shows("AWAITING_CONFIRMATION"), "a deposit is shown", STARTS_WITHIN)
        running = "\n".join(processes_of(scratch))
        assert all(name in running for name in ("anvil", "bitcoind", "chainbell run", "postgres"))
        demo.kill()
        demo.wait()
        assert_nothing_left(scratch)


def test_killed_while_it_starts_it_leaves_nothing(scratch: Path) -> None:
    """SIGKILL while PostgreSQL is being made leaves nothing either."""
    with started(scratch, *COMMAND, "--once", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        wait_for(lambda: "initdb" in "\n".join(processes_of(scratch)), "initdb runs", STARTS_WITHIN)
        demo.kill()
        demo.wait()
        assert_nothing_left(scratch)


def test_asked_to_end_it_leaves_nothing(scratch: Path) -> None:
    """SIGTERM ends the demo with its signal's code, with everything gone before it returns."""
    with started(scratch, *COMMAND, "--once", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        wait_for(lambda: "initdb" in "\n".join(processes_of(scratch)), "initdb runs", STARTS_WITHIN)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(GONE_WITHIN) == 128 + signal.SIGTERM
        assert processes_of(scratch) == []
        assert list(scratch.iterdir()) == []


def test_a_reader_that_goes_away_is_a_failure(scratch: Path) -> None:
    """When nobody reads standard output any more, nobody saw every webhook: the exit code is 1, without a traceback."""
    with started(scratch, *COMMAND, "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.close()
        said = demo.stderr.read().decode()
        assert demo.wait(ENDS_WITHIN) == 1
        assert "standard output cannot be written" in said
        assert "Traceback" not in said


def test_the_live_view_shows_both_versions_and_ends_on_ctrl_c(scratch: Path) -> None:
    """On a terminal the deposits go through their statuses; Ctrl-C ends it cleanly."""
    with on_a_terminal(scratch) as (demo, shows):
        wait_for(lambda: shows("SUCCESS"), "a deposit succeeds", STARTS_WITHIN)
        demo.send_signal(signal.SIGINT)
        wait_for(lambda: shows("interrupted") and demo.poll() is not None, "it ended", GONE_WITHIN)
        assert demo.returncode == 128 + signal.SIGINT
        assert all(shows(words) for words in ("v1 (legacy)", "1.5 ETH", "confirmation 2/3", "AWAITING_CONFIRMATION", "✓"))
        assert_nothing_left(scratch)
