"""Parts of the demo that can be seen without a chain: its token, its script, its view, what it says without its nodes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from chainbell.config.chains import load_chains
from chainbell.demo import programs, token
from chainbell.demo.errors import DemoError
from chainbell.demo.main import demo
from chainbell.demo.scene import Scene
from chainbell.demo.script import (
    BUMPED,
    CHEAP,
    COIN,
    DEPOSITS,
    REORG_DEPTHS,
    REORGANISED,
    REQUIRED,
    SCRIPT,
    Deposit,
    Move,
    Network,
)
from chainbell.demo.view import draw, short, summary
from chainbell.demo.webhook import Webhook, read_webhook

FIRST_ACCOUNT = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")
BODY = (
    b'{"id":"evt_1","event":"transaction.deposit.success","sequence":5,"data":{"ref":"trx_1","status":"SUCCESS",'
    b'"confirmation":3,"requiredConfirmation":3,"amount":"1.5","hash":"0x%064x"}}'
)


def drawn(scene: Scene, rows: int = 50) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(draw(scene, rows))
    console.print(summary(scene))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def webhook(version: int, problem: str | None = None, tx: int = 1) -> Webhook:
    return read_webhook(version, f"evt_1{'_v1' * (version == 1)}", BODY % tx, datetime(2026, 11, 22, tzinfo=UTC), problem)


def scene_with(received: Sequence[Webhook]) -> Scene:
    return Scene(received, tx_hashes={COIN: f"0x{1:064x}"}, height=7, tip_hash="0x" + "ab" * 32)


def test_the_tokens_address_is_known_before_it_is_deployed() -> None:
    """The first contract of anvil's first account has the address that every Foundry project knows."""
    assert token.contract_address(FIRST_ACCOUNT).hex() == "5fbdb2315678afecb367f032d93f642f64180aa3"


def test_the_script_fits_the_chain_definitions() -> None:
    """Required confirmations are those of the built-in chains; the reorg takes back a success on Bitcoin only."""
    chains = load_chains()
    assert {chains[network].required_depth for network in Network} == {REQUIRED}
    assert REORG_DEPTHS[Network.ANVIL] < REQUIRED
    assert REORG_DEPTHS[Network.BITCOIN] >= REQUIRED
    assert all(deposit.amount == units(deposit) for deposit in DEPOSITS)


def units(deposit: Deposit) -> int:
    decimals = token.DECIMALS if deposit.token else load_chains()[deposit.network].native.decimals
    return int(Decimal(deposit.wire_amount).scaleb(decimals))


def told_of(deposit: Deposit) -> list[str]:
    return [ring.name for beat in SCRIPT for ring in beat.rings if ring.deposit == deposit]


def moves_on(network: Network) -> list[Move]:
    return [beat.move for beat in SCRIPT if beat.network is network and beat.move is not Move.MINE]


def test_the_script_shows_a_coin_a_token_and_a_reorg() -> None:
    """Each deposit that was not replaced succeeds last, and the reorganised one is pending in between."""
    assert all(told_of(deposit)[-1] == "success" for deposit in DEPOSITS if deposit is not CHEAP)
    assert "pending" in told_of(REORGANISED)
    assert moves_on(Network.ANVIL) == [Move.PAY, Move.PAY, Move.PAY, Move.REORGANISE, Move.PAY_AGAIN]


def test_the_script_shows_a_fee_bump_and_a_success_taken_back() -> None:
    """On Bitcoin a payment waits, is replaced and stays so; the other one succeeds, is reverted, and succeeds again."""
    assert moves_on(Network.BITCOIN) == [Move.SEND, Move.BUMP, Move.REORGANISE]
    assert told_of(CHEAP)[:3] == ["created", "pending", "replaced"]
    assert "success" not in told_of(CHEAP)
    replaced = [ring for beat in SCRIPT for ring in beat.rings if ring.name == "replaced"]
    assert {(ring.deposit, ring.replaced_by) for ring in replaced} == {(CHEAP, BUMPED)}
    assert replaced[-1].final
    turns = [name for name in told_of(BUMPED) if name in {"pending", "success", "reverted"}]
    assert turns == ["pending", "success", "reverted", "pending", "success"]


@pytest.mark.parametrize("program", ["anvil", "bitcoind"])
def test_without_a_node_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """No node in the checkout and none on PATH: the message names each way to get it."""
    monkeypatch.setattr(programs, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match=rf"^{program}, .*run `make demo`, or `tools/install-nodes {program}`"):
        programs.find_program(program)


@pytest.mark.parametrize("name", ["anvil", "bitcoind"])
def test_a_node_on_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """An installed wheel has no checkout: it takes the node that the user has."""
    program = tmp_path / name
    program.touch(mode=0o755)
    monkeypatch.setattr(programs, "_CHECKOUT", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.find_program(name) == str(program)


async def test_a_demo_without_bitcoind_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with 1 and says which node is missing, before any process or folder of it is there."""
    (tmp_path / "anvil").touch(mode=0o755)
    monkeypatch.setattr(programs, "_CHECKOUT", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delattr("chainbell.demo.main.Sandbox")
    assert await demo(once=True) == 1
    assert "tools/install-nodes bitcoind" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0x52908400098527886E0F7030069857D2E4169EE7", "0x5290…9EE7"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw50…f3t4"),
        ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bcrt1qw50…t080"),
        ("2N3oefVeg6stiTb5Kh3ozCSkaqmx91FDbsm", "2N3o…Dbsm"),
        ("08a93ef443f20dac4cc9d5eb597367ec015db9d089ae42459ac361fffdce327e", "08a9…327e"),
        ("0x5290", "0x5290"),
        (None, ""),
    ],
)
def test_hashes_and_addresses_are_shortened(text: str | None, shown: str) -> None:
    """Prefix, some characters and the end stay, so that two of them can be told apart; it fits the column."""
    assert short(text) == shown
    assert len(shown) <= 14


def test_the_view_shows_both_versions_side_by_side() -> None:
    """A deposit's row has its status in version 2 and in version 1, and whether signatures were good."""
    text = drawn(scene_with([webhook(2), webhook(1)]))
    row = next(line for line in text.splitlines() if "1.5 ETH" in line)
    assert row.count("SUCCESS") == 2
    assert "block 7" in text
    assert text.count("✓") >= 4


def test_the_view_does_not_hide_a_bad_signature() -> None:
    """A webhook that was not believed is marked."""
    assert "BAD SIGNATURE" in drawn(scene_with([webhook(2, "forged")]))


def test_the_view_can_be_drawn_before_anything_happened() -> None:
    """The first frame comes before the first block."""
    assert "getting ready" in drawn(Scene([]))


def test_the_summary_lists_what_went_wrong() -> None:
    """A failed run ends with its complaints."""
    scene = scene_with([])
    scene.complaints = ["v2, coin deposit: missing transaction.deposit.success"]
    assert "missing transaction.deposit.success" in drawn(scene)


def test_the_view_says_which_payment_replaced_another() -> None:
    """A fee bump names the new transaction, and whether that is for good."""
    told = replace(webhook(2), event="transaction.deposit.replaced", status="REPLACED", replaced_by="ab" * 32, final=True)
    text = drawn(Scene([told], tx_hashes={CHEAP: f"0x{1:064x}"}, network=Network.BITCOIN))
    assert "replaced by abab…abab, for good" in text
    assert "bitcoind" in text


def test_a_small_terminal_shows_the_chain_that_the_story_is_on() -> None:
    """Where there is no room for both chains, there are the deposits of one, and its address."""
    addresses = {Network.ANVIL: "0x52908400098527886E0F7030069857D2E4169EE7", Network.BITCOIN: "bcrt1qqqqqqqqqqqqq0000"}
    texts = {network: drawn(Scene([], watched=addresses, network=network), 24) for network in Network}
    assert "1.5 ETH" in texts[Network.ANVIL]
    assert "0x5290…9EE7" in texts[Network.ANVIL]
    assert "BTC" not in texts[Network.ANVIL]
    assert "0.015 BTC" in texts[Network.BITCOIN]
    assert "bcrt1qqqq…0000" in texts[Network.BITCOIN]
    assert "ETH" not in texts[Network.BITCOIN]
    assert all(word in drawn(Scene([]), 44) for word in ("ETH", "BTC"))


@pytest.mark.parametrize("network", list(Network))
@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("rows", [24, 30, 43, 44, 60])
def test_the_view_fits_the_terminal(rows: int, columns: int, network: Network) -> None:
    """However long the stories, the view is no taller than the terminal, and each shown deposit's status is in it."""
    hashes = {deposit: f"0x{tx:064x}" for tx, deposit in enumerate(DEPOSITS, start=1)}
    stories = [webhook(version, tx=tx) for tx in range(1, len(DEPOSITS) + 1) for version in (2, 1)] * 20
    shown = sum(rows >= 44 or deposit.network is network for deposit in DEPOSITS)
    console = Console(file=StringIO(), width=columns)
    with console.capture() as captured:
        scene = Scene(stories, tx_hashes=hashes, network=network, height=7, tip_hash="0x" + "ab" * 32)
        console.print(draw(scene, rows))
    assert len(captured.get().splitlines()) <= rows
    assert captured.get().count("SUCCESS") == 2 * shown
