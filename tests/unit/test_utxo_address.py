"""Addresses of the Bitcoin family: text to scriptPubKey and back, and what is said of text that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.config.chains import load_chains
from chainbell.domain.address import (
    EVM_ADDRESSES,
    AddressFormat,
    format_address,
    format_hash,
    parse_address,
    parse_hash,
    show_address,
)
from chainbell.domain.base58 import Base58Error, decode_check, encode_check
from chainbell.domain.bech32 import Bech32Error, decode_witness, encode_witness
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError
from chainbell.domain.script import WitnessProgram

CHAINS = load_chains()
BITCOIN = CHAINS["bitcoin"].addresses
LITECOIN = CHAINS["litecoin"].addresses
DOGECOIN = CHAINS["dogecoin"].addresses
FORMATS = [chain.addresses for chain in CHAINS.values() if chain.kind is ChainKind.UTXO]
KEY_HASH = bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")

# BIP350, "Test vectors for v0-v16 native segregated witness addresses".
SEGWIT = [
    ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
    ),
    ("BC1SW50QGDZ25J", "6002751e"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323"),
    (
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
]
# BIP350 and BIP173, invalid addresses, and what must be said of each.
NOT_SEGWIT = [
    ("tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", "begins with tc1"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "Bech32m, and has that of Bech32 "),
    ("tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", "Bech32m, and has that of Bech32 "),
    ("BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "Bech32m, and has that of Bech32 "),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "Bech32, and has that of Bech32m "),
    ("tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", "Bech32, and has that of Bech32m "),
    ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "has 'o', which no Bech32 has"),
    ("BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", "of witness version 17, and 16 is the highest"),
    ("bc1pw5dgrnzv", "witness program of 1 bytes: it has 2 to 40"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav", "witness program of 41 bytes"),
    ("BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "witness program of 16 bytes: of version 0 it has 20 or 32"),
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", "mixes upper and lower case"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", "does not end on a whole byte"),
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", "its last bits are not zero"),
    ("bc1gmk9yu", "says nothing"),
    ("tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty", "begins with tc1"),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "has a wrong checksum"),
    ("BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2", "of witness version 17"),
    ("bc1rw5uspcuh", "checksum is Bech32m"),
    ("bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90", "checksum is Bech32m"),
    ("tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7", "mixes upper and lower case"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du", "checksum is Bech32m"),
    ("tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv", "its last bits are not zero"),
    ("bc1", "too short"),
    (f"bc1{'q' * 100}", "has 103 characters, more than the 90"),
]
# Published addresses of a known key hash or script hash, one for each prefix.
BASE58 = [
    ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
    ("bitcoin", "1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH", f"76a914{KEY_HASH.hex()}88ac"),
    ("bitcoin", "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
    ("bitcoin-testnet4", "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", f"76a914{KEY_HASH.hex()}88ac"),
    ("litecoin", "LVuDpNCSSj6pQ7t9Pv6d6sUkLKoqDEVUnJ", f"76a914{KEY_HASH.hex()}88ac"),
    ("dogecoin", "DFpN6QqFfUm3gKNaxN6tNcab1FArL9cZLE", f"76a914{KEY_HASH.hex()}88ac"),
]


def _network(text: str) -> AddressFormat:
    return CHAINS["bitcoin-testnet4" if text.lower().startswith("tb1") else "bitcoin"].addresses


@pytest.mark.parametrize(("text", "script"), SEGWIT)
def test_bip350_addresses(text: str, script: str) -> None:
    """Every valid address of BIP350 is the script that stands there, and is written back in lower case."""
    addresses = _network(text)
    assert parse_address(addresses, text).hex() == script
    assert format_address(addresses, bytes.fromhex(script)) == text.lower()


@pytest.mark.parametrize(("text", "reason"), NOT_SEGWIT)
def test_bip350_and_bip173_refusals(text: str, reason: str) -> None:
    """Every invalid address of BIP173 and BIP350 is refused, with what is wrong with it."""
    with pytest.raises(InputError) as caught:
        parse_address(_network(text), text)
    assert reason in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("chain", "text", "script"), BASE58)
def test_base58_addresses(chain: str, text: str, script: str) -> None:
    """Published addresses in Base58Check are their scripts, on each family's prefix."""
    addresses = CHAINS[chain].addresses
    assert parse_address(addresses, text).hex() == script
    assert format_address(addresses, bytes.fromhex(script)) == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        # Bitcoin Core, src/test/data/base58_encode_decode.json, with the checksum that Base58Check adds.
        ("", "3QJmnh"),
        ("00" * 21, "1111111111111111111114oLvT2"),
        ("00eb15231dfceb60925886b67d065299925915aeb1", "1NS17iag9jJgTHD1VXjvLCEnZuQ3rJED9L"),
    ],
)
def test_base58check(payload: str, text: str) -> None:
    """Leading zero bytes are ones, and the checksum is that of everybody else."""
    assert encode_check(bytes.fromhex(payload)) == text
    assert decode_check(text).hex() == payload


@pytest.mark.parametrize(
    ("chain", "text", "reason"),
    [
        ("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "is an address of bitcoin-signet or bitcoin-testnet4"),
        ("bitcoin-testnet4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "is an address of bitcoin, and of no use here"),
        ("bitcoin", "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", "bitcoin-testnet4, litecoin-regtest or litecoin-testnet"),
        ("litecoin", "DFpN6QqFfUm3gKNaxN6tNcab1FArL9cZLE", "is an address of dogecoin"),
        ("dogecoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "is an address of bitcoin"),
        ("dogecoin", "doge1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "this chain has no segwit"),
        ("bitcoin", "7SeEnXWPaCCALbVrTnszCVGfRU8cGfx", "holds 19 bytes, an address 21"),
        ("bitcoin", "0x52908400098527886E0F7030069857D2E4169EE7", "is an address of an EVM chain"),
        ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "has a wrong checksum: copy it again"),
        ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0a", "has '0', which no address in Base58 has"),
        ("bitcoin", " 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "has ' '"),
        ("bitcoin", "3QJmnh", "holds 0 bytes, an address 21"),
        ("bitcoin", "", "has a wrong checksum"),
        ("bitcoin", "1" * 200, "has 200 characters"),
        ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7\u212aV8F3T4", "a character that is in no address"),
        ("litecoin", f"ltcmweb1{'q' * 110}", "MWEB address"),
        ("litecoin", f"LTCMWEB1{'Q' * 110}", "stays hidden in the extension block"),
        ("litecoin-regtest", f"tmweb1{'q' * 110}", "MWEB address"),
    ],
)
def test_an_address_that_is_none_is_explained(chain: str, text: str, reason: str) -> None:
    """What is wrong is named: another network and which, a checksum, a letter, an address that nobody can watch."""
    with pytest.raises(InputError) as caught:
        parse_address(CHAINS[chain].addresses, text)
    assert reason in str(caught.value)


@pytest.mark.parametrize("prefix", ["bc1x", "bc1evil", "bc1", "tb1bc", "ltc1x", "ltcmweb1x"])
def test_the_whole_prefix_is_compared(prefix: str) -> None:
    """A prefix may hold a 1, so that an address of another network begins as one of ours: it pays nobody here."""
    text = encode_witness(prefix, WitnessProgram(0, KEY_HASH))
    assert decode_witness(text)[0] == prefix
    for addresses in FORMATS:
        for written in (text, text.upper()):
            with pytest.raises(InputError, match=f"begins with {prefix}1|MWEB address"):
                parse_address(addresses, written)


def test_a_network_that_nobody_defined_is_named_by_its_prefix() -> None:
    """Without the other definitions at hand an error still says what the address begins with, and what it should."""
    alone = AddressFormat(ChainKind.UTXO, "bc", 0, (5,))
    with pytest.raises(InputError, match="begins with tb1 as on another network, and this chain writes bc1"):
        parse_address(alone, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx")
    with pytest.raises(InputError, match="its version byte is 48, and here it is 0 or 5"):
        parse_address(alone, "LVuDpNCSSj6pQ7t9Pv6d6sUkLKoqDEVUnJ")


def test_both_script_prefixes_of_litecoin_are_read_and_the_new_one_is_written() -> None:
    """An old 3... address of Litecoin is the M... one."""
    script = parse_address(LITECOIN, "3P14159f73E4gFr7JterCCQh9QjiTjiZrG")
    assert script == parse_address(BITCOIN, "3P14159f73E4gFr7JterCCQh9QjiTjiZrG")
    written = format_address(LITECOIN, script)
    assert written is not None
    assert written.startswith("M")
    assert parse_address(LITECOIN, written) == script


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"\x00",
        b"\x6a\x04text",
        b"\x21" + b"\x02" * 33 + b"\xac",
        b"\x51\x21" + b"\x02" * 33 + b"\x51\xae",
        b"\x00\x10" + bytes(16),
        b"\x00\x14" + bytes(19),
        b"\x00\x14" + bytes(21),
        b"\x51\x01\x00",
        b"\x51\x29" + bytes(41),
        b"\x61\x20" + bytes(32),
        b"\x4f\x20" + bytes(32),
        b"\x01\x14" + bytes(20),
        b"\x76\xa9\x14" + bytes(20) + b"\x88\xad",
        b"\xa9\x14" + bytes(21) + b"\x87",
    ],
)
def test_scripts_that_have_no_address(script: bytes) -> None:
    """Pay to public key, multisig, OP_RETURN and what only looks like a witness program have none, and are shown in hex."""
    assert format_address(BITCOIN, script) is None
    assert show_address(BITCOIN, script) == script.hex()


def test_a_chain_without_segwit_has_no_address_for_a_witness_program() -> None:
    """On Dogecoin a witness program can be spent by anybody: it is no address there."""
    assert format_address(DOGECOIN, b"\x00\x14" + KEY_HASH) is None


@pytest.mark.parametrize("version", [8, 9])
def test_the_scripts_of_an_extension_block_are_no_addresses(version: int) -> None:
    """What pegs coins into Litecoin's extension block, and what holds them there, is an address on other chains only."""
    script = bytes([0x50 + version, 32]) + bytes(32)
    assert format_address(LITECOIN, script) is None
    text = encode_witness("ltc", WitnessProgram(version, bytes(32)))
    with pytest.raises(InputError, match="nobody's address"):
        parse_address(LITECOIN, text)
    assert format_address(BITCOIN, script) is not None


SCRIPTS = st.one_of(
    st.binary(min_size=20, max_size=20).map(lambda digest: b"\x76\xa9\x14" + digest + b"\x88\xac"),
    st.binary(min_size=20, max_size=20).map(lambda digest: b"\xa9\x14" + digest + b"\x87"),
    st.binary(min_size=20, max_size=20).map(lambda program: b"\x00\x14" + program),
    st.binary(min_size=32, max_size=32).map(lambda program: b"\x00\x20" + program),
    st.tuples(st.integers(1, 16), st.binary(min_size=2, max_size=40)).map(
        lambda witness: bytes([0x50 + witness[0], len(witness[1])]) + witness[1]
    ),
)


@given(st.sampled_from(FORMATS), SCRIPTS)
def test_every_address_is_read_back(addresses: AddressFormat, script: bytes) -> None:
    """On every chain the address of a script is that script again, in either case where it is segwit's."""
    text = format_address(addresses, script)
    if text is None:
        assert addresses.hrp is None or (addresses.mweb_hrp is not None and script[0] in {0x58, 0x59} and len(script) == 34)
        return
    assert parse_address(addresses, text) == script
    if script[:1] not in {b"\x76", b"\xa9"}:
        assert parse_address(addresses, text.upper()) == script


@given(st.sampled_from(FORMATS), SCRIPTS, st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_letter_is_noticed(addresses: AddressFormat, script: bytes, place: int, letter: str) -> None:
    """One letter changed in an address never makes it another address."""
    text = format_address(addresses, script)
    if text is None or text[place % len(text)] == letter:
        return
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    with pytest.raises(InputError):
        parse_address(addresses, changed)


@given(st.sampled_from(FORMATS), st.text(max_size=130))
def test_any_text_is_an_address_or_an_error(addresses: AddressFormat, text: str) -> None:
    """Whatever somebody writes, the answer is a script with this very address, or an `InputError`."""
    try:
        script = parse_address(addresses, text)
    except InputError:
        return
    assert format_address(addresses, script) in {text, text.lower()}


@given(st.sampled_from(FORMATS), st.binary(max_size=60))
def test_any_script_has_one_address_or_none(addresses: AddressFormat, script: bytes) -> None:
    """Whatever stands in an output can be shown; what has an address is found by it."""
    text = format_address(addresses, script)
    assert text is None or parse_address(addresses, text) == script


@given(st.text(max_size=100))
def test_the_decoders_have_one_error_each(text: str) -> None:
    """Base58Check and Bech32 refuse any text with the error that they document."""
    for decode, error in ((decode_check, Base58Error), (decode_witness, Bech32Error)):
        try:
            decode(text)
        except error:
            continue


@pytest.mark.parametrize(("kind", "text"), [(ChainKind.EVM, f"0x{'ab' * 32}"), (ChainKind.UTXO, "ab" * 32)])
def test_hashes_are_written_as_explorers_do(kind: ChainKind, text: str) -> None:
    """A hash has 0x on EVM chains and nothing in front of it on others, and is read in both forms."""
    assert format_hash(kind, b"\xab" * 32) == text
    assert parse_hash(text) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "0x", "ab" * 31, "0x" + "ab" * 33, "ab" * 31 + "ag"])
def test_what_is_no_hash_is_refused(text: str) -> None:
    """Anything but 64 hexadecimal digits is no hash."""
    with pytest.raises(InputError, match="is no hash"):
        parse_hash(text)


def test_evm_addresses_are_always_written() -> None:
    """An EVM address has a form in any case."""
    assert show_address(EVM_ADDRESSES, bytes(20)) == "0x" + "0" * 40
