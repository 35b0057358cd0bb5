"""The installed command when something is wrong: one message that says what to do, no traceback, the right exit code."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

import chainbell as package
from chainbell.cli.main import app
from tests.api_client import CHECKSUMMED, api_house
from tests.command import SECRET_KEY, chainbell

pytestmark = pytest.mark.timeout(300)

COMMANDS = [
    *("run", "demo", "migrate", "version", "transactions", "events", "deliveries", "replay", "replays", "status", "listen"),
    *("scan list", "scan show", "scan start", "coverage"),
    *("address add", "address list", "address remove"),
    *("endpoint add", "endpoint list", "endpoint remove", "endpoint enable", "endpoint disable"),
    *("api-key add", "api-key list", "api-key remove"),
    *("restored", "prune", "chain accept-reorg"),
]


def _is_one_message(text: str) -> bool:
    return text.startswith("chainbell: ") and text.count("\n") == 1 and "Traceback" not in text


def test_the_version_is_quick_to_say(tmp_path: Path) -> None:
    """It is the package's, and to declare the commands Chainbell imports nothing heavy; what Typer does then is its own."""
    ended = chainbell("version", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"{package.__version__}\n", "")
    heavy = "{'fastapi', 'asyncpg', 'pydantic', 'web3', 'aiohttp', 'orjson', 'rich'}"
    program = f"import sys, chainbell.cli.main; sys.exit(repr({heavy} & sys.modules.keys() or ''))"
    loaded = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert loaded.stderr.strip() == "''"


def test_help_shows_every_command_with_examples(tmp_path: Path) -> None:
    """The list of commands is whole, and each command's help shows how it is typed."""
    overview = chainbell("--help", cwd=tmp_path)
    assert overview.code == 0
    runner = CliRunner()
    for command in COMMANDS:
        assert command.split()[0] in overview.out
        shown = runner.invoke(app, [*command.split(), "--help"])
        assert shown.exit_code == 0
        assert re.search(rf"Examples:\s.*chainbell {command}", shown.output, re.DOTALL), shown.output


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["address", "add", "anvil"],
        ["transactions", "--status", "UNSEEN"],
        ["transactions", "--limit", "0"],
        ["endpoint", "add", "https://example.com/"],
        ["endpoint", "remove", "nonsense"],
        ["replay", "nonsense"],
        ["listen"],
    ],
)
def test_wrong_usage_is_code_2(tmp_path: Path, words: list[str]) -> None:
    """Nothing is opened for it; stdout stays empty, and stderr says what is missing."""
    ended = chainbell(*words, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


async def test_bad_input_is_one_line(database_url: str, tmp_path: Path) -> None:
    """What cannot be done names the mistake and what to do. All the words for it are tested with the API, which is quick."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url):
        pass
    for words, part in (
        (["address", "add", "anvill", CHECKSUMMED], "did you mean anvil?"),
        (["address", "add", "sepolia", CHECKSUMMED], "CHAINBELL_NODES__SEPOLIA"),
        (["endpoint", "add", "http://10.0.0.1/", "--mode", "live"], "CHAINBELL_ALLOWED_NETWORKS"),
        (["events", "--after", "OTox"], "--after MDow"),
    ):
        ended = run(*words)
        assert (ended.code, ended.out) == (1, ""), words
        assert _is_one_message(ended.err), ended.err
        assert part in ended.err


def test_bad_settings_are_named(tmp_path: Path) -> None:
    """An unknown variable, a missing key, a missing database: each says which, and nothing secret is printed."""
    away = "postgresql://user:hunter2@127.0.0.1:1/chainbell"
    for settings, part in (
        ({"DATABASE_ULR": away}, "did you mean CHAINBELL_DATABASE_URL?"),
        ({"DATABASE_URL": away}, "CHAINBELL_SECRET_KEY is missing"),
        ({"DATABASE_URL": away, "SECRET_KEY": SECRET_KEY}, "check that it runs"),
    ):
        ended = chainbell("status", cwd=tmp_path, **settings)
        assert (ended.code, ended.out) == (1, ""), settings
        assert part in ended.err
        assert "hunter2" not in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("character", "/?#@")
@pytest.mark.parametrize("command", ["status", "run"])
def test_no_part_of_a_password_is_printed(tmp_path: Path, command: str, character: str) -> None:
    """A password that was not percent-encoded breaks the URL: the message says so, and shows neither half of it."""
    url = f"postgresql://user:Sup3r{character}S3cretPw@127.0.0.1:1/db"
    ended = chainbell(command, cwd=tmp_path, DATABASE_URL=url, SECRET_KEY=SECRET_KEY, SCREENING="off", API_PORT="0")
    assert (ended.code, ended.out) == (1, "")
    assert _is_one_message(ended.err), ended.err
    assert "percent-encode" in ended.err
    for part in ("Sup3r", "S3cret", "127.0.0.1"):
        assert part not in ended.err


def test_status_says_which_chain_was_never_reached(database_url: str, tmp_path: Path) -> None:
    """A chain with nodes that has no cursor yet is listed, and why there is nothing to show of it."""
    settings = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "NODES__SEPOLIA": "http://127.0.0.1:1"}
    ended = chainbell("status", cwd=tmp_path, **settings)
    assert ended.code == 0, ended.err
    (row,) = [line for line in ended.out.splitlines() if "sepolia" in line]
    assert "not started: nobody has tried yet" in row
    (status,) = chainbell("status", "--json", cwd=tmp_path, **settings).lines
    (chain,) = status["chains"]
    assert (chain["name"], chain["cursor"]) == ("sepolia", None)
    assert chain["trouble"].startswith("not started: nobody has tried yet")


def test_run_wants_a_word_about_screening(tmp_path: Path) -> None:
    """Without CHAINBELL_SCREENING=off it refuses to start, and says why."""
    ended = chainbell("run", cwd=tmp_path, DATA_DIR=str(tmp_path / "data"))
    assert ended.code == 1
    assert "CHAINBELL_SCREENING=off" in ended.err
    assert not (tmp_path / "data").exists()
