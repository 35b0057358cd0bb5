"""What errors say again of what somebody wrote: a private or extended key never, and nothing at length."""

import hashlib
from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.api.chain_names import addressed, chain_in_path, named_chain
from chainbell.config.chains import load_chains
from chainbell.custody.address_file import AddressFile, FileFormat
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.domain.address import format_address, parse_address, parse_hash
from chainbell.domain.base58 import encode_check
from chainbell.domain.bech32 import encode_witness
from chainbell.domain.chain import Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import InputError
from chainbell.domain.quoting import LONGEST_NAME, looks_like_key, quoted, without_keys
from chainbell.domain.script import WitnessProgram, pay_to_key_hash, pay_to_script_hash
from tests.keys import BIP32_XPRV, BIP32_XPUB, WIF, random_key

CHAINS = load_chains()
SECRET = hashlib.sha256(b"secret").digest()
PHRASE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
KEYS = [
    WIF,
    encode_check(b"\x80" + SECRET + b"\1"),
    encode_check(b"\xb0" + SECRET),
    BIP32_XPRV,
    BIP32_XPUB,
    random_key(Random(1)).text(bytes.fromhex("045f1cf6")),
    encode_check(bytes(4) + bytes(41) + b"\0" + SECRET),
    f"wpkh({BIP32_XPRV}/0/*)",
    f" {WIF}\n",
    f"address={WIF}",
    SECRET.hex(),
    f"0x{SECRET.hex()}",
    PHRASE,
    # A letter is wrong.
    WIF[:-1] + "1",
    BIP32_XPRV[:-1] + "j",
    BIP32_XPRV[:60],
    BIP32_XPUB[:60],
]


def _all_errors(text: str) -> list[str]:
    """Return what is said wherever a text is no address, no hash and no chain."""
    errors = []
    attempts: list[Callable[[], object]] = [
        *(partial(parse_address, chain.addresses, text) for chain in CHAINS.values()),
        partial(addressed, list(CHAINS.values()), text),
        partial(parse_hash, f"{text} "),
        partial(named_chain, CHAINS, text, None),
        partial(chain_in_path, CHAINS, text, Mode.LIVE),
    ]
    for attempt in attempts:
        with pytest.raises(InputError) as refusal:
            attempt()
        errors.append(str(refusal.value))
    for form, file in ((FileFormat.CSV, f"address\n{text}\n"), (FileFormat.CSV, f"{text},address\n{text},{text}\n")):
        reading = AddressFile(CHAINS["bitcoin"].addresses, form)
        reading.feed(file.encode())
        errors += [bad.reason for bad in reading.finish().bad.first]
    reading = AddressFile(CHAINS["anvil"].addresses, FileFormat.NDJSON)
    reading.feed(f'{{"address": "{text.strip()}"}}\n{{"{text.strip()}": 1}}'.encode())
    return [*errors, *(bad.reason for bad in reading.finish().bad.first), quoted(text), without_keys(f"/v2/{text}/x")]


@pytest.mark.parametrize("key", KEYS)
def test_what_may_be_a_key_is_never_said_again(key: str) -> None:
    """Private or extended, alone or inside of something, whole or mistyped: no error has a piece of it."""
    core = key.strip().removeprefix("wpkh(").removeprefix("address=").removeprefix("0x")
    pieces = ["abandon"] if key is PHRASE else [core[at : at + 8] for at in range(0, len(core) - 8, 4)]
    errors = _all_errors(key)
    assert len(errors) >= len(CHAINS) + 9
    for error in errors:
        assert not any(piece.lower() in error.lower() for piece in pieces), error
    assert any("looks like a private or extended key, which belongs nowhere here" in error for error in errors)


@given(st.sampled_from(sorted(CHAINS)), st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32))
def test_no_address_looks_like_a_key(name: str, short: bytes, long: bytes) -> None:
    """Of any chain and kind, in either case where there are two: a mistyped one is said again in its error."""
    chain = CHAINS[name].addresses
    scripts = [pay_to_key_hash(short), pay_to_script_hash(short)]
    written = [format_address(chain, short if chain.kind is ChainKind.EVM else script) for script in scripts]
    if chain.hrp is not None:
        programs = [WitnessProgram(0, short), WitnessProgram(0, long), WitnessProgram(1, long)]
        written += [encode_witness(chain.hrp, program) for program in programs]
        written += [encode_witness(chain.hrp, program).upper() for program in programs]
    for text in written:
        assert text is not None
        assert not looks_like_key(text)
        assert quoted(text) == repr(text)


def test_names_are_cut_short() -> None:
    """Of a chain that nobody defined so many letters are said as a name has."""
    with pytest.raises(InputError) as refusal:
        named_chain(CHAINS, "nochain" * 50, None)
    assert f"there is no chain '{('nochain' * 50)[:LONGEST_NAME]}...'" in str(refusal.value)
    with pytest.raises(InputError, match="there is no chain 'bitcoine': did you mean bitcoin"):
        named_chain(CHAINS, "bitcoine", None)
    assert all(len(name) <= LONGEST_NAME for name in CHAINS)


def test_paths_keep_what_is_no_key() -> None:
    """Ids, hashes behind a prefix, and names stay."""
    path = f"/v2/transactions/trx_{SECRET.hex()}"
    assert without_keys(path) == path
    assert without_keys(f"/v2/addresses/bitcoin/{random_key(Random(2)).text(BIP32_MAIN)}") == "/v2/addresses/bitcoin/..."
