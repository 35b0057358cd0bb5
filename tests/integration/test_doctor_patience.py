"""How long the doctor waits for a real node: for what the node takes, and never for our own limit of its rate."""

import pytest

from chainbell.app.doctor import examine
from chainbell.app.doctor.finding import Diagnosis, Finding, Grade, lost_chains
from chainbell.config.chains import load_chains
from chainbell.config.settings import load_settings
from tests.bitcoin import Bitcoind
from tests.fixtures_nodes import Starter
from tests.nodes import Anvil
from tests.rpcproxy import LyingProxy, SlowBody

IMPATIENT = 2.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "PATIENCE", IMPATIENT)


async def examined(chain: str, url: str) -> tuple[Diagnosis, dict[str, Finding]]:
    settings = load_settings({f"CHAINBELL_NODES__{chain.upper()}": url})
    (diagnosis,) = await examine.examine_nodes(settings, load_chains())
    return diagnosis, {finding.aspect: finding for finding in diagnosis.findings}


async def test_our_own_limit_takes_none_of_its_time(another: Starter) -> None:
    """A healthy node that gets few requests per second is asked everything, however long our turns take."""
    node = await another(Bitcoind())
    await node.fund()
    diagnosis, found = await examined("bitcoin_regtest", f"{node.url}?rps=3")
    assert diagnosis.is_usable
    assert "patience" not in found
    assert {found[aspect].grade for aspect in ("blocks", "sync", "prevouts", "mempool", "scantxoutset")} == {Grade.GOOD}
    assert found["batches"].found == "3 requests at once"


async def test_the_same_of_an_evm_node(anvil: Anvil) -> None:
    """A healthy EVM node is asked everything, too."""
    diagnosis, found = await examined("anvil", f"{anvil.url}?rps=3")
    assert diagnosis.is_usable
    assert "patience" not in found
    assert {"blocks", "client", "receipts", "finalized", "traces", "mempool", "batches"} <= found.keys()


async def test_what_was_learnt_in_time_is_told(another: Starter) -> None:
    """A node that hangs at one question is judged by its other answers; what was not asked is not there."""
    node = await another(Bitcoind())
    await node.fund()
    async with LyingProxy(node.url) as proxy:
        proxy.rule = lambda method, _params, answer: SlowBody() if method == "scantxoutset" else answer
        diagnosis, found = await examined("bitcoin_regtest", proxy.url)
    assert diagnosis.is_usable
    assert found["patience"].grade is Grade.UNKNOWN
    assert {found[aspect].grade for aspect in ("blocks", "version", "sync", "newest block", "prevouts")} == {Grade.GOOD}
    assert found.keys().isdisjoint({"scantxoutset", "mempool", "batches"})


async def test_a_node_that_shows_no_block_in_time_is_not_usable(another: Starter) -> None:
    """What did not prove itself is not called usable, also where nothing bad is known of it."""
    node = await another(Bitcoind())
    await node.fund()
    async with LyingProxy(node.url) as proxy:
        proxy.rule = lambda method, _params, answer: SlowBody() if method == "getblock" else answer
        diagnosis, found = await examined("bitcoin_regtest", proxy.url)
    assert not diagnosis.is_usable
    assert lost_chains([diagnosis]) == ["bitcoin-regtest"]
    assert (found["chain"].grade, found["blocks"].grade) == (Grade.GOOD, Grade.UNKNOWN)
    assert "it did not answer everything within 2 s" in found["blocks"].found
