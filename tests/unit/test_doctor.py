"""What the doctor makes of answers: never a crash, whatever a node says, and the words that matter."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chainbell.app.doctor.finding import (
    Diagnosis,
    Finding,
    Grade,
    judge_batches,
    judge_identity,
    judge_proof,
    judge_tip,
    lost_chains,
)
from chainbell.app.doctor.judge_evm import EvmAnswers, judge_evm
from chainbell.app.doctor.judge_utxo import UtxoAnswers, judge_utxo
from chainbell.config.chains import load_chains
from chainbell.domain.errors import NodeError
from chainbell.domain.node import Tip
from chainbell.nodes.errors import RpcError
from chainbell.nodes.identity import NodeIdentity

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CHAINS = load_chains(Path(__file__).resolve().parents[2] / "chains")
BITCOIN, ETHEREUM, REGTEST = CHAINS["bitcoin"], CHAINS["ethereum"], CHAINS["bitcoin-regtest"]
REFUSED = NodeError("no")

MEMBERS = [
    *("vin", "prevout", "type", "txindex", "synced", "pruned", "pruneheight", "blocks", "headers", "loaded", "size"),
    *("number", "hash", "timestamp", "parentHash", "currentBlock", "pending", "subversion", "connections", "fullrbf"),
    *("address", "localrelay"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(REFUSED),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)

GOOD_EVM = EvmAnswers(
    version="geth",
    syncing=False,
    newest={
        "number": "0x10",
        "hash": "0x" + "11" * 32,
        "parentHash": "0x" + "22" * 32,
        "timestamp": hex(int(NOW.timestamp())),
    },
    receipts=[],
    receipts_by_number=[],
    call_traces=REFUSED,
    parity_traces=REFUSED,
    finalized={"number": "0x8"},
    pool=REFUSED,
    pending=REFUSED,
    batch=100,
    websocket=None,
    has_websocket=True,
)
GOOD_UTXO = UtxoAnswers(
    network={"subversion": "/Satoshi:29.0.0/", "version": 290000, "connections": 8},
    chain={"blocks": 900_000, "headers": 900_000, "pruned": False},
    newest=Tip(900_000, NOW),
    indexes={},
    payment={"vin": [{"prevout": {}}]},
    manual=None,
    scan=None,
    mempool={"loaded": True, "size": 5},
    notifications=[{"type": "pubhashblock"}, {"type": "pubsequence"}],
    batch=100,
    zmq=("tcp://h:1",),
    connected=frozenset({"tcp://h:1"}),
    heard=frozenset({"sequence"}),
    seconds=3.0,
)


def by_aspect(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.aspect: finding for finding in findings}


def utxo(**changes: object) -> dict[str, Finding]:
    return by_aspect([*judge_utxo(replace(GOOD_UTXO, **changes), BITCOIN, NOW)])  # type: ignore[arg-type]  # of each field's type


def evm(**changes: object) -> dict[str, Finding]:
    return by_aspect([*judge_evm(replace(GOOD_EVM, **changes), ETHEREUM, NOW)])  # type: ignore[arg-type]  # of each field's type


@given(answers=st.lists(JSON, min_size=10, max_size=10), batch=st.integers(1, 100))
def test_any_answers_are_judged(answers: list[object], batch: int) -> None:
    """Whatever JSON a node answers with, each question has its finding, and nothing raises."""
    names = ["version", "syncing", "newest", "receipts", "receipts_by_number", "call_traces", "parity_traces", "finalized"]
    assert len(evm(**dict(zip([*names, "pool", "pending"], answers, strict=True)), batch=batch)) == len(evm())
    names = ["network", "chain", "indexes", "payment", "manual", "scan", "mempool", "notifications"]
    found = utxo(**dict(zip(names, answers[:8], strict=True)), batch=batch, newest=REFUSED)
    assert found.keys() | {"replacement"} == utxo().keys()


def test_nothing_is_lost_with_good_nodes() -> None:
    """A node that can do everything that is used loses nothing."""
    for found in (utxo(), evm()):
        assert {each.grade for each in found.values()} <= {Grade.GOOD, Grade.UNUSED}
    assert [aspect for aspect, each in evm().items() if each.loses] == ["traces", "mempool"]


def test_a_node_that_stands_still_is_named() -> None:
    """A tip of a live chain that is much older than its pace is told; a development chain may stand still."""
    old = NOW - timedelta(hours=3)
    assert judge_tip(5, old, BITCOIN, NOW).found == "5, of 2026-11-22 09:00:00Z: 3 hours old"
    assert judge_tip(5, NOW - timedelta(hours=1), BITCOIN, NOW).grade is Grade.GOOD
    assert judge_tip(5, old, REGTEST, NOW).grade is Grade.GOOD
    assert utxo(network={"subversion": "/x/", "connections": 0})["peers"].grade is Grade.LESS


def test_what_syncs_is_behind() -> None:
    """A node that is not done says how far it is."""
    assert utxo(chain={"blocks": 5, "headers": 9, "pruned": False})["sync"].found == "at block 5 of 9"
    assert evm(syncing={"currentBlock": "0x5", "highestBlock": "0x9"})["sync"].found == "at block 5 of 9"


def test_senders_need_prevouts_or_an_index() -> None:
    """Without both, senders are unknown; an index that is being built counts only when it is done."""
    bare = {"vin": [{"txid": "00"}]}
    for indexes, grade in (
        ({}, Grade.LESS),
        ({"txindex": {"synced": False}}, Grade.LESS),
        ({"txindex": {"synced": True}}, Grade.GOOD),
    ):
        found = utxo(payment=bare, indexes=indexes)
        assert found["prevouts"].grade is grade
        assert found["txindex"].grade is grade
    assert utxo(payment=None, manual="... prevout ...")["prevouts"].grade is Grade.GOOD
    assert utxo(payment=None, manual=REFUSED)["prevouts"].grade is Grade.UNKNOWN


def test_an_index_that_is_not_told_of_is_not_known() -> None:
    """A node without getindexinfo does not say whether it has an index: neither do we."""
    bare = {"vin": [{"txid": "00"}]}
    found = utxo(payment=bare, indexes=REFUSED)
    assert found["txindex"].grade is found["prevouts"].grade is Grade.UNKNOWN
    assert found["txindex"].found == "it does not say: no"
    assert "see that txindex=1 is set" in (found["txindex"].loses or "")
    told = utxo(indexes=REFUSED)
    assert (told["prevouts"].grade, told["txindex"].grade) == (Grade.GOOD, Grade.UNUSED)
    assert "off" not in told["txindex"].found


def test_a_mempool_as_it_is() -> None:
    """One that does not say whether it is loaded tells payments, and drops nothing; one that asks no peer has few."""
    silent = utxo(mempool={"size": 5, "bytes": 1000})
    assert (silent["mempool"].grade, silent["mempool"].found) == (Grade.LESS, "5 transactions")
    assert "payments are told, and `dropped` never is" in (silent["mempool"].loses or "")
    assert "replacement" in silent
    alone = utxo(network={"subversion": "/x/", "version": 290000, "connections": 8, "localrelay": False})["mempool"]
    assert alone.grade is Grade.LESS
    assert alone.found == "loaded, 5 transactions, and it takes none from its peers (blocksonly)"
    assert "without blocksonly=1" in (alone.loses or "")
    assert utxo(network={"subversion": "/x/", "connections": 8, "localrelay": True})["mempool"].grade is Grade.GOOD
    both = utxo(mempool={"loaded": False, "size": 0}, network={"connections": 8, "localrelay": False})["mempool"]
    assert [word in (both.loses or "") for word in ("counts for nothing yet", "blocksonly")] == [True, True]
    assert "no payment is told" in (utxo(mempool=REFUSED)["mempool"].loses or "")


def publishing(*addresses: str) -> list[dict[str, str]]:
    """Say that a node publishes blocks at the first address, and payments at the second."""
    return [
        {"type": topic, "address": address} for topic, address in zip(("pubhashblock", "pubrawtx"), addresses, strict=True)
    ]


def test_only_what_comes_to_the_publishers_that_are_named_counts() -> None:
    """What a node publishes at another port than its URL names does not reach us; where ports are mapped, nobody knows."""
    apart = utxo(notifications=publishing("tcp://h:1", "tcp://h:2"))["zmq"]
    assert apart.grade is Grade.LESS
    assert apart.found.startswith("connected to hashblock, heard")
    assert (apart.loses or "").startswith("new payments are noticed by polling alone: it publishes rawtx at another address")
    local = utxo(notifications=publishing("tcp://127.0.0.1:1", "ipc:///run/node.sock"))["zmq"]
    assert local.found.startswith("connected to hashblock, heard")
    together = utxo(notifications=publishing("tcp://0.0.0.0:1", "tcp://0.0.0.0:1"))["zmq"]
    assert (together.grade, together.loses) == (Grade.GOOD, None)
    ends = frozenset({"tcp://h:1", "tcp://h:2"})
    named = utxo(zmq=tuple(sorted(ends)), connected=ends, notifications=publishing("tcp://h:1", "tcp://h:2"))["zmq"]
    assert (named.grade, named.loses) == (Grade.GOOD, None)
    mapped = utxo(notifications=publishing("tcp://h:8", "tcp://h:9"))["zmq"]
    assert (mapped.grade, mapped.loses) == (Grade.UNKNOWN, None)
    assert "which of it comes to tcp://h:1 is not known" in mapped.found
    assert utxo(notifications=[])["zmq"].grade is Grade.LESS
    unbuilt = RpcError("no such method", -32601, "Method not found")
    assert utxo(zmq=(), connected=frozenset(), notifications=unbuilt)["zmq"].found == "it has none: no such method"
    assert utxo(zmq=(), connected=frozenset(), notifications=REFUSED)["zmq"].found == "it does not say what it publishes: no"


def test_what_was_not_asked_is_left_out() -> None:
    """When the time is over in the middle, there are findings on what was answered, and none on the rest."""
    assert [*judge_utxo(UtxoAnswers(), BITCOIN, NOW)] == [*judge_evm(EvmAnswers(), ETHEREUM, NOW)] == []
    some = UtxoAnswers(network=GOOD_UTXO.network, newest=REFUSED, scan=GOOD_UTXO.scan)
    assert [*by_aspect([*judge_utxo(some, BITCOIN, NOW)])] == ["version", "peers", "newest block", "scantxoutset"]
    other = EvmAnswers(version="geth", receipts=[], finalized=None)
    assert [*by_aspect([*judge_evm(other, ETHEREUM, NOW)])] == ["client", "finalized"]


def test_a_pruned_node_says_how_long_a_stop_may_be() -> None:
    """What is kept is told in hours of the chain's own pace."""
    found = utxo(chain={"blocks": 900_000, "headers": 900_000, "pruned": True, "pruneheight": 899_713})["pruning"]
    assert found.found == "on: blocks from 899713 on are kept"
    assert "about 48 hours" in (found.loses or "")


def test_replacement_as_the_node_says() -> None:
    """Full, only signalled, always since version 29, or not told."""
    for mempool, version, grade in (
        ({"fullrbf": True}, 240000, Grade.GOOD),
        ({"fullrbf": False}, 290000, Grade.LESS),
        ({}, 290000, Grade.GOOD),
        ({}, 210400, Grade.UNKNOWN),
    ):
        found = utxo(mempool={"loaded": True, "size": 0, **mempool}, network={"subversion": "/x/", "version": version})
        assert found["replacement"].grade is grade


def test_finality_matters_where_the_chain_waits_for_it() -> None:
    """Without a finalized block nothing succeeds on a chain that demands it; elsewhere it makes no difference."""
    lacking = replace(GOOD_EVM, finalized=None)
    waiting = ETHEREUM.model_copy(update={"required_confirmations": "finalized"})
    found = by_aspect([*judge_evm(lacking, waiting, NOW)])["finalized"]
    assert found.grade is Grade.LESS
    assert by_aspect([*judge_evm(GOOD_EVM, waiting, NOW)])["finalized"].grade is Grade.GOOD
    assert by_aspect([*judge_evm(lacking, CHAINS["anvil"], NOW)])["finalized"].grade is Grade.UNUSED


def test_batches_that_are_small_cost_time() -> None:
    """Fewer at once than are asked is told, in words."""
    assert judge_batches(1, 100).found == "one request at a time"
    assert judge_batches(10, 100).grade is Grade.LESS
    assert judge_batches(REFUSED, 100).grade is Grade.UNKNOWN


def test_a_chain_is_lost_when_no_node_is_left() -> None:
    """One usable node is enough; a node of another chain is none."""
    wrong = judge_identity(NodeIdentity(None, bytes(32)), BITCOIN)
    assert wrong.grade is Grade.BAD
    bad, good = Diagnosis("a", "x", (wrong,)), Diagnosis("a", "y", (judge_proof(None),))
    assert lost_chains([bad, good]) == []
    silent = Diagnosis("a", "z", (Finding("blocks", Grade.UNKNOWN, "it did not answer"),))
    for unproven in (silent, Diagnosis("a", "z", ())):
        assert not unproven.is_usable, "what did not show a block is no node to follow a chain through"
        assert lost_chains([bad, unproven]) == ["a"]
    assert lost_chains([bad, replace(bad, chain="b"), good]) == ["b"]
