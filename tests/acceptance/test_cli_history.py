"""History and coverage as an operator meets them: the installed command, on a terminal and off it."""

import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.api_client import CHECKSUMMED, CURSOR, api_house
from tests.command import COMMAND, SECRET_KEY, Ended, chainbell, environment
from tests.nodes import Anvil
from tests.running import running

pytestmark = pytest.mark.timeout(300)

ALICE = "0x" + "a1" * 20
ETHER = 10**18
PAST = ("--from-height", "0", "--no-notify")
_SECONDS = 60


def on_a_terminal(*words: str, cwd: Path, interrupt_at: str | None = None, **settings: str) -> Ended:
    """Run a command whose stderr is a terminal; interrupt it, as Ctrl-C does, once it shows some words."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *words],
        cwd=cwd,
        env=environment(**settings) | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = ""
    deadline = time.monotonic() + _SECONDS
    with suppress(OSError):  # how the end of a terminal reads
        while part := os.read(ours, 65536):
            shown += part.decode()
            assert time.monotonic() < deadline, shown
            if interrupt_at is not None and interrupt_at in shown:
                process.send_signal(signal.SIGINT)
                interrupt_at = None
    os.close(ours)
    out, _ = process.communicate(timeout=_SECONDS)
    return Ended(process.returncode, out, shown)


async def test_an_address_is_added_with_its_past(anvil: Anvil, database_url: str, tmp_path: Path) -> None:
    """A deposit from before is found while `run` goes on, is not told to endpoints, and coverage reaches down to it."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    await anvil.mine(40)
    sent = await anvil.send(anvil.accounts[0], ALICE, ETHER)
    await anvil.mine(20)
    async with running(tmp_path, DATABASE_URL=database_url, NODES__ANVIL=anvil.url) as service:
        await service.event("following")
        run("endpoint", "add", "https://example.com/", "--mode", "test")
        (added,) = run("address", "add", "anvil", ALICE, *PAST, "--json").lines
        scan = added["scan"]
        assert (scan["blocks"], scan["notify"]) == (scan["throughHeight"] + 1, False)
        followed = run("scan", "show", scan["id"], "--follow", "--json")
        assert followed.code == 0, followed.err
        (finished,) = followed.lines
        assert (finished["blocksRead"], finished["trouble"]) == (scan["blocks"], None)
        assert finished["finishedAt"] is not None
        (deposit,) = run("transactions", "--json").lines
        assert (deposit["hash"], deposit["status"], deposit["historical"]) == (sent, "SUCCESS", True)
        told = run("events", "--json").lines
        assert [item["event"]["type"].rpartition(".")[2] for item in told] == ["created", "awaiting_confirmation", "success"]
        assert run("deliveries", "--json").lines == []

        (shown,) = run("coverage", "--address", ALICE, "--json").lines
        assert (shown["address"]["coveredFrom"], shown["address"]["unfinishedScanIds"]) == (0, [])
        (coin,) = [item for item in shown["items"] if item["capability"] == "coin"]
        assert ([part["fromHeight"] for part in coin["ranges"]], coin["gaps"]) == ([0], [])
        whole = run("coverage", "anvil")
        assert "not covered: nothing looked for it before" in whole.out
        mend = whole.out.rpartition("endpoints not told: ")[2].strip()
        assert mend == "chainbell scan start anvil --from-height 0 --no-notify"

        mended = on_a_terminal(*mend.split()[1:], cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
        assert mended.code == 0, mended.err
        assert "is finished" in mended.err
        assert "not covered: nothing looked for it before" not in run("coverage", "anvil").out
        assert run("scan", "list", "--unfinished", "--json").lines == []
        assert len(run("scan", "list", "--json").lines) == 2
        assert len(run("transactions", "--json").lines) == 1
        assert await service.stop() == 0


async def test_progress_is_shown_until_somebody_interrupts(database_url: str, tmp_path: Path) -> None:
    """A bar on a terminal; Ctrl-C leaves the scan to the service and says so; status names what is unfinished, and why."""
    settings = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
    async with api_house(database_url) as house:
        await house.fetchval(
            "update chains set follower = 'host/1', lease_until = clock_timestamp() + '1 hour' where name = 'anvil'"
        )
        words = ("address", "add", "anvil", CHECKSUMMED, *PAST)
        ended = on_a_terminal(*words, cwd=tmp_path, interrupt_at=f"0 of {CURSOR + 1} blocks", **settings)
        assert ended.code == 130
        assert f"is watched on anvil from block {CURSOR + 1} on" in ended.out
        assert "Traceback" not in ended.err
        scan_id = str(await house.fetchval("select id from scans"))
        assert f"scan {scan_id} goes on in `chainbell run`" in ended.err.replace("\r\n", " ")

        await house.fetchval("update scans set next_height = 70, trouble = 'no node gives blocks 55 to 70: pruned'")
        status = chainbell("status", cwd=tmp_path, **settings)
        line = "the past of anvil: 1 scan reads, at block 70, down to 0; waiting: no node gives blocks 55 to 70: pruned"
        assert line in status.out.splitlines()
        (shown,) = chainbell("status", "--json", cwd=tmp_path, **settings).lines
        assert [(scan["chain"], scan["scans"], scan["nextHeight"]) for scan in shown["scans"]] == [("anvil", 1, 70)]
        listed = chainbell("scan", "list", "--chain", "anvil", cwd=tmp_path, **settings)
        assert "waits: no node gives blocks 55 to 70: pruned" in listed.out
        assert "30 of 101" in listed.out


async def test_history_is_asked_for_whole_or_not_at_all(database_url: str, tmp_path: Path) -> None:
    """Without saying whether endpoints are told it is refused, and where nobody follows the chain it says what must run."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house:
        for words, part in (
            (("address", "add", "anvil", CHECKSUMMED, "--from-height", "5"), "--no-notify"),
            (("address", "add", "anvil", CHECKSUMMED, "--notify"), "give --from-height as well"),
            (("scan", "start", "anvil", "--from-height", "5"), "--no-notify"),
            (("scan", "start", "anvil"), "--from-height"),
            (("scan", "start", "anvil", "--from-height", "-1", "--notify"), "greater than or equal"),
        ):
            refused = run(*words)
            assert (refused.code, refused.out) == (2, ""), words
            assert part in refused.err
        assert await house.fetchval("select count(*) from scans") == 0
        added = run("address", "add", "anvil", CHECKSUMMED, "--from-height", "5", "--notify")
        assert added.code == 0
        scan_id = str(await house.fetchval("select id from scans"))
        assert f"scan {scan_id} reads its past, from block {CURSOR} down to 5" in added.out
        assert "nobody follows anvil now: the scan begins when `chainbell run` does" in added.err
        above = run("address", "add", "anvil", ALICE, "--from-height", str(CURSOR + 1), "--notify")
        assert "no past to read" in above.err
        again = run("scan", "start", "anvil", "--address", CHECKSUMMED, "--from-height", "3", "--no-notify", "--json")
        assert (again.lines[0]["fromHeight"], again.lines[0]["accountId"] is None) == (3, False)
        growing = "insert into coverage (chain, capability, token, from_height) values ('anvil', 'coin', '', $1)"
        await house.fetchval(growing, CURSOR + 1)
        listed = run("coverage")
        shown = {line.split()[0] for line in listed.out.splitlines() if "mempool" in line}
        assert shown == {line["chain"] for line in run("coverage", "--json").lines} != set()
        assert "not covered: nothing is told of a transaction before" in listed.out
        for wrong, said in (
            (("scan", "start", "anvil", "--address", ALICE[:-2] + "00", "--from-height", "3", "--notify"), "register it"),
            (("deliveries", "--event", "foo"), "this is no event id"),
            (("scan", "start", "anvil", "--from-height", str(CURSOR + 1), "--notify"), f"below {CURSOR + 1}"),
            (("scan", "show", "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"), "there is no scan of this id"),
            (("coverage", "anvil", "--address", "0x" + "ab" * 20), "is not watched on anvil"),
            (("coverage", "anvill"), "did you mean anvil?"),
        ):
            ended = run(*wrong)
            assert (ended.code, ended.out) == (1, ""), wrong
            assert said in ended.err
        assert scan_id in run("scan", "show", scan_id).out
