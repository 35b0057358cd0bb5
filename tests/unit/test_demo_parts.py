"""Parts of the demo that can be seen without a chain: its token, its script, its view, and what it says without anvil."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from chainbell.config.chains import load_chains
from chainbell.demo import anvil, token
from chainbell.demo.errors import DemoError
from chainbell.demo.scene import Scene
from chainbell.demo.script import COIN, DEPOSITS, REORG_DEPTH, REORGANISED, REQUIRED, SCRIPT, Move
from chainbell.demo.view import draw, summary
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


def test_the_script_fits_the_chain_definition() -> None:
    """Required confirmations are those of the built-in chain, and the reorg takes back no success."""
    assert load_chains()["anvil"].required_depth == REQUIRED
    assert REORG_DEPTH < REQUIRED


def test_the_script_shows_a_coin_a_token_and_a_reorg() -> None:
    """Each deposit succeeds last, and the reorganised one is pending in between."""
    told = {
        deposit: [ring.name for beat in SCRIPT for ring in beat.rings if ring.deposit == deposit] for deposit in DEPOSITS
    }
    assert all(names[-1] == "success" for names in told.values())
    assert "pending" in told[REORGANISED]
    assert [beat.move for beat in SCRIPT if beat.deposit == REORGANISED] == [Move.PAY, Move.REORGANISE, Move.PAY_AGAIN]


def test_without_anvil_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No anvil in the checkout and none on PATH: the message names both ways to get one."""
    monkeypatch.setattr(anvil, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match=r"run `make demo`, or `tools/install-nodes anvil`"):
        anvil.find_anvil()


def test_anvil_on_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed wheel has no checkout: it takes the anvil that the user has."""
    program = tmp_path / "anvil"
    program.touch(mode=0o755)
    monkeypatch.setattr(anvil, "_CHECKOUT", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert anvil.find_anvil() == str(program)


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


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("rows", [24, 30, 44, 60])
def test_the_view_fits_the_terminal(rows: int, columns: int) -> None:
    """However long the stories, the view is no taller than the terminal, and each deposit's status is in it."""
    stories = [webhook(version, tx=tx) for tx in (1, 2, 3) for version in (2, 1)] * 20
    hashes = {deposit: f"0x{tx:064x}" for tx, deposit in enumerate(DEPOSITS, start=1)}
    console = Console(file=StringIO(), width=columns)
    with console.capture() as captured:
        console.print(draw(Scene(stories, tx_hashes=hashes, height=7, tip_hash="0x" + "ab" * 32), rows))
    assert len(captured.get().splitlines()) <= rows
    assert captured.get().count("SUCCESS") == 6
