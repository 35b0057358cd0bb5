"""Which chain a node is of, and what of its URL may be shown."""

import pytest

from chainbell.app.node_endpoint import node_endpoint
from chainbell.config.node_url import NodeUrl
from chainbell.domain.chain import ChainDefinition
from chainbell.nodes.endpoint import Endpoint
from chainbell.nodes.identity import NodeIdentity, complaint

GENESIS, OTHER = bytes(31) + b"\1", bytes(31) + b"\2"


def definition(genesis: bytes | None) -> ChainDefinition:
    return ChainDefinition.model_validate(
        {
            "name": "sepolia",
            "kind": "evm",
            "caip2": "eip155:11155111",
            "wire_name": "SEPOLIA",
            "mode": "test",
            "native": {"symbol": "ETH", "decimals": 18},
            "genesis_hash": genesis,
            "block_seconds": 12,
            "required_confirmations": 3,
            "reorg_limit": 64,
            "drop_after_seconds": 600,
            "poll_seconds": 1,
            "checks": ["gas", "bloom"],
            "capabilities": ["coin", "logs"],
        }
    )


@pytest.mark.parametrize(
    ("chain_id", "found", "defined", "stored", "wrong"),
    [
        (11155111, GENESIS, GENESIS, None, None),
        (11155111, GENESIS, GENESIS, GENESIS, None),
        (11155111, GENESIS, None, None, None),
        (11155111, GENESIS, None, GENESIS, None),
        (1, GENESIS, GENESIS, GENESIS, "expected chain id 11155111"),
        (11155111, OTHER, GENESIS, None, "expected genesis"),
        (11155111, OTHER, None, GENESIS, "was started on genesis"),
        (11155111, OTHER, OTHER, GENESIS, "was started on genesis"),
    ],
)
def test_complaint(chain_id: int, found: bytes, defined: bytes | None, stored: bytes | None, wrong: str | None) -> None:
    """Chain id and genesis are held against the definition and against what was stored at first start."""
    reason = complaint(NodeIdentity(chain_id, found), definition(defined), stored)
    if wrong is None:
        assert reason is None
    else:
        assert reason is not None
        assert wrong in reason
        assert found.hex() in reason


ENDPOINT = Endpoint(
    "https://***@node.example/v3/***",
    "https://joe:s3cr%65t@node.example/v3/0123456789abcdef?apikey=fedcba9876543210",
    "wss://node.example/ws/0011223344556677",
)


def test_an_endpoint_shows_its_name_alone() -> None:
    """Neither repr nor str of an endpoint hold credentials or keys."""
    assert repr(ENDPOINT) == "Endpoint(name='https://***@node.example/v3/***', rps=None)"


def test_what_a_node_says_is_scrubbed() -> None:
    """Keys and credentials that a node repeats are masked, percent-encoded or not; words of the path stay."""
    said = "v3: project 0123456789abcdef s3cret s3cr%65t fedcba9876543210 0011223344556677 exceeded"
    assert ENDPOINT.scrub(said) == "v3: project *** *** *** *** *** exceeded"


@pytest.mark.parametrize(
    "url",
    [
        "http://node.example:8332",
        "http://node.example:8332/",
        "http://NODE.example:8332?zmq=tcp://node.example:28332&rps=5",
        "http://joe:s3cret@node.example:8332",
        "http://node.example:8332?cookie=/var/lib/bitcoind/.cookie",
        "https://node.example:8332?apikey=fedcba9876543210",
    ],
)
def test_a_node_is_the_same_with_other_options(url: str) -> None:
    """Neither options nor credentials make another node of it, though its name changes with them."""
    assert node_endpoint(NodeUrl.parse(url)).place == "node.example:8332"


def test_nodes_are_told_apart_without_their_keys() -> None:
    """Another host, port or path is another node; of a path, which may be a key, nothing can be read."""
    urls = ["http://a.example", "https://a.example", "http://b.example", "http://a.example/one", "http://a.example/two/"]
    places = [node_endpoint(NodeUrl.parse(url)).place for url in urls]
    assert places[:3] == ["a.example:80", "a.example:443", "b.example:80"]
    assert len(set(places)) == len(places)
    assert not any(word in place for place in places for word in ("one", "two"))
    assert places[4] == node_endpoint(NodeUrl.parse("https://joe:s3cret@a.example:80/two?zmq=tcp://a.example:1")).place
