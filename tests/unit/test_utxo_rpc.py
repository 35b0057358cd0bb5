"""What the daemons of Bitcoin's family answer, in our types: JSON-RPC 1.0, amounts, hashes, sync state, node URLs."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.config.chains import configured_chains
from chainbell.config.node_url import NodeUrl
from chainbell.config.settings import load_settings
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import ConfigurationError, NodeError
from chainbell.domain.utxo import Prevout, UtxoTransaction, outpoint
from chainbell.nodes.answers import Dialect, batch_outcomes, batch_results, single_result
from chainbell.nodes.errors import BadAnswerError, NodeStartingError, RpcError
from chainbell.nodes.identity import NodeIdentity
from chainbell.nodes.provider import decode_exactly
from chainbell.nodes.utxo.json_data import amount, digests, header_ref, header_tip, prevouts, sync_problem, unspent
from chainbell.nodes.utxo.mempool import parents_first

KEY = "0123456789abcdef0123456789abcdef"
HASH = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
PARENT = "00" * 31 + "07"

NAMES = [
    "hash",
    "height",
    "vin",
    "txid",
    "vout",
    "prevout",
    "value",
    "scriptPubKey",
    "hex",
    "amount",
    "blocks",
    "error",
    "id",
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
)


def old(number: object, result: object = 1, error: object = None) -> dict[str, Any]:
    return {"result": result, "error": error, "id": number}


def test_version_one_is_for_bitcoin_alone() -> None:
    """An answer without a version is one of bitcoind's; an EVM client must name version 2."""
    assert single_result(old(3, "x"), 3, Dialect.BITCOIN) == "x"
    assert single_result({"jsonrpc": "2.0", "id": 3, "result": None}, 3, Dialect.BITCOIN) is None
    assert batch_results([old(2, "b"), old(1, None)], [1, 2], Dialect.BITCOIN) == [None, "b"]
    with pytest.raises(BadAnswerError, match=r"2\.0"):
        single_result(old(3), 3)
    for other in (
        {"id": 3, "result": 1},
        {"jsonrpc": "1.0", "id": 3, "result": 1, "error": None},
        old(4),
        old("3"),
        old(None),
    ):
        with pytest.raises(BadAnswerError):
            single_result(other, 3, Dialect.BITCOIN)


def test_single_errors_of_a_batch_are_values() -> None:
    """One entry's error stands in its place; the others are there. While the node starts there is none at all."""
    missing = {"code": -5, "message": "Block not found"}
    first, second = batch_outcomes([old(1, None, missing), old(2, "b")], [1, 2], Dialect.BITCOIN)
    assert isinstance(first, RpcError)
    assert (first.code, first.reason, second) == (-5, "Block not found", "b")
    with pytest.raises(RpcError, match="Block not found"):
        batch_results([old(1, None, missing), old(2, "b")], [1, 2], Dialect.BITCOIN)
    starting = {"code": -28, "message": "Loading block index…"}
    with pytest.raises(NodeStartingError, match=r"starting.*Loading block index"):
        batch_outcomes([old(1, "a"), old(2, None, starting)], [1, 2], Dialect.BITCOIN)


def test_words_of_daemons_are_no_limits() -> None:
    """What bitcoind says is not taken for a provider's limit because of a word in it."""
    for words in ("Fee exceeds daily quota", "batch not final", "Scan already in progress"):
        with pytest.raises(RpcError) as caught:
            single_result(old(1, None, {"code": -8, "message": words}), 1, Dialect.BITCOIN)
        assert caught.value.reason == words


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.00000001", 1),
        ("1e-8", 1),
        ("20999999.97690000", 2_099_999_997_690_000),
        ("0.00000000", 0),
        ("0", 0),
        ("50", 5_000_000_000),
        ("0.29", 29_000_000),
        ("92233720368.54775807", 2**63 - 1),
    ],
)
def test_amounts_are_exact(text: str, units: int) -> None:
    """An amount is read from its digits, with nothing lost."""
    assert amount(json.loads(text, parse_float=Decimal)) == units
    assert amount(decode_exactly(text.encode())) == units


@pytest.mark.parametrize(
    "text", ["-1", "0.000000001", "92233720368.54775808", "1e400", "1e-400", '"1"', "null", "true", "[]"]
)
def test_other_amounts_are_refused(text: str) -> None:
    """What is negative, too fine, too large or no number is no amount."""
    with pytest.raises(BadAnswerError, match="no amount"):
        amount(json.loads(text, parse_float=Decimal))


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_every_amount_survives(units: int) -> None:
    """Whatever a node can write, in the form in which it writes it, is read as it was."""
    assert amount(decode_exactly(f"{units // 10**8}.{units % 10**8:08d}".encode())) == units


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"NaN", b'{"a": Infinity}', b"\xff", b"[" * 100_000, b"<html>", b"1" * 5000, b"{} {}"),
        *(b"1e-99999999999999999999", b'{"a": 1E99999999999999999999}', b"[0e9999999999999999999]"),
    ],
)
def test_what_is_not_json_is_told(body: bytes) -> None:
    """Whatever bytes a node sends, they are JSON or an error that says they are not."""
    with pytest.raises(BadAnswerError, match="not JSON"):
        decode_exactly(body)


def test_hashes_are_read_at_once() -> None:
    """A mempool's list is read as one, and refused whole when one of its entries is no hash."""
    assert digests([HASH, PARENT]) == [bytes.fromhex(HASH), bytes.fromhex(PARENT)]
    assert digests([]) == []
    for bad in ([HASH, HASH[:-1]], [HASH, 5], [HASH[:-1] + " "], [" " * 64], [HASH[:-2] + "xx"], HASH, None, ["é" * 64]):
        with pytest.raises(BadAnswerError):
            digests(bad)


def test_headers_are_held_to_what_was_asked() -> None:
    """A header is the one asked for; only the first block has no parent."""
    header = {"hash": HASH, "height": 5, "previousblockhash": PARENT}
    ref = header_ref(header, bytes.fromhex(HASH))
    assert (ref.height, ref.parent_hash.hex()) == (5, PARENT)
    assert header_ref({"hash": HASH, "height": 0}, bytes.fromhex(HASH)).parent_hash == bytes(32)
    for bad in (
        {**header, "hash": PARENT},
        {**header, "height": -1},
        {**header, "height": True},
        {"hash": HASH, "height": 5},
    ):
        with pytest.raises(BadAnswerError):
            header_ref(bad, bytes.fromhex(HASH))


def test_prevouts_are_held_to_the_inputs() -> None:
    """What is spent is told per input, in order; one without is not known; another transaction's is refused."""
    paid = {"value": Decimal("0.5"), "scriptPubKey": {"hex": "51"}}
    told = {"vin": [{"txid": HASH, "vout": 1, "prevout": paid}, {"txid": PARENT, "vout": 0}]}
    points = [outpoint(bytes.fromhex(HASH), 1), outpoint(bytes.fromhex(PARENT), 0)]
    assert prevouts(told, points) == (Prevout(b"\x51", 50_000_000), None)
    for others in (points[:1], points[::-1], [*points, points[0]]):
        with pytest.raises(BadAnswerError, match="other inputs"):
            prevouts(told, others)


def test_numbers_that_no_node_means_are_refused() -> None:
    """An index has 32 bits, a height 31, a time 32, and a hash 32 bytes: whatever is beyond is no bad surprise later."""
    paid = {"value": Decimal(1), "scriptPubKey": {"hex": "51"}}
    one = {"txid": HASH, "vout": 0, "scriptPubKey": "51", "amount": Decimal(1), "height": 5}
    header = {"hash": HASH, "height": 2**31 - 1, "previousblockhash": PARENT, "time": 2**32 - 1}
    info = {"chain": "main", "blocks": 5, "headers": 5}
    name = bytes.fromhex(HASH)
    highest = outpoint(name, 2**32 - 1)
    assert prevouts({"vin": [{"txid": HASH, "vout": 2**32 - 1, "prevout": paid}]}, [highest]) is not None
    assert unspent({**one, "vout": 2**32 - 1, "height": 2**31 - 1}).outpoint == highest
    assert header_tip(header).height == header_ref(header, name).height == 2**31 - 1
    for read, bad in (
        (lambda told: prevouts(told, [outpoint(name, 0)]), {"vin": [{"txid": HASH, "vout": 2**32, "prevout": paid}]}),
        (lambda told: prevouts(told, [outpoint(name, 0)]), {"vin": [{"txid": HASH, "vout": 2**33, "prevout": paid}]}),
        (unspent, {**one, "vout": 2**32}),
        (unspent, {**one, "height": 2**31}),
        (unspent, {**one, "txid": " " * 64}),
        (header_tip, {**header, "time": 2**32}),
        (header_tip, {**header, "height": 2**31}),
        (lambda told: header_ref(told, name), {**header, "height": 2**31}),
        (lambda told: header_ref(told, name), {**header, "previousblockhash": " " * 64}),
        (sync_problem, {**info, "headers": 2**31}),
        (sync_problem, {**info, "blocks": -1}),
    ):
        with pytest.raises(BadAnswerError, match=r"no (index|height|time|hash)"):
            read(bad)


@given(ANY_JSON)
def test_any_json_is_read_or_refused(answer: object) -> None:
    """Whatever JSON a node answers, it is read, or refused as a bad answer."""
    for read in (
        amount,
        digests,
        sync_problem,
        unspent,
        lambda value: header_ref(value, bytes(32)),
        lambda value: prevouts(value, [bytes(36)]),
        lambda value: single_result(value, 1, Dialect.BITCOIN),
        lambda value: batch_outcomes(value, [1], Dialect.BITCOIN),
    ):
        with suppress(NodeError):
            read(answer)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"chain": "main", "blocks": 5, "headers": 900, "initialblockdownload": True}, "at block 5 of 900"),
        ({"chain": "test", "blocks": 5, "headers": 900, "initialblockdownload": True}, "at block 5 of 900"),
        ({"chain": "main", "blocks": 5, "headers": 5, "initialblockdownload": True}, "see that it has peers"),
        ({"chain": "regtest", "blocks": 5, "headers": 5, "initialblockdownload": True}, None),
        ({"chain": "main", "blocks": 899, "headers": 900, "initialblockdownload": False}, None),
        ({"chain": "main", "blocks": 900, "headers": 900}, None),
    ],
)
def test_a_node_that_syncs_is_told_apart(info: dict[str, object], problem: str | None) -> None:
    """One that downloads the chain is not read, and says how far it is; an old tip on a development chain is no sync."""
    said = sync_problem(info)
    assert (said is None) == (problem is None)
    assert problem is None or problem in (said or "")


def test_parents_come_before_children() -> None:
    """Whatever the order in which a mempool lists them, each transaction comes after those that it spends."""
    names = [bytes([number]) * 32 for number in range(1, 51)]
    spends = {names[number]: names[number + 1 : number + 3] for number in range(50)}
    listed = {
        name: UtxoTransaction(name, tuple(outpoint(parent, 0) for parent in (*spends[name], bytes(32))), (), ())
        for name in names
    }
    ordered = [each.hash for each in parents_first(listed)]
    assert sorted(ordered) == sorted(names)
    assert all(ordered.index(parent) < ordered.index(name) for name in names for parent in spends[name])


def test_an_identity_without_chain_id_is_its_genesis() -> None:
    """A genesis of this family is written as block explorers write it."""
    assert str(NodeIdentity(None, bytes.fromhex(HASH))) == f"genesis {HASH}"


def test_options_of_a_bitcoin_node() -> None:
    """The cookie's file and the publishers leave the query; what publishes is shown, percent-decoded once."""
    node = NodeUrl.parse("http://n:8332?cookie=/b/.cookie&zmq=tcp://n:1%2Ctcp://[::1]:2&rps=9")
    assert (node.url, node.cookie, node.zmq, node.rps) == ("http://n:8332", "/b/.cookie", ("tcp://n:1", "tcp://[::1]:2"), 9)
    assert node.masked == "http://n:8332 (zmq tcp://n:1 tcp://[::1]:2)"
    assert NodeUrl.parse("http://n?%63ookie=1&%7amq=2").url == "http://n?%63ookie=1&%7amq=2"


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("cookie=relative/.cookie", "no whole path"),
        ("cookie=", "empty option cookie"),
        ("cookie=/a%0Ab", "control character"),
        ("zmq=", "empty option zmq"),
        ("zmq=127.0.0.1:28332", "not tcp://host:port"),
        ("zmq=tcp://a", "not tcp://host:port"),
        ("zmq=ipc:///tmp/x", "not tcp://host:port"),
        ("zmq=tcp://a:1%2C", "not tcp://host:port"),
        (f"zmq=tcp://{KEY}@a:1", "not tcp://host:port"),
        (f"zmq=tcp://a:1/{KEY}", "not tcp://host:port"),
        (f"zmq=tcp://a:1%3F{KEY}", "not tcp://host:port"),
        ("zmq=tcp://a:99999", "not tcp://host:port"),
        ("zmq=tcp://a:1&zmq=tcp://a:2", "option zmq twice"),
    ],
)
def test_other_options_are_refused(query: str, problem: str) -> None:
    """A cookie is a whole path, a publisher is a host and a port; what is wrong is said without what may be secret."""
    with pytest.raises(ValueError, match=problem) as caught:
        NodeUrl.parse(f"http://n?{query}")
    assert KEY not in str(caught.value)


def test_a_cookie_excludes_a_password() -> None:
    """Two credentials for one node are a mistake."""
    with pytest.raises(ValueError, match="keep one"):
        NodeUrl.parse(f"http://u:{KEY}@n?cookie=/c")


@pytest.mark.parametrize(
    ("variable", "query", "option", "kind"),
    [
        ("CHAINBELL_NODES__ETHEREUM", "cookie=/c", "cookie", ChainKind.UTXO),
        ("CHAINBELL_NODES__ETHEREUM", "zmq=tcp://a:1", "zmq", ChainKind.UTXO),
        ("CHAINBELL_NODES__BITCOIN", "ws=ws://a:1", "ws", ChainKind.EVM),
    ],
)
def test_options_of_another_kind_of_chain_are_refused(variable: str, query: str, option: str, kind: ChainKind) -> None:
    """An option that a chain's nodes do not have is named, with the variable and the URL that has it."""
    with pytest.raises(ConfigurationError) as caught:
        configured_chains(load_settings({variable: f"http://a,http://b/{KEY}?{query}"}))
    assert f"{variable}: URL 2 has the option {option}" in str(caught.value)
    assert kind.upper() in str(caught.value)
    assert KEY not in str(caught.value)
