"""What unlocking data of the Bitcoin family shows of the outputs that it unlocked."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.reveal import reveal, reveal_transaction
from chainbell.nodes.utxo.scan import scan_block, scan_transaction
from chainbell.nodes.utxo.unlocking import fitting_scripts
from tests.utxo_bytes import Block, In, Out, Tx, coinbase, payment

DATA = Path(__file__).parents[1] / "data"
MWEB = json.loads((DATA / "litecoin-regtest-mweb.json").read_text())
# The generator of secp256k1 is the public key of the private key 1; its hash and addresses are known everywhere.
KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
KEY_HASH = bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")
LONG_KEY = bytes.fromhex(
    "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
)
LONG_KEY_HASH = bytes.fromhex("91b24bf9f5288532960ac687abb035127b1d28a5")
SIGNATURE = bytes([0x30]) * 71
SCRIPT = b"\x51" + bytes([33]) + KEY + b"\x51\xae"


def key_hash(digest: bytes) -> bytes:
    return b"\x76\xa9\x14" + digest + b"\x88\xac"


def script_hash(script: bytes) -> bytes:
    return b"\xa9\x14" + hashlib.new("ripemd160", hashlib.sha256(script).digest()).digest() + b"\x87"


def witness_script_hash(script: bytes) -> bytes:
    return b"\x00\x20" + hashlib.sha256(script).digest()


def push(data: bytes) -> bytes:
    if len(data) < 0x4C:
        return bytes([len(data)]) + data
    if len(data) < 0x100:
        return b"\x4c" + bytes([len(data)]) + data
    return b"\x4d" + len(data).to_bytes(2, "little") + data


@pytest.mark.parametrize(("key", "digest"), [(KEY, KEY_HASH), (LONG_KEY, LONG_KEY_HASH)])
def test_a_pushed_key_fits_its_hash(key: bytes, digest: bytes) -> None:
    """A signature and a public key, short or long, unlock P2PKH."""
    assert key_hash(digest) in fitting_scripts(push(SIGNATURE) + push(key), ())


def test_a_pushed_script_fits_its_hash() -> None:
    """A redeem script, pushed last, unlocks P2SH: also a long one, and the program of a nested witness."""
    for redeem in (SCRIPT, b"\x00\x14" + KEY_HASH, b"\x00\x20" + bytes(32), bytes([0x51]) * 100, bytes([0x51]) * 520):
        assert fitting_scripts(b"\x00" + push(SIGNATURE) + push(redeem), ()) == (script_hash(redeem),)
    program = b"\x00\x14" + KEY_HASH
    assert fitting_scripts(push(program), (SIGNATURE, KEY)) == (script_hash(program),)


def test_a_witness_key_fits_its_hash() -> None:
    """A signature and a public key as witness unlock P2WPKH."""
    assert b"\x00\x14" + KEY_HASH in fitting_scripts(b"", (SIGNATURE, KEY))
    assert b"\x00\x14" + KEY_HASH not in fitting_scripts(b"", (b"", SIGNATURE, KEY))


def test_a_witness_script_fits_its_hash() -> None:
    """A script, last in the witness, unlocks P2WSH."""
    assert fitting_scripts(b"", (b"", SIGNATURE, SCRIPT)) == (witness_script_hash(SCRIPT),)
    assert fitting_scripts(b"", (SCRIPT,)) == (witness_script_hash(SCRIPT),)


@pytest.mark.parametrize(
    ("unlocking", "witness"),
    [
        (b"", ()),
        (push(SIGNATURE)[:-1], ()),
        (b"\x00", ()),
        (b"\x51", ()),
        (b"\x4d\xff", ()),
        (push(bytes(521)), ()),
        (b"", (bytes(64),)),
        (b"", (bytes(65),)),
        (b"", (bytes(64), b"\x50annex")),
        (b"", (b"",)),
        (b"", (SIGNATURE, bytes(10_001))),
    ],
)
def test_what_shows_nothing(unlocking: bytes, witness: tuple[bytes, ...]) -> None:
    """Nothing, what is cut off, Taproot by key, and what is too large to unlock anything tell nothing."""
    assert fitting_scripts(unlocking, witness) == ()


def test_a_signature_alone_names_no_key() -> None:
    """What unlocks a bare key or bare multisig fits no key's hash: its last push is a signature."""
    assert fitting_scripts(push(SIGNATURE), ()) == (script_hash(SIGNATURE),)
    assert fitting_scripts(b"\x00" + push(SIGNATURE), ()) == (script_hash(SIGNATURE),)


def test_what_does_more_than_push_unlocks_no_script_hash() -> None:
    """P2SH demands pushes alone (BIP16); a key's hash does not."""
    assert fitting_scripts(b"\x61" + push(SIGNATURE) + push(KEY), ()) == (key_hash(KEY_HASH),)
    assert fitting_scripts(push(KEY) + b"\x61", ()) == ()


@given(st.binary(max_size=600), st.lists(st.binary(max_size=120), max_size=4).map(tuple))
def test_anything_is_read(unlocking: bytes, witness: tuple[bytes, ...]) -> None:
    """No unlocking data is too strange: there are candidates of known forms, or none."""
    for script in fitting_scripts(unlocking, witness):
        assert (script[:3], len(script)) in {
            (b"\x76\xa9\x14", 25),
            (b"\xa9\x14" + script[2:3], 23),
            (b"\x00\x14" + script[2:3], 22),
            (b"\x00\x20" + script[2:3], 34),
        }


def spending(*ways: tuple[bytes, tuple[bytes, ...]]) -> Tx:
    return Tx([In(bytes([at]) * 36, *way) for at, way in enumerate(ways)], [Out(b"\x51", 1)])


def test_every_input_of_a_block_in_order() -> None:
    """Each input has its own candidates, those with and those without witness, and a coinbase has none."""
    mixed = spending((push(SIGNATURE) + push(LONG_KEY), ()), (b"", (SIGNATURE, KEY)), (b"", (bytes(64),)), (b"", ()))
    block = Block([coinbase(), payment(1), mixed])
    scanned = scan_block(block.raw, 1)
    told = reveal(block.raw, scanned)
    assert [each.revealed for each in told.transactions[:2]] == [(), ((),)]
    revealed = told.transactions[2].revealed
    assert revealed is not None
    assert [len(each) for each in revealed] == [2, 2, 0, 0]
    assert revealed[0][0] == key_hash(LONG_KEY_HASH)
    assert revealed[1][0] == b"\x00\x14" + KEY_HASH
    assert [each._replace(revealed=None) for each in told.transactions] == [*scanned.transactions]
    assert (told.ref, told.timestamp) == (scanned.ref, scanned.timestamp)
    assert reveal_transaction(mixed.raw, scan_transaction(mixed.raw)) == told.transactions[2]


def test_an_extension_block() -> None:
    """A HogEx unlocks without data and shows nothing; ordinary inputs of the same block show theirs."""
    raw = bytes.fromhex(MWEB["raw"])
    told = reveal(raw, scan_block(raw, 434, mweb=True), mweb=True)
    revealed = [each.revealed for each in told.transactions]
    assert revealed[0] == ()
    assert revealed[-1] == ((),) * len(told.transactions[-1].outpoints)
    assert all(all(each or ()) for each in revealed[1:-1])
    (alone, raw_alone), _ = MWEB["waiting"].items()
    waiting = scan_transaction(bytes.fromhex(raw_alone), bytes.fromhex(alone), mweb=True)
    assert reveal_transaction(bytes.fromhex(raw_alone), waiting, mweb=True) == waiting._replace(revealed=())


def test_other_bytes_than_were_scanned_are_refused() -> None:
    """A second answer of another block or transaction is not taken for the first."""
    one, other = Block([coinbase(), payment(1)]), Block([coinbase(), payment(2)])
    with pytest.raises(BadAnswerError, match="which was read before"):
        reveal(other.raw, scan_block(one.raw, 1))
    forged = Block([coinbase(), payment(2)], root=one.header[36:68])
    with pytest.raises(BadAnswerError, match="is now another"):
        reveal(forged.raw, scan_block(one.raw, 1))
    with pytest.raises(BadAnswerError, match="is now another"):
        reveal_transaction(payment(2).raw, scan_transaction(payment(1).raw))
    with pytest.raises(BadAnswerError, match="too early"):
        reveal_transaction(b"", scan_transaction(payment(1).raw))
