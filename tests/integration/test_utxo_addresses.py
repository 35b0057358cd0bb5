"""Addresses and definitions of the Bitcoin family, beside what the real daemons say."""

from __future__ import annotations

import pytest

from chainbell.config.chains import load_chains
from chainbell.domain.address import format_address, parse_address
from chainbell.domain.base58 import encode_check
from chainbell.domain.bech32 import encode_witness
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.errors import InputError
from chainbell.domain.script import WitnessProgram
from tests.bitcoin import Bitcoind, Litecoind, RpcError, UtxoDaemon
from tests.fixtures_nodes import Starter

DAEMONS: dict[str, type[UtxoDaemon]] = {"bitcoin-regtest": Bitcoind, "litecoin-regtest": Litecoind}
CHAINS = load_chains()

ADDRESSED = {
    "P2PKH": "76a914" + "11" * 20 + "88ac",
    "P2SH": "a914" + "22" * 20 + "87",
    "P2WPKH": "0014" + "33" * 20,
    "P2WSH": "0020" + "44" * 32,
    "P2TR": "5120" + "55" * 32,
    "pay to anchor": "51024e73",
    **{
        f"version {version} of {size} bytes": bytes([0x50 + version, size]).hex() + "66" * size
        for version in range(1, 17)
        for size in (2, 20, 31, 33, 40)
    },
}
UNADDRESSED = {
    "P2PK": "21" + "02" * 33 + "ac",
    "multisig": "5121" + "02" * 33 + "51ae",
    "OP_RETURN": "6a0474657874",
    "version 0 of 16 bytes": "0010" + "66" * 16,
    "version 1 of 1 byte": "510166",
    "version 1 of 41 bytes": "5129" + "66" * 41,
}


@pytest.fixture(params=DAEMONS)
async def node_of(request: pytest.FixtureRequest, another: Starter) -> tuple[UtxoDaemon, ChainDefinition]:
    """Run a daemon; the definition of its chain."""
    return await another(DAEMONS[request.param]()), CHAINS[request.param]


async def test_a_definition_is_of_the_chain_that_the_daemon_serves(node_of: tuple[UtxoDaemon, ChainDefinition]) -> None:
    """The genesis hash of a regtest definition is the daemon's, and CAIP-2 follows from it."""
    node, chain = node_of
    genesis = await node.rpc("getblockhash", 0)
    assert chain.genesis_hash is not None
    assert chain.genesis_hash.hex() == genesis
    assert chain.caip2 == f"bip122:{genesis[:32]}"


async def test_every_script_type_has_the_address_that_the_daemon_gives_it(
    node_of: tuple[UtxoDaemon, ChainDefinition],
) -> None:
    """For each type our text is the daemon's, and the daemon reads it back as the same script."""
    node, chain = node_of
    for name, script in ADDRESSED.items():
        ours = format_address(chain.addresses, bytes.fromhex(script))
        decoded = await node.rpc("decodescript", script)
        assert ours == decoded.get("address", (decoded.get("addresses") or [None])[0]), name
        answer = await node.rpc("validateaddress", ours)
        assert (answer["isvalid"], answer["scriptPubKey"]) == (True, script), name
        assert ours is not None
        assert parse_address(chain.addresses, ours).hex() == script, name


async def test_what_has_no_address_has_none_at_the_daemon(node_of: tuple[UtxoDaemon, ChainDefinition]) -> None:
    """Scripts that we show without an address have none there, peg-ins and HogEx outputs of Litecoin among them."""
    node, chain = node_of
    scripts = UNADDRESSED | ({"HogEx": "5820" + "66" * 32, "peg-in": "5920" + "66" * 32} if chain.mweb else {})
    for name, script in scripts.items():
        assert format_address(chain.addresses, bytes.fromhex(script)) is None, name
        decoded = await node.rpc("decodescript", script)
        # litecoind 0.21 calls the keys of P2PK and multisig addresses.
        assert "address" not in decoded, name
        assert decoded["type"] in {"pubkey", "multisig"} or "addresses" not in decoded, name


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32"])
async def test_an_address_of_the_wallet_is_read(node_of: tuple[UtxoDaemon, ChainDefinition], kind: str) -> None:
    """Addresses that a wallet hands out are the scripts that it watches, and are written back as it wrote them."""
    node, chain = node_of
    text = await node.new_address(kind)
    script = (await node.rpc("validateaddress", text))["scriptPubKey"]
    assert parse_address(chain.addresses, text).hex() == script
    assert format_address(chain.addresses, bytes.fromhex(script)) == text


async def test_both_script_prefixes_of_litecoin(another: Starter) -> None:
    """The old prefix of script hashes is read as the new one by litecoind, as by us, and the new one is written."""
    node = await another(Litecoind())
    old = encode_check(bytes([196]) + b"\x22" * 20)
    answer = await node.rpc("validateaddress", old)
    script = parse_address(CHAINS["litecoin-regtest"].addresses, old)
    assert answer["scriptPubKey"] == script.hex()
    assert answer["address"] == format_address(CHAINS["litecoin-regtest"].addresses, script)


async def test_an_address_in_the_extension_block_is_refused(another: Starter) -> None:
    """What litecoind hands out for MWEB is an address there, and is refused here with the reason."""
    node = await another(Litecoind())
    await node.fund(1)
    text = await node.new_address("mweb")
    assert (await node.rpc("validateaddress", text))["isvalid"]
    with pytest.raises(InputError, match="is an MWEB address"):
        parse_address(CHAINS["litecoin-regtest"].addresses, text)


async def test_what_we_refuse_the_daemon_refuses(node_of: tuple[UtxoDaemon, ChainDefinition]) -> None:
    """Wrong checksums, letters, cases, lengths, versions and networks are no addresses there either."""
    node, chain = node_of
    hrp = chain.addresses.hrp
    assert hrp is not None
    good = encode_witness(hrp, WitnessProgram(0, b"\x33" * 20))
    taproot = encode_witness(hrp, WitnessProgram(1, b"\x55" * 32))
    wrong = [
        "",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        good[:-1],
        good[:-1] + ("q" if good[-1] != "q" else "p"),
        good[:-1] + good[-1].upper() if good[-1].isalpha() else good[:5].upper() + good[5:],
        good[:8] + "b" + good[9:],
        encode_witness(hrp, WitnessProgram(0, b"\x33" * 16)),
        encode_witness(hrp, WitnessProgram(2, b"\x33")),
        encode_witness(hrp, WitnessProgram(2, b"\x33" * 41)),
        encode_witness(hrp, WitnessProgram(17, b"\x33" * 32)),
        encode_witness("bc", WitnessProgram(0, b"\x33" * 20)),
        encode_witness("ltc", WitnessProgram(1, b"\x33" * 32)),
        taproot[:-1] + ("q" if taproot[-1] != "q" else "p"),
        encode_check(bytes([0]) + b"\x11" * 20),
        encode_check(bytes([48]) + b"\x11" * 20),
        encode_check(bytes([111]) + b"\x11" * 19),
        encode_check(bytes([111]) + b"\x11" * 21),
        encode_check(bytes([111]) + b"\x11" * 20)[:-1] + "0",
        encode_check(bytes([111]) + b"\x11" * 20)[:-1],
    ]
    for text in wrong:
        with pytest.raises(InputError):
            parse_address(chain.addresses, text)
        assert not await _is_valid(node, text), text


async def _is_valid(node: UtxoDaemon, text: str) -> bool:
    try:
        return bool((await node.rpc("validateaddress", text))["isvalid"])
    except RpcError:
        return False


async def test_a_bech32_checksum_of_the_other_kind_is_refused_by_both(node_of: tuple[UtxoDaemon, ChainDefinition]) -> None:
    """Version 0 with the checksum of Bech32m, and versions above with that of Bech32, are no addresses (BIP350)."""
    node, chain = node_of
    hrp = chain.addresses.hrp
    assert hrp is not None
    for version in (0, 1, 16):
        text = encode_witness(hrp, WitnessProgram(version, b"\x33" * 32))
        assert await _is_valid(node, text)
        wrong = _with_the_other_checksum(text)
        with pytest.raises(InputError, match="has that of Bech32"):
            parse_address(chain.addresses, wrong)
        assert not await _is_valid(node, wrong)


def _with_the_other_checksum(text: str) -> str:
    """Turn the checksum of Bech32 into that of Bech32m, or back: they differ in the constant at the end (BIP350)."""
    letters, difference = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", 1 ^ 0x2BC830A3
    changed = [
        letters[letters.index(letter) ^ (difference >> 5 * (5 - place) & 31)] for place, letter in enumerate(text[-6:])
    ]
    return text[:-6] + "".join(changed)
